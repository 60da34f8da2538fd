package ec2sim

import (
	"net/netip"
	"path"
	"strings"
)

func (c *call) ownInstance(id string) (instance, error) {
	return own(c.st.instances, id, "i", c.home, func(i instance) home { return i.home })
}

const runParams = "ImageId InstanceType MinCount:int! MaxCount:int! SubnetId:subnet! SecurityGroupId.n:sg PrivateIpAddress:addr4 ClientToken " +
	"IamInstanceProfile.Name IamInstanceProfile.Arn KeyName UserData MetadataOptions.HttpTokens MetadataOptions.HttpPutResponseHopLimit:int MetadataOptions.HttpEndpoint" + tagSpecParams

// runInstances starts instances with one interface each: enough to place a host.
// The same ClientToken again gives the same instances.
func (c *call) runInstances() ([]node, error) {
	token := c.p.get("ClientToken")
	if token != "" {
		same := sorted(c.st.instances, func(i instance) bool { return i.home == c.home && i.token == token })
		if len(same) > 0 && same[0].state == instanceTerminated {
			return nil, refuse("IdempotentInstanceTerminated", "The client token %s belongs to a terminated instance.", token)
		}
		if len(same) > 0 {
			return c.reservation(same), nil
		}
	}
	sn, err := c.ownSubnet(c.p.get("SubnetId"))
	if err != nil {
		return nil, err
	}
	count := c.p.num("MaxCount", 1)
	if low := c.p.num("MinCount", 1); low < 1 || count < low || count > 20 {
		return nil, refuse("InvalidParameterValue", "MinCount %d and MaxCount %d do not fit.", low, count)
	}
	if c.p.has("PrivateIpAddress") && count > 1 {
		return nil, refuse("InvalidParameterCombination", "PrivateIpAddress cannot be used with more than one instance")
	}
	role := c.p.get("IamInstanceProfile.Name")
	if arn := c.p.get("IamInstanceProfile.Arn"); arn != "" {
		role = path.Base(arn)
	}
	if _, ok := c.s.iam.roles[roleARN(c.account, role)]; role != "" && !ok {
		return nil, refuse("InvalidParameterValue", "Value (%s) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name", role)
	}
	var made []instance
	for range count {
		in, err := c.runOne(sn, role, token)
		if err != nil {
			return nil, err
		}
		made = append(made, in)
	}
	return c.reservation(made), nil
}

func (c *call) runOne(sn subnet, role, token string) (instance, error) {
	e, err := c.st.makeInterface(sn, "", c.p.addr("PrivateIpAddress"), c.p.list("SecurityGroupId"), c.s.quotas)
	if err != nil {
		return instance{}, err
	}
	in := instance{
		id: c.st.newID("i"), home: c.home, vpc: sn.vpc, subnet: sn.id, zone: sn.zone,
		state: instancePending, since: c.now, launched: c.now, role: role, token: token,
		image: orElse(c.p.get("ImageId"), "ami-0123456789abcdef0"), kind: orElse(c.p.get("InstanceType"), "t4g.nano"),
		hopLimit: c.p.num("MetadataOptions.HttpPutResponseHopLimit", 1),
	}
	e.instance, e.attachment, e.attached = in.id, c.st.newID("eni-attach"), c.now
	if sn.publicIP {
		e.addrs = with(e.addrs)
		e.addrs[0].public = c.st.newPublic()
	}
	c.st.interfaces[e.id] = e
	c.st.instances[in.id] = in
	for _, spec := range c.p.items("TagSpecification") {
		id := in.id
		switch c.p.get(spec + ".ResourceType") {
		case "instance":
		case "network-interface":
			id = e.id
		default:
			return in, refuse("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", c.p.get(spec+".ResourceType"))
		}
		tags, err := c.readTags(spec + ".Tag")
		if err != nil {
			return in, err
		}
		c.addTags(id, tags)
	}
	return in, nil
}

// reservationOf makes the id of what AWS calls the launch of an instance.
func reservationOf(in instance) string { return "r-" + strings.TrimPrefix(in.id, "i-") }

