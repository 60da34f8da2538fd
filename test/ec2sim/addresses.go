package ec2sim

func (c *call) ownAddress(id string) (address, error) {
	return own(c.st.addresses, id, "eipalloc", c.home, func(a address) home { return a.home })
}

func (c *call) allocateAddress() ([]node, error) {
	tags, err := c.tagSpec("elastic-ip")
	if err != nil {
		return nil, err
	}
	if len(here(c, c.st.addresses, func(a address) home { return a.home })) >= c.s.quotas.AddressesPerRegion {
		return nil, refuse("AddressLimitExceeded", "The maximum number of addresses has been reached.")
	}
	a := address{id: c.st.newID("eipalloc"), home: c.home, public: c.st.newPublic()}
	c.st.addresses[a.id] = a
	c.addTags(a.id, tags)
	return []node{txt("publicIp", a.public.String()), txt("domain", "vpc"), txt("allocationId", a.id),
		txt("publicIpv4Pool", "amazon"), txt("networkBorderGroup", c.region)}, nil
}

func (c *call) releaseAddress() ([]node, error) {
	a, err := c.ownAddress(c.p.get("AllocationId"))
	if err != nil {
		return nil, err
	}
	if a.link != "" {
		return nil, refuse("InvalidIPAddress.InUse", "Address %s is in use.", a.public)
	}
	delete(c.st.addresses, a.id)
	delete(c.st.tags, tagKey{c.home, a.id})
	return done(), nil
}

// associateAddress gives an interface, or an instance's only one, a public address.
func (c *call) associateAddress() ([]node, error) {
	a, err := c.ownAddress(c.p.get("AllocationId"))
	if err != nil {
		return nil, err
	}
	id := c.p.get("NetworkInterfaceId")
	if c.p.has("InstanceId") == (id != "") {
		return nil, refuse("InvalidParameterCombination", "Exactly one of InstanceId and NetworkInterfaceId is needed.")
	}
	if c.p.has("InstanceId") {
		if id, err = c.instanceTarget(c.p.get("InstanceId")); err != nil {
			return nil, err
		}
	}
	e, err := c.ownInterface(id)
	if err != nil {
		return nil, err
	}
	private := e.addrs[0].addr
	if c.p.has("PrivateIpAddress") {
		private = c.p.addr("PrivateIpAddress")
		if !e.has(private) {
			return nil, refuse("InvalidParameterValue", "Invalid value '%s' for PrivateIpAddress: not assigned to %s", private, e.id)
		}
	}
	again := c.p.is("AllowReassociation", true) // EC2-VPC's default
	if a.link != "" && !again {
		return nil, refuse("Resource.AlreadyAssociated", "resource %s is already associated with associate-id %s", a.id, a.link)
	}
	for _, o := range c.st.addresses {
		if o.eni == e.id && o.private == private && o.id != a.id {
			if !again {
				return nil, refuse("Resource.AlreadyAssociated", "resource %s is already associated with associate-id %s", e.id, o.link)
			}
			o.link, o.eni, o.private = "", "", noAddr
			c.st.addresses[o.id] = o
		}
	}
	if !c.vpcHasInternet(e.vpc) {
		return nil, refuse("Gateway.NotAttached", "Network %s is not attached to any internet gateway", e.vpc)
	}
	a.link, a.eni, a.private = c.st.newID("eipassoc"), e.id, private
	c.st.addresses[a.id] = a
	return append(done(), txt("associationId", a.link)), nil
}

func (c *call) vpcHasInternet(id string) bool {
	for _, g := range c.st.gateways {
		if g.vpc == id && idPrefix(g.id) == "igw" {
			return true
		}
	}
	return false
}

func (c *call) disassociateAddress() ([]node, error) {
	id := c.p.get("AssociationId")
	for _, a := range here(c, c.st.addresses, func(a address) home { return a.home }) {
		if a.link == id {
			a.link, a.eni, a.private = "", "", noAddr
			c.st.addresses[a.id] = a
			return done(), nil
		}
	}
	return nil, notFound(id, "eipassoc")
}

func (c *call) describeAddresses() ([]node, error) {
	return describe(c, listing[address]{
		element: "addressesSet", idParam: "AllocationId", kind: "eipalloc",
		id:   func(a address) string { return a.id },
		item: c.addressItem,
		filters: map[string]func(address) []string{
			"allocation-id":        one(func(a address) string { return a.id }),
			"association-id":       one(func(a address) string { return a.link }),
			"instance-id":          one(func(a address) string { return c.st.interfaces[a.eni].instance }),
			"network-interface-id": one(func(a address) string { return a.eni }),
			"private-ip-address":   one(func(a address) string { return addr("", a.private).text }),
			"public-ip":            one(func(a address) string { return a.public.String() }),
		},
	}, here(c, c.st.addresses, func(a address) home { return a.home }))
}

func (c *call) addressItem(a address) node {
	owner := ""
	if a.eni != "" {
		owner = a.account
	}
	return el("", txt("publicIp", a.public.String()), txt("allocationId", a.id), txt("domain", "vpc"),
		opt("associationId", a.link), opt("instanceId", c.st.interfaces[a.eni].instance),
		opt("networkInterfaceId", a.eni), opt("networkInterfaceOwnerId", owner),
		addr("privateIpAddress", a.private), txt("publicIpv4Pool", "amazon"),
		txt("networkBorderGroup", a.region), c.tagSet(a.id))
}
