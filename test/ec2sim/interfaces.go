package ec2sim

import (
	"net/netip"
	"slices"
	"strconv"
)

func (c *call) ownInterface(id string) (eni, error) {
	return own(c.st.interfaces, id, "eni", c.home, func(e eni) home { return e.home })
}

func (e eni) has(a netip.Addr) bool {
	return slices.ContainsFunc(e.addrs, func(p privateAddr) bool { return p.addr == a })
}

func (c *call) createInterface() ([]node, error) {
	sn, err := c.ownSubnet(c.p.get("SubnetId"))
	if err != nil {
		return nil, err
	}
	tags, err := c.tagSpec("network-interface")
	if err != nil {
		return nil, err
	}
	e, err := c.st.makeInterface(sn, "", c.p.addr("PrivateIpAddress"), c.p.list("SecurityGroupId"), c.s.quotas)
	if err != nil {
		return nil, err
	}
	e.description, e.keep = c.p.get("Description"), true
	c.st.interfaces[e.id] = e
	c.addTags(e.id, tags)
	return []node{c.interfaceItem("networkInterface", e)}, nil
}

func (c *call) deleteInterface() ([]node, error) {
	e, err := c.ownInterface(c.p.get("NetworkInterfaceId"))
	if err != nil {
		return nil, err
	}
	if e.instance != "" {
		return nil, refuse("InvalidParameterValue", "Network interface '%s' is currently in use.", e.id)
	}
	for _, a := range c.st.addresses {
		if a.eni == e.id {
			a.link, a.eni, a.private = "", "", noAddr
			c.st.addresses[a.id] = a
		}
	}
	delete(c.st.interfaces, e.id)
	delete(c.st.tags, tagKey{c.home, e.id})
	return done(), nil
}

func (c *call) attachInterface() ([]node, error) {
	e, err := c.ownInterface(c.p.get("NetworkInterfaceId"))
	if err != nil {
		return nil, err
	}
	in, err := c.ownInstance(c.p.get("InstanceId"))
	if err != nil {
		return nil, err
	}
	index := c.p.num("DeviceIndex", 1)
	switch {
	case e.instance != "":
		return nil, refuse("InvalidNetworkInterface.InUse", "Network interface '%s' is currently in use.", e.id)
	case in.state != instanceRunning:
		return nil, refuse("IncorrectState", "Instance '%s' is not in a state to attach an interface.", in.id)
	case in.zone != e.zone || in.vpc != e.vpc:
		return nil, refuse("InvalidParameterCombination", "You may not attach a network interface to an instance if they are not in the same availability zone and VPC")
	}
	for _, o := range c.st.interfaces {
		if o.instance == in.id && o.index == index {
			return nil, refuse("InvalidParameterValue", "Instance '%s' already has an interface attached at device index '%d'.", in.id, index)
		}
	}
	e.instance, e.attachment, e.index, e.attached = in.id, c.st.newID("eni-attach"), index, c.now
	c.st.interfaces[e.id] = e
	return []node{txt("attachmentId", e.attachment)}, nil
}

func (c *call) detachInterface() ([]node, error) {
	id := c.p.get("AttachmentId")
	for _, e := range here(c, c.st.interfaces, func(e eni) home { return e.home }) {
		if e.attachment != id {
			continue
		}
		if e.index == 0 {
			return nil, refuse("OperationNotPermitted", "The network interface at device index 0 cannot be detached.")
		}
		e.instance, e.attachment, e.index = "", "", 0
		c.st.interfaces[e.id] = e
		return done(), nil
	}
	return nil, notFound(id, "eni-attach")
}

func (c *call) modifyInterfaceAttribute() ([]node, error) {
	e, err := c.ownInterface(c.p.get("NetworkInterfaceId"))
	if err != nil {
		return nil, err
	}
	check, groups, text := c.p.has("SourceDestCheck.Value"), c.p.list("SecurityGroupId"), c.p.has("Description.Value")
	given := 0
	for _, is := range []bool{check, len(groups) > 0, text} {
		if is {
			given++
		}
	}
	if given != 1 {
		return nil, refuse("InvalidParameterCombination", "Exactly one attribute may be modified at a time, %d given", given)
	}
	switch {
	case check:
		e.sourceDestCheck = c.p.is("SourceDestCheck.Value", true)
	case text:
		e.description = c.p.get("Description.Value")
	default:
		if err := c.st.usableGroups(e.vpc, groups, c.s.quotas); err != nil {
			return nil, err
		}
		e.groups = groups
	}
	c.st.interfaces[e.id] = e
	return done(), nil
}

// assignAddresses adds secondary private addresses: named ones or a number of them.
func (c *call) assignAddresses() ([]node, error) {
	e, err := c.ownInterface(c.p.get("NetworkInterfaceId"))
	if err != nil {
		return nil, err
	}
	sn := c.st.subnets[e.subnet]
	var asked []netip.Addr
	for _, key := range c.p.items("PrivateIpAddress") {
		asked = append(asked, c.p.addr(key))
	}
	count := c.p.num("SecondaryPrivateIpAddressCount", 0)
	if (len(asked) > 0) == (count > 0) {
		return nil, refuse("InvalidParameterCombination", "Exactly one of PrivateIpAddress and SecondaryPrivateIpAddressCount is needed.")
	}
	for range count {
		asked = append(asked, noAddr)
	}
	if len(e.addrs)+len(asked) > c.s.quotas.AddressesPerENI {
		return nil, refuse("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.")
	}
	var added []privateAddr
	for _, a := range asked {
		if e.has(a) {
			continue // assigned already: nothing to do
		}
		got, err := c.st.freeAddress(sn, a)
		if err != nil {
			return nil, err
		}
		added = append(added, privateAddr{addr: got})
		e.addrs = with(e.addrs, privateAddr{addr: got})
		c.st.interfaces[e.id] = e
	}
	return []node{txt("networkInterfaceId", e.id),
		set("assignedPrivateIpAddressesSet", added, func(a privateAddr) node { return el("", addr("privateIpAddress", a.addr)) }),
		txt("return", "true")}, nil
}