func (c *call) reservation(list []instance) []node {
	return []node{txt("reservationId", reservationOf(list[0])), txt("ownerId", c.account), el("groupSet"),
		set("instancesSet", list, c.instanceItem)}
}

func (c *call) terminateInstances() ([]node, error) {
	var list []instance
	for _, id := range c.p.list("InstanceId") {
		in, err := c.ownInstance(id)
		if err != nil {
			return nil, err
		}
		list = append(list, in)
	}
	return []node{set("instancesSet", list, func(was instance) node {
		c.st.terminate(was, c.now)
		return el("", txt("instanceId", was.id), stateNode("currentState", c.st.instances[was.id].state), stateNode("previousState", was.state))
	})}, nil
}

func stateNode(name, state string) node {
	code := map[string]int{instancePending: 0, instanceRunning: 16, instanceStopping: 32, instanceTerminated: 48}[state]
	return el(name, num("code", code), txt("name", state))
}

func (c *call) describeInstances() ([]node, error) {
	l := c.instanceListing()
	l.element, l.item = "reservationSet", func(in instance) node {
		return el("", txt("reservationId", reservationOf(in)), txt("ownerId", in.account), el("groupSet"),
			set("instancesSet", []instance{in}, c.instanceItem))
	}
	return describe(c, l, here(c, c.st.instances, func(i instance) home { return i.home }))
}

// describeInstanceStatus lists running instances, which are always well here.
func (c *call) describeInstanceStatus() ([]node, error) {
	all := c.p.is("IncludeAllInstances", false)
	l := c.instanceListing()
	l.element, l.item = "instanceStatusSet", func(in instance) node {
		ok := func(name string) node {
			return el(name, txt("status", "ok"), el("details", el("item", txt("name", "reachability"), txt("status", "passed"))))
		}
		return el("", txt("instanceId", in.id), txt("availabilityZone", in.zone), stateNode("instanceState", in.state),
			ok("systemStatus"), ok("instanceStatus"))
	}
	return describe(c, l, sorted(c.st.instances, func(in instance) bool {
		return in.home == c.home && (all || in.state == instanceRunning)
	}))
}

func (c *call) instanceListing() listing[instance] {
	primary := func(f func(eni) []string) func(instance) []string {
		return func(in instance) []string {
			e, ok := c.st.primary(in.id)
			if !ok {
				return nil
			}
			return f(e)
		}
	}
	return listing[instance]{
		idParam: "InstanceId", kind: "i", max: 1000, noPages: true,
		id: func(i instance) string { return i.id },
		filters: map[string]func(instance) []string{
			"availability-zone":   one(func(i instance) string { return i.zone }),
			"client-token":        one(func(i instance) string { return i.token }),
			"image-id":            one(func(i instance) string { return i.image }),
			"instance-id":         one(func(i instance) string { return i.id }),
			"instance-state-code": one(func(i instance) string { return stateNode("", i.state).kids[0].text }),
			"instance-state-name": one(func(i instance) string { return i.state }),
			"instance-type":       one(func(i instance) string { return i.kind }),
			"owner-id":            one(func(i instance) string { return i.account }),
			"reservation-id":      one(reservationOf),
			"subnet-id":           one(func(i instance) string { return i.subnet }),
			"vpc-id":              one(func(i instance) string { return i.vpc }),
			"instance.group-id":   primary(func(e eni) []string { return e.groups }),
			"private-ip-address":  primary(func(e eni) []string { return []string{e.addrs[0].addr.String()} }),
			"ip-address": primary(func(e eni) []string {
				return []string{addr("", c.st.publicOf(e, e.addrs[0])).text}
			}),
			"network-interface.network-interface-id": primary(func(e eni) []string { return []string{e.id} }),
			"network-interface.addresses.private-ip-address": primary(func(e eni) []string {
				var out []string
				for _, a := range e.addrs {
					out = append(out, a.addr.String())
				}
				return out
			}),
			"source-dest-check": primary(func(e eni) []string {
				if e.sourceDestCheck {
					return []string{"true"}
				}
				return []string{"false"}
			}),
		},
	}
}

