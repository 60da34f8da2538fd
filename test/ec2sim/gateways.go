package ec2sim

import "strings"

func (c *call) ownGateway(id string) (gateway, error) {
	return own(c.st.gateways, id, idPrefix(id), c.home, func(g gateway) home { return g.home })
}

func (c *call) createGateway() ([]node, error) {
	tags, err := c.tagSpec("internet-gateway")
	if err != nil {
		return nil, err
	}
	g := gateway{id: c.st.newID("igw"), home: c.home}
	c.st.gateways[g.id] = g
	c.addTags(g.id, tags)
	return []node{c.gatewayItem("internetGateway", g)}, nil
}

func (c *call) attachGateway() ([]node, error) {
	g, err := c.ownGateway(c.p.get("InternetGatewayId"))
	if err != nil {
		return nil, err
	}
	v, err := c.ownVPC(c.p.get("VpcId"))
	if err != nil {
		return nil, err
	}
	if g.vpc != "" {
		return nil, refuse("Resource.AlreadyAssociated", "resource %s is already attached to network %s", g.id, g.vpc)
	}
	for _, o := range c.st.gateways {
		if o.vpc == v.id && strings.HasPrefix(o.id, "igw-") {
			return nil, refuse("InvalidParameterValue", "Network %s already has an internet gateway attached", v.id)
		}
	}
	g.vpc = v.id
	c.st.gateways[g.id] = g
	return done(), nil
}

// detachGateway refuses while an instance of the VPC has a public address.
func (c *call) detachGateway() ([]node, error) {
	g, err := c.ownGateway(c.p.get("InternetGatewayId"))
	if err != nil {
		return nil, err
	}
	if g.vpc == "" || g.vpc != c.p.get("VpcId") {
		return nil, refuse("Gateway.NotAttached", "resource %s is not attached to network %s", g.id, c.p.get("VpcId"))
	}
	for _, e := range c.st.interfaces {
		for _, a := range e.addrs {
			if e.vpc == g.vpc && c.st.publicOf(e, a).IsValid() {
				return nil, refuse("DependencyViolation", "Network %s has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.", g.vpc)
			}
		}
	}
	g.vpc = ""
	c.st.gateways[g.id] = g
	return done(), nil
}

func (c *call) deleteGateway() ([]node, error) {
	g, err := c.ownGateway(c.p.get("InternetGatewayId"))
	if err != nil {
		return nil, err
	}
	if g.vpc != "" {
		return nil, refuse("DependencyViolation", "The internetGateway '%s' has dependencies and cannot be deleted.", g.id)
	}
	delete(c.st.gateways, g.id)
	delete(c.st.tags, tagKey{c.home, g.id})
	return done(), nil
}

func (c *call) describeGateways() ([]node, error) {
	attached := func(g gateway) []string {
		if g.vpc == "" {
			return nil
		}
		return []string{"available"}
	}
	all := here(c, c.st.gateways, func(g gateway) home { return g.home })
	return describe(c, listing[gateway]{
		element: "internetGatewaySet", idParam: "InternetGatewayId", kind: "igw", max: 1000,
		id:   func(g gateway) string { return g.id },
		item: func(g gateway) node { return c.gatewayItem("", g) },
		filters: map[string]func(gateway) []string{
			"attachment.state":    attached,
			"attachment.vpc-id":   one(func(g gateway) string { return g.vpc }),
			"internet-gateway-id": one(func(g gateway) string { return g.id }),
			"owner-id":            one(func(g gateway) string { return g.account }),
		},
	}, without(all, func(g gateway) bool { return idPrefix(g.id) != "igw" }))
}

func (c *call) gatewayItem(name string, g gateway) node {
	var vpcs []string
	if g.vpc != "" {
		vpcs = []string{g.vpc}
	}
	return el(name, txt("internetGatewayId", g.id), txt("ownerId", g.account),
		set("attachmentSet", vpcs, func(id string) node { return el("", txt("vpcId", id), txt("state", "available")) }),
		c.tagSet(g.id))
}
