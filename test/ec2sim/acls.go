package ec2sim

import (
	"cmp"
	"slices"
	"strconv"
)

func (c *call) ownACL() (acl, error) {
	return own(c.st.acls, c.p.get("NetworkAclId"), "acl", c.home, func(a acl) home { return a.home })
}

func (c *call) createACL() ([]node, error) {
	v, err := c.ownVPC(c.p.get("VpcId"))
	if err != nil {
		return nil, err
	}
	tags, err := c.tagSpec("network-acl")
	if err != nil {
		return nil, err
	}
	a, err := c.st.makeACL(v, "", false)
	if err != nil {
		return nil, err
	}
	c.addTags(a.id, tags)
	return []node{c.aclItem("networkAcl", a)}, nil
}

func (c *call) deleteACL() ([]node, error) {
	a, err := c.ownACL()
	if err != nil {
		return nil, err
	}
	if a.standard {
		return nil, refuse("InvalidParameterValue", "cannot delete default network ACL %s", a.id)
	}
	for _, sn := range c.st.subnets {
		if sn.acl == a.id {
			return nil, refuse("DependencyViolation", "The networkAcl '%s' has dependencies and cannot be deleted.", a.id)
		}
	}
	delete(c.st.acls, a.id)
	delete(c.st.tags, tagKey{c.home, a.id})
	return done(), nil
}

const aclEntryParams = "NetworkAclId:acl! RuleNumber:int! Egress:bool! Protocol! RuleAction! CidrBlock:cidr4 Ipv6CidrBlock:cidr6 " +
	"PortRange.From:int PortRange.To:int Icmp.Type:int Icmp.Code:int"

// readEntry reads an entry of CreateNetworkAclEntry and ReplaceNetworkAclEntry.
func (c *call) readEntry() (aclEntry, error) {
	e := aclEntry{
		number: c.p.num("RuleNumber", 0), egress: c.p.is("Egress", false), allow: c.p.get("RuleAction") == "allow",
		protocol: c.p.get("Protocol"), from: c.p.num("PortRange.From", 0), to: c.p.num("PortRange.To", 0),
		icmpType: c.p.num("Icmp.Type", -1), icmpTo: c.p.num("Icmp.Code", -1), prefix: c.p.prefix("CidrBlock"),
	}
	if c.p.has("Ipv6CidrBlock") {
		e.prefix = c.p.prefix("Ipv6CidrBlock")
	}
	switch e.protocol {
	case "tcp", "udp", "icmp", "icmpv6":
		e.protocol = strconv.Itoa(protocolNumber(e.protocol))
	case "all":
		e.protocol = "-1"
	}
	number, err := strconv.Atoi(e.protocol)
	switch {
	case err != nil || number < -1 || number > 255:
		return e, refuse("InvalidParameterValue", "Invalid value '%s' for protocol.", e.protocol)
	case e.number < 1 || e.number > 32766:
		return e, refuse("InvalidParameterValue", "Invalid value '%d' for ruleNumber. Must be between 1 and 32766.", e.number)
	case !e.prefix.IsValid():
		return e, refuse("MissingParameter", "The request must contain the parameter cidrBlock or ipv6CidrBlock")
	case c.p.get("RuleAction") != "allow" && c.p.get("RuleAction") != "deny":
		return e, refuse("InvalidParameterValue", "Invalid value '%s' for ruleAction.", c.p.get("RuleAction"))
	case (number == 6 || number == 17) && !c.p.has("PortRange.From"):
		return e, refuse("MissingParameter", "The request must contain the parameter portRange")
	}
	return e, nil
}

// findEntry is the place of a numbered entry, -1 if there is none.
func (a acl) findEntry(number int, egress bool) int {
	return slices.IndexFunc(a.entries, func(o aclEntry) bool { return o.number == number && o.egress == egress })
}

func (c *call) createEntry() ([]node, error) {
	a, err := c.ownACL()
	if err != nil {
		return nil, err
	}
	e, err := c.readEntry()
	if err != nil {
		return nil, err
	}
	if a.findEntry(e.number, e.egress) >= 0 {
		return nil, refuse("NetworkAclEntryAlreadyExists", "The network acl entry identified by %d already exists.", e.number)
	}
	count := without(a.entries, func(o aclEntry) bool {
		return o.egress != e.egress || o.prefix.Addr().Is4() != e.prefix.Addr().Is4()
	})
	if len(count) >= c.s.quotas.EntriesPerACL {
		return nil, refuse("NetworkAclEntryLimitExceeded", "The maximum number of network acl entries has been reached.")
	}
	a.entries = with(a.entries, e)
	c.st.acls[a.id] = a
	return done(), nil
}

func (c *call) replaceEntry() ([]node, error) {
	a, err := c.ownACL()
	if err != nil {
		return nil, err
	}
	e, err := c.readEntry()
	if err != nil {
		return nil, err
	}
	i := a.findEntry(e.number, e.egress)
	if i < 0 {
		return nil, noEntry(a, e.number)
	}
	a.entries = with(a.entries)
	a.entries[i] = e
	c.st.acls[a.id] = a
	return done(), nil
}

