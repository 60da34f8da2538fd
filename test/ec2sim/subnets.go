package ec2sim

func (c *call) ownSubnet(id string) (subnet, error) {
	return own(c.st.subnets, id, "subnet", c.home, func(v subnet) home { return v.home })
}

func (c *call) createSubnet() ([]node, error) {
	v, err := c.ownVPC(c.p.get("VpcId"))
	if err != nil {
		return nil, err
	}
	tags, err := c.tagSpec("subnet")
	if err != nil {
		return nil, err
	}
	zone := c.p.get("AvailabilityZone")
	if zone != "" && (len(zone) != len(c.region)+1 || zone[:len(c.region)] != c.region) {
		return nil, refuse("InvalidParameterValue", "Value (%s) for parameter availabilityZone is invalid.", zone)
	}
	sn, err := c.st.makeSubnet(v, SubnetSpec{CIDR: c.p.prefix("CidrBlock"), Zone: zone})
	if err != nil {
		return nil, err
	}
	c.addTags(sn.id, tags)
	return []node{c.subnetItem("subnet", sn)}, nil
}

func (c *call) deleteSubnet() ([]node, error) {
	sn, err := c.ownSubnet(c.p.get("SubnetId"))
	if err != nil {
		return nil, err
	}
	for _, e := range c.st.interfaces {
		if e.subnet == sn.id {
			return nil, refuse("DependencyViolation", "The subnet '%s' has dependencies and cannot be deleted.", sn.id)
		}
	}
	for _, l := range c.st.tableLinks {
		if l.subnet == sn.id {
			delete(c.st.tableLinks, l.id)
		}
	}
	delete(c.st.subnets, sn.id)
	delete(c.st.tags, tagKey{c.home, sn.id})
	return done(), nil
}

func (c *call) describeSubnets() ([]node, error) {
	return describe(c, listing[subnet]{
		element: "subnetSet", idParam: "SubnetId", kind: "subnet", max: 1000,
		id:   func(s subnet) string { return s.id },
		item: func(s subnet) node { return c.subnetItem("", s) },
		filters: map[string]func(subnet) []string{
			"availability-zone":       one(func(s subnet) string { return s.zone }),
			"cidr-block":              one(func(s subnet) string { return s.prefix.String() }),
			"map-public-ip-on-launch": yes(func(s subnet) bool { return s.publicIP }),
			"owner-id":                one(func(s subnet) string { return s.account }),
			"state":                   one(func(subnet) string { return "available" }),
			"subnet-id":               one(func(s subnet) string { return s.id }),
			"vpc-id":                  one(func(s subnet) string { return s.vpc }),
		},
	}, here(c, c.st.subnets, func(s subnet) home { return s.home }))
}

func (c *call) subnetItem(name string, s subnet) node {
	used := 5
	for _, e := range c.st.interfaces {
		if e.subnet == s.id {
			used += len(e.addrs)
		}
	}
	return el(name,
		txt("subnetId", s.id), txt("subnetArn", "arn:"+arnPartition(s.region)+":ec2:"+s.region+":"+s.account+":subnet/"+s.id),
		txt("state", "available"), txt("ownerId", s.account), txt("vpcId", s.vpc),
		txt("cidrBlock", s.prefix.String()), el("ipv6CidrBlockAssociationSet"),
		num("availableIpAddressCount", 1<<(32-s.prefix.Bits())-used),
		txt("availabilityZone", s.zone), flag("defaultForAz", false), flag("mapPublicIpOnLaunch", s.publicIP),
		c.tagSet(s.id))
}