func (c *call) instanceItem(in instance) node {
	e, _ := c.st.primary(in.id)
	var private, public netip.Addr
	if len(e.addrs) > 0 {
		private, public = e.addrs[0].addr, c.st.publicOf(e, e.addrs[0])
	}
	profile := node{}
	if in.role != "" {
		profile = el("iamInstanceProfile", txt("arn", "arn:aws:iam::"+in.account+":instance-profile/"+in.role), txt("id", "AIPA"+derive(16, in.account, in.role)))
	}
	all := sorted(c.st.interfaces, func(e eni) bool { return e.instance == in.id })
	return el("",
		txt("instanceId", in.id), txt("imageId", in.image), stateNode("instanceState", in.state),
		txt("privateDnsName", dnsName(private, in.region)), txt("dnsName", ""), txt("instanceType", in.kind),
		stamp("launchTime", in.launched), el("placement", txt("availabilityZone", in.zone), txt("tenancy", "default")),
		el("monitoring", txt("state", "disabled")), txt("subnetId", in.subnet), txt("vpcId", in.vpc),
		addr("privateIpAddress", private), addr("ipAddress", public),
		flag("sourceDestCheck", e.sourceDestCheck), c.groupRefs("groupSet", e.groups),
		txt("architecture", "arm64"), txt("rootDeviceType", "ebs"), opt("clientToken", in.token),
		profile, set("networkInterfaceSet", all, func(e eni) node { return c.interfaceItem("", e) }),
		el("metadataOptions", txt("state", "applied"), txt("httpTokens", "required"),
			num("httpPutResponseHopLimit", in.hopLimit), txt("httpEndpoint", "enabled")),
		c.tagSet(in.id))
}

func dnsName(a netip.Addr, region string) string {
	if !a.IsValid() {
		return ""
	}
	return "ip-" + strings.ReplaceAll(a.String(), ".", "-") + "." + region + ".compute.internal"
}

// onlyInterface is the interface that an instance's attributes stand for.
func (c *call) onlyInterface() (eni, error) {
	id, err := c.instanceTarget(c.p.get("InstanceId"))
	if err != nil {
		return eni{}, err
	}
	return c.st.interfaces[id], nil
}

func (c *call) modifyInstanceAttribute() ([]node, error) {
	e, err := c.onlyInterface()
	if err != nil {
		return nil, err
	}
	check, groups := c.p.has("SourceDestCheck.Value"), c.p.list("GroupId")
	attribute := c.p.get("Attribute")
	switch {
	case check && len(groups) > 0, (check || len(groups) > 0) && attribute != "":
		return nil, refuse("InvalidParameterCombination", "Fields for multiple attribute types specified")
	case check:
		e.sourceDestCheck = c.p.is("SourceDestCheck.Value", true)
	case attribute == "sourceDestCheck":
		e.sourceDestCheck = c.p.is("Value", true)
	case len(groups) > 0:
		if err := c.st.usableGroups(e.vpc, groups, c.s.quotas); err != nil {
			return nil, err
		}
		e.groups = groups
	default:
		return nil, refuse("InvalidParameterCombination", "No attributes specified.")
	}
	c.st.interfaces[e.id] = e
	return done(), nil
}

func (c *call) describeInstanceAttribute() ([]node, error) {
	in, err := c.ownInstance(c.p.get("InstanceId"))
	if err != nil {
		return nil, err
	}
	e, _ := c.st.primary(in.id)
	out := []node{txt("instanceId", in.id)}
	switch name := c.p.get("Attribute"); name {
	case "sourceDestCheck":
		return append(out, el(name, flag("value", e.sourceDestCheck))), nil
	case "groupSet":
		return append(out, c.groupRefs(name, e.groups)), nil
	case "instanceType":
		return append(out, el(name, txt("value", in.kind))), nil
	default:
		return nil, refuse("InvalidParameterValue", "Value (%s) for parameter attribute is invalid. Unknown attribute.", name)
	}
}

func (c *call) groupRefs(name string, ids []string) node {
	return set(name, ids, func(id string) node {
		return el("", txt("groupId", id), txt("groupName", c.st.groups[id].name))
	})
}