func noEntry(a acl, number int) error {
	return refuse("InvalidNetworkAclEntry.NotFound", "The network acl entry identified by %d in %s does not exist.", number, a.id)
}

func (c *call) deleteEntry() ([]node, error) {
	a, err := c.ownACL()
	if err != nil {
		return nil, err
	}
	number := c.p.num("RuleNumber", 0)
	i := a.findEntry(number, c.p.is("Egress", false))
	if i < 0 || number == lastEntry {
		return nil, noEntry(a, number)
	}
	a.entries = slices.Delete(with(a.entries), i, i+1)
	c.st.acls[a.id] = a
	return done(), nil
}

func (c *call) replaceACLLink() ([]node, error) {
	a, err := c.ownACL()
	if err != nil {
		return nil, err
	}
	id := c.p.get("AssociationId")
	for _, sn := range here(c, c.st.subnets, func(s subnet) home { return s.home }) {
		if sn.aclLink != id {
			continue
		}
		if sn.vpc != a.vpc {
			return nil, refuse("InvalidParameterValue", "Network ACL %s and subnet %s belong to different networks", a.id, sn.id)
		}
		sn.acl, sn.aclLink = a.id, c.st.newID("aclassoc")
		c.st.subnets[sn.id] = sn
		return []node{txt("newAssociationId", sn.aclLink)}, nil
	}
	return nil, notFound(id, "aclassoc")
}

func (c *call) describeACLs() ([]node, error) {
	links := func(f func(subnet) string) func(acl) []string {
		return func(a acl) []string {
			var out []string
			for _, sn := range c.aclSubnets(a) {
				out = append(out, f(sn))
			}
			return out
		}
	}
	entries := func(f func(aclEntry) string) func(acl) []string {
		return func(a acl) []string {
			var out []string
			for _, e := range a.entries {
				out = append(out, f(e))
			}
			return out
		}
	}
	return describe(c, listing[acl]{
		element: "networkAclSet", idParam: "NetworkAclId", kind: "acl", max: 1000,
		id:   func(a acl) string { return a.id },
		item: func(a acl) node { return c.aclItem("", a) },
		filters: map[string]func(acl) []string{
			"association.association-id": links(func(s subnet) string { return s.aclLink }),
			"association.network-acl-id": one(func(a acl) string { return a.id }),
			"association.subnet-id":      links(func(s subnet) string { return s.id }),
			"default":                    yes(func(a acl) bool { return a.standard }),
			"entry.cidr":                 entries(func(e aclEntry) string { return e.prefix.String() }),
			"entry.egress":               entries(func(e aclEntry) string { return strconv.FormatBool(e.egress) }),
			"entry.protocol":             entries(func(e aclEntry) string { return e.protocol }),
			"entry.rule-action":          entries(aclEntry.action),
			"entry.rule-number":          entries(func(e aclEntry) string { return strconv.Itoa(e.number) }),
			"network-acl-id":             one(func(a acl) string { return a.id }),
			"owner-id":                   one(func(a acl) string { return a.account }),
			"vpc-id":                     one(func(a acl) string { return a.vpc }),
		},
	}, here(c, c.st.acls, func(a acl) home { return a.home }))
}

func (e aclEntry) action() string {
	if e.allow {
		return "allow"
	}
	return "deny"
}

func (c *call) aclSubnets(a acl) []subnet {
	return sorted(c.st.subnets, func(s subnet) bool { return s.acl == a.id })
}

func (c *call) aclItem(name string, a acl) node {
	entries := slices.Clone(a.entries)
	slices.SortStableFunc(entries, func(x, y aclEntry) int {
		if x.egress != y.egress {
			return cmp.Compare(len(strconv.FormatBool(x.egress)), len(strconv.FormatBool(y.egress)))
		}
		return cmp.Compare(x.number, y.number)
	})
	return el(name, txt("networkAclId", a.id), txt("vpcId", a.vpc), txt("ownerId", a.account), flag("default", a.standard),
		set("entrySet", entries, aclEntryItem),
		set("associationSet", c.aclSubnets(a), func(s subnet) node {
			return el("", txt("networkAclAssociationId", s.aclLink), txt("networkAclId", a.id), txt("subnetId", s.id))
		}),
		c.tagSet(a.id))
}

func aclEntryItem(e aclEntry) node {
	n := el("", num("ruleNumber", e.number), txt("protocol", e.protocol), txt("ruleAction", e.action()), flag("egress", e.egress))
	if e.prefix.Addr().Is4() {
		n.kids = append(n.kids, txt("cidrBlock", e.prefix.String()))
	} else {
		n.kids = append(n.kids, txt("ipv6CidrBlock", e.prefix.String()))
	}
	switch protocolNumber(e.protocol) {
	case 6, 17:
		n.kids = append(n.kids, el("portRange", num("from", e.from), num("to", e.to)))
	case protoICMP, protoICMPv6:
		n.kids = append(n.kids, el("icmpTypeCode", num("type", e.icmpType), num("code", e.icmpTo)))
	}
	return n
}