func (c *call) unassignAddresses() ([]node, error) {
	e, err := c.ownInterface(c.p.get("NetworkInterfaceId"))
	if err != nil {
		return nil, err
	}
	for _, key := range c.p.items("PrivateIpAddress") {
		a := c.p.addr(key)
		if !e.has(a) || e.addrs[0].addr == a {
			return nil, refuse("InvalidParameterValue", "Some of the specified addresses are not assigned to interface %s, or are its primary one: %s", e.id, a)
		}
		for _, ip := range c.st.addresses {
			if ip.eni == e.id && ip.private == a {
				ip.link, ip.eni, ip.private = "", "", noAddr
				c.st.addresses[ip.id] = ip
			}
		}
		e.addrs = without(e.addrs, func(p privateAddr) bool { return p.addr == a })
	}
	c.st.interfaces[e.id] = e
	return done(), nil
}

func (c *call) describeInterfaces() ([]node, error) {
	addrs := func(e eni) []string {
		var out []string
		for _, a := range e.addrs {
			out = append(out, a.addr.String())
		}
		return out
	}
	public := func(e eni) []string {
		var out []string
		for _, a := range e.addrs {
			if p := c.st.publicOf(e, a); p.IsValid() {
				out = append(out, p.String())
			}
		}
		return out
	}
	return describe(c, listing[eni]{
		element: "networkInterfaceSet", idParam: "NetworkInterfaceId", kind: "eni", max: 1000, noPages: true,
		id:   func(e eni) string { return e.id },
		item: func(e eni) node { return c.interfaceItem("", e) },
		filters: map[string]func(eni) []string{
			"addresses.private-ip-address":    addrs,
			"addresses.association.public-ip": public,
			"association.public-ip":           public,
			"attachment.attachment-id":        one(func(e eni) string { return e.attachment }),
			"attachment.device-index":         one(func(e eni) string { return strconv.Itoa(e.index) }),
			"attachment.instance-id":          one(func(e eni) string { return e.instance }),
			"availability-zone":               one(func(e eni) string { return e.zone }),
			"description":                     one(func(e eni) string { return e.description }),
			"group-id":                        func(e eni) []string { return e.groups },
			"mac-address":                     one(func(e eni) string { return e.mac }),
			"network-interface-id":            one(func(e eni) string { return e.id }),
			"owner-id":                        one(func(e eni) string { return e.account }),
			"private-ip-address":              one(func(e eni) string { return e.addrs[0].addr.String() }),
			"source-dest-check":               yes(func(e eni) bool { return e.sourceDestCheck }),
			"status":                          one(eni.status),
			"subnet-id":                       one(func(e eni) string { return e.subnet }),
			"vpc-id":                          one(func(e eni) string { return e.vpc }),
		},
	}, here(c, c.st.interfaces, func(e eni) home { return e.home }))
}

func (e eni) status() string {
	if e.instance == "" {
		return "available"
	}
	return "in-use"
}

func (c *call) interfaceItem(name string, e eni) node {
	attachment := node{}
	if e.instance != "" {
		attachment = el("attachment", txt("attachmentId", e.attachment), txt("instanceId", e.instance),
			txt("instanceOwnerId", e.account), num("deviceIndex", e.index), txt("status", "attached"),
			stamp("attachTime", e.attached), flag("deleteOnTermination", !e.keep))
	}
	association := func(a privateAddr) node {
		p := c.st.publicOf(e, a)
		if !p.IsValid() {
			return node{}
		}
		owner := "amazon"
		if p != a.public {
			owner = e.account
		}
		return el("association", txt("publicIp", p.String()), txt("publicDnsName", ""), txt("ipOwnerId", owner))
	}
	first := true
	return el(name,
		txt("networkInterfaceId", e.id), txt("subnetId", e.subnet), txt("vpcId", e.vpc), txt("availabilityZone", e.zone),
		txt("description", e.description), txt("ownerId", e.account), flag("requesterManaged", false),
		txt("status", e.status()), txt("macAddress", e.mac), txt("interfaceType", "interface"),
		txt("privateIpAddress", e.addrs[0].addr.String()), txt("privateDnsName", dnsName(e.addrs[0].addr, e.region)),
		flag("sourceDestCheck", e.sourceDestCheck), c.groupRefs("groupSet", e.groups), attachment,
		association(e.addrs[0]),
		set("privateIpAddressesSet", e.addrs, func(a privateAddr) node {
			n := el("", addr("privateIpAddress", a.addr), flag("primary", first), association(a))
			first = false
			return n
		}),
		set("ipv6AddressesSet", e.v6, func(a netip.Addr) node { return el("", txt("ipv6Address", a.String())) }),
		c.tagSet(e.id))
}
