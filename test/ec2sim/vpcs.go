package ec2sim

import (
	"net/netip"
	"slices"
)

// own finds an object of the caller's account and region.
func own[V any](m map[string]V, id, prefix string, h home, of func(V) home) (V, error) {
	v, ok := m[id]
	if !ok || of(v) != h {
		var zero V
		return zero, notFound(id, prefix)
	}
	return v, nil
}

// here keeps the objects of the caller's account and region.
func here[V any](c *call, m map[string]V, of func(V) home) []V {
	return sorted(m, func(v V) bool { return of(v) == c.home })
}

func (c *call) ownVPC(id string) (vpc, error) {
	return own(c.st.vpcs, id, "vpc", c.home, func(v vpc) home { return v.home })
}

// done is the answer of actions that have nothing to tell.
func done() []node { return []node{txt("return", "true")} }

func (c *call) createVPC() ([]node, error) {
	tags, err := c.tagSpec("vpc")
	if err != nil {
		return nil, err
	}
	blocks := []netip.Prefix{c.p.prefix("CidrBlock")}
	if !c.p.has("CidrBlock") {
		blocks = nil
	}
	if c.p.is("AmazonProvidedIpv6CidrBlock", false) && len(blocks) > 0 {
		blocks = append(blocks, c.st.newIPv6())
	}
	v, err := c.st.makeVPC(c.home, VPCSpec{CIDRs: blocks}, c.now)
	if err != nil {
		return nil, err
	}
	c.addTags(v.id, tags)
	return []node{c.vpcItem("vpc", v)}, nil
}

// newIPv6 is the next /56 that Amazon hands out.
func (st *state) newIPv6() netip.Prefix {
	st.seq++
	a := netip.MustParseAddr("2600:1f00::").As16()
	a[4], a[5], a[6] = byte(st.seq>>16), byte(st.seq>>8), byte(st.seq)
	return netip.PrefixFrom(netip.AddrFrom16(a), 56)
}

// deleteVPC refuses a VPC that still holds something; its peerings go with it.
func (c *call) deleteVPC() ([]node, error) {
	v, err := c.ownVPC(c.p.get("VpcId"))
	if err != nil {
		return nil, err
	}
	main := c.st.tableLinks[v.mainLink].table
	busy := len(sorted(c.st.subnets, func(o subnet) bool { return o.vpc == v.id })) > 0 ||
		len(sorted(c.st.tables, func(o table) bool { return o.vpc == v.id && o.id != main })) > 0 ||
		len(sorted(c.st.groups, func(o group) bool { return o.vpc == v.id && o.id != v.defaults })) > 0 ||
		len(sorted(c.st.acls, func(o acl) bool { return o.vpc == v.id && !o.standard })) > 0 ||
		len(sorted(c.st.gateways, func(o gateway) bool { return o.vpc == v.id })) > 0
	if busy {
		return nil, refuse("DependencyViolation", "The vpc '%s' has dependencies and cannot be deleted.", v.id)
	}
	for _, p := range sorted(c.st.peerings, func(p peering) bool { return p.live() && (p.requester.vpc == v.id || p.accepter.vpc == v.id) }) {
		c.st.peerings[p.id] = p.end(c.account, c.now)
	}
	delete(c.st.tables, main)
	delete(c.st.tableLinks, v.mainLink)
	delete(c.st.groups, v.defaults)
	delete(c.st.acls, v.acl)
	delete(c.st.vpcs, v.id)
	for _, id := range []string{main, v.defaults, v.acl, v.id} {
		delete(c.st.tags, tagKey{c.home, id})
	}
	return done(), nil
}

func (c *call) describeVPCs() ([]node, error) {
	return describe(c, listing[vpc]{
		element: "vpcSet", idParam: "VpcId", kind: "vpc", max: 1000,
		id:   func(v vpc) string { return v.id },
		item: func(v vpc) node { return c.vpcItem("", v) },
		filters: map[string]func(vpc) []string{
			"cidr":                                        one(func(v vpc) string { return v.cidrs[0].prefix.String() }),
			"cidr-block-association.cidr-block":           blockField(true, func(b cidrBlock) string { return b.prefix.String() }),
			"cidr-block-association.association-id":       blockField(true, func(b cidrBlock) string { return b.id }),
			"cidr-block-association.state":                blockField(true, func(b cidrBlock) string { return b.state }),
			"ipv6-cidr-block-association.ipv6-cidr-block": blockField(false, func(b cidrBlock) string { return b.prefix.String() }),
			"ipv6-cidr-block-association.association-id":  blockField(false, func(b cidrBlock) string { return b.id }),
			"ipv6-cidr-block-association.state":           blockField(false, func(b cidrBlock) string { return b.state }),
			"is-default":                                  yes(func(vpc) bool { return false }),
			"owner-id":                                    one(func(v vpc) string { return v.account }),
			"state":                                       one(func(vpc) string { return "available" }),
			"vpc-id":                                      one(func(v vpc) string { return v.id }),
		},
	}, here(c, c.st.vpcs, func(v vpc) home { return v.home }))
}

// blockField is a filter on the blocks of one family.
func blockField(v4 bool, f func(cidrBlock) string) func(vpc) []string {
	return func(v vpc) []string {
		var out []string
		for _, b := range v.cidrs {
			if b.prefix.Addr().Is4() == v4 {
				out = append(out, f(b))
			}
		}
		return out
	}
}

func (c *call) vpcItem(name string, v vpc) node {
	var v4, v6 []cidrBlock
	for _, b := range v.cidrs {
		if b.prefix.Addr().Is4() {
			v4 = append(v4, b)
		} else {
			v6 = append(v6, b)
		}
	}
	return el(name,
		txt("vpcId", v.id), txt("ownerId", v.account), txt("state", "available"),
		txt("cidrBlock", v.cidrs[0].prefix.String()),
		set("cidrBlockAssociationSet", v4, func(b cidrBlock) node { return blockItem("", b) }),
		set("ipv6CidrBlockAssociationSet", v6, func(b cidrBlock) node { return blockItem("", b) }),
		txt("dhcpOptionsId", "default"), txt("instanceTenancy", "default"), flag("isDefault", false),
		c.tagSet(v.id))
}

func blockItem(name string, b cidrBlock) node {
	if b.prefix.Addr().Is4() {
		return el(name, txt("associationId", b.id), txt("cidrBlock", b.prefix.String()), el("cidrBlockState", txt("state", b.state)))
	}
	return el(name, txt("associationId", b.id), txt("ipv6CidrBlock", b.prefix.String()), el("ipv6CidrBlockState", txt("state", b.state)))
}

// vpcAttributes are the attributes of a VPC that can be asked and set.
func (v *vpc) attribute(name string) *bool {
	switch name {
	case "enableDnsSupport":
		return &v.dnsSupport
	case "enableDnsHostnames":
		return &v.dnsNames
	}
	return nil
}

func (c *call) describeVPCAttribute() ([]node, error) {
	v, err := c.ownVPC(c.p.get("VpcId"))
	if err != nil {
		return nil, err
	}
	name := c.p.get("Attribute")
	value := v.attribute(name)
	if value == nil {
		return nil, refuse("InvalidParameterValue", "Value (%s) for parameter attribute is invalid. Unknown VPC attribute", name)
	}
	return []node{txt("vpcId", v.id), el(name, flag("value", *value))}, nil
}

func (c *call) modifyVPCAttribute() ([]node, error) {
	v, err := c.ownVPC(c.p.get("VpcId"))
	if err != nil {
		return nil, err
	}
	for param, name := range map[string]string{"EnableDnsSupport.Value": "enableDnsSupport", "EnableDnsHostnames.Value": "enableDnsHostnames"} {
		if c.p.has(param) {
			*v.attribute(name) = c.p.is(param, false)
		}
	}
	if v.dnsNames && !v.dnsSupport {
		return nil, refuse("InvalidParameterCombination", "DNS hostnames need DNS support in %s", v.id)
	}
	c.st.vpcs[v.id] = v
	return done(), nil
}

// associateCIDR adds a block to a VPC, by the rules of ec2.md section 2.
func (c *call) associateCIDR() ([]node, error) {
	v, err := c.ownVPC(c.p.get("VpcId"))
	if err != nil {
		return nil, err
	}
	block := c.p.prefix("CidrBlock")
	switch {
	case c.p.is("AmazonProvidedIpv6CidrBlock", false):
		block = c.st.newIPv6()
	case !c.p.has("CidrBlock"):
		return nil, refuse("MissingParameter", "The request must contain the parameter CidrBlock")
	}
	if err := c.st.mayAssociate(v, block, c.s.quotas.CIDRsPerVPC); err != nil {
		return nil, err
	}
	prefix := "vpc-cidr-assoc"
	b := cidrBlock{c.st.newID(prefix), block, cidrAssociating, c.now}
	v.cidrs = with(v.cidrs, b)
	c.st.vpcs[v.id] = v
	c.st.failOverlapping(v, c.now)
	name := "cidrBlockAssociation"
	if block.Addr().Is6() {
		name = "ipv6CidrBlockAssociation"
	}
	return []node{txt("vpcId", v.id), blockItem(name, b)}, nil
}

// disassociateCIDR takes a block from a VPC: never the primary one, and not while a
// subnet lies in it.
func (c *call) disassociateCIDR() ([]node, error) {
	id := c.p.get("AssociationId")
	for _, v := range here(c, c.st.vpcs, func(v vpc) home { return v.home }) {
		i := slices.IndexFunc(v.cidrs, func(b cidrBlock) bool { return b.id == id })
		if i < 0 {
			continue
		}
		b := v.cidrs[i]
		for _, sn := range c.st.subnets {
			if sn.vpc == v.id && b.prefix.Contains(sn.prefix.Addr()) {
				return nil, refuse("InvalidCidrBlock.InUse", "The vpc %s currently has a subnet within CIDR block %s", v.id, b.prefix)
			}
		}
		if i == 0 || b.state != cidrAssociated {
			return nil, refuse("OperationNotPermitted", "The CIDR block %s of %s cannot be disassociated", b.prefix, v.id)
		}
		v = v.setCIDR(id, cidrDisassociating, c.now)
		c.st.vpcs[v.id] = v
		name := "cidrBlockAssociation"
		if b.prefix.Addr().Is6() {
			name = "ipv6CidrBlockAssociation"
		}
		return []node{txt("vpcId", v.id), blockItem(name, v.cidrs[i])}, nil
	}
	return nil, notFound(id, "vpc-cidr-assoc")
}
