package ec2sim

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

func (c *call) ownGroup(id string) (group, error) {
	g, ok := c.st.groups[id]
	if !ok || g.home != c.home {
		return g, refuse("InvalidGroup.NotFound", "The security group '%s' does not exist", id)
	}
	return g, nil
}

func (c *call) createGroup() ([]node, error) {
	v, err := c.ownVPC(c.p.get("VpcId"))
	if err != nil {
		return nil, err
	}
	tags, err := c.tagSpec("security-group")
	if err != nil {
		return nil, err
	}
	name := c.p.get("GroupName")
	switch {
	case name == "default":
		return nil, refuse("InvalidGroup.Reserved", "Cannot use reserved security group name: %s", name)
	case strings.HasPrefix(name, "sg-"):
		return nil, refuse("InvalidParameterValue", "invalid value '%s' for parameter groupName: it may not begin with sg-", name)
	}
	g, err := c.st.makeGroup(v, GroupSpec{Name: name, Description: c.p.get("GroupDescription")})
	if err != nil {
		return nil, err
	}
	c.addTags(g.id, tags)
	return []node{txt("return", "true"), txt("groupId", g.id), c.tagSet(g.id)}, nil
}

// deleteGroup refuses a group that an interface or another group's rule uses.
func (c *call) deleteGroup() ([]node, error) {
	g, err := c.ownGroup(c.p.get("GroupId"))
	if err != nil {
		return nil, err
	}
	if g.name == "default" {
		return nil, refuse("CannotDelete", "the specified group: \"%s\" name: \"default\" cannot be deleted by a user", g.id)
	}
	used := func(e eni) bool { return slices.Contains(e.groups, g.id) }
	refers := func(o group) bool {
		// A group of another VPC keeps a stale rule instead (ec2.md section 4).
		return o.id != g.id && o.vpc == g.vpc && slices.ContainsFunc(o.rules, func(r groupRule) bool { return r.group == g.id })
	}
	if len(sorted(c.st.interfaces, used)) > 0 || len(sorted(c.st.groups, refers)) > 0 {
		return nil, refuse("DependencyViolation", "resource %s has a dependent object", g.id)
	}
	delete(c.st.groups, g.id)
	delete(c.st.tags, tagKey{c.home, g.id})
	return append(done(), txt("groupId", g.id)), nil
}

const permissionParams = " IpPermissions.n.IpProtocol IpPermissions.n.FromPort:int IpPermissions.n.ToPort:int" +
	" IpPermissions.n.IpRanges.n.CidrIp:cidr4 IpPermissions.n.IpRanges.n.Description" +
	" IpPermissions.n.Ipv6Ranges.n.CidrIpv6:cidr6 IpPermissions.n.Ipv6Ranges.n.Description" +
	" IpPermissions.n.Groups.n.GroupId IpPermissions.n.Groups.n.UserId IpPermissions.n.Groups.n.VpcId" +
	" IpPermissions.n.Groups.n.VpcPeeringConnectionId IpPermissions.n.Groups.n.Description" +
	" IpProtocol FromPort:int ToPort:int CidrIp:cidr4"

// permissions reads the rules of a request, one per source.
func (c *call) permissions(g group, egress bool) ([]groupRule, error) {
	var out []groupRule
	for _, item := range c.p.items("IpPermissions") {
		base, err := c.ruleBase(item+".", egress)
		if err != nil {
			return nil, err
		}
		for _, key := range c.p.items(item + ".IpRanges") {
			out = append(out, base.withSource(c.p.prefix(key+".CidrIp"), c.p.get(key+".Description")))
		}
		for _, key := range c.p.items(item + ".Ipv6Ranges") {
			out = append(out, base.withSource(c.p.prefix(key+".CidrIpv6"), c.p.get(key+".Description")))
		}
		for _, key := range c.p.items(item + ".Groups") {
			r := base
			r.group, r.description = c.p.get(key+".GroupId"), c.p.get(key+".Description")
			if err := c.referable(g, r.group); err != nil {
				return nil, err
			}
			r.account = c.st.groups[r.group].account
			out = append(out, r)
		}
	}
	if c.p.has("CidrIp") {
		base, err := c.ruleBase("", egress)
		if err != nil {
			return nil, err
		}
		out = append(out, base.withSource(c.p.prefix("CidrIp"), ""))
	}
	if len(out) == 0 {
		return nil, refuse("MissingParameter", "The request must contain a permission with a source")
	}
	return out, nil
}

func (r groupRule) withSource(p netip.Prefix, description string) groupRule {
	r.prefix, r.description = p, description
	return r
}

// referable: a rule may name a group of its VPC, or one of a VPC with an active
// peering in the same region (ec2.md section 4).
func (c *call) referable(g group, id string) error {
	other, ok := c.st.groups[id]
	if ok && other.vpc == g.vpc {
		return nil
	}
	for _, p := range c.st.peerings {
		between := p.requester.vpc == g.vpc && p.accepter.vpc == other.vpc || p.accepter.vpc == g.vpc && p.requester.vpc == other.vpc
		if ok && between && p.status == peerActive && !p.interRegion() {
			return nil
		}
	}
	return refuse("InvalidGroup.NotFound", "The security group '%s' does not exist", id)
}

// ruleBase reads protocol and ports.
func (c *call) ruleBase(at string, egress bool) (groupRule, error) {
	r := groupRule{egress: egress, protocol: c.p.get(at + "IpProtocol"), from: c.p.num(at+"FromPort", -1), to: c.p.num(at+"ToPort", -1)}
	switch r.protocol {
	case "6", "17", "1", "58":
		n, _ := strconv.Atoi(r.protocol)
		r.protocol = protocolName(n)
	case "all":
		r.protocol = "-1"
	}
	switch r.protocol {
	case "-1":
		r.from, r.to = -1, -1
	case "tcp", "udp":
		if r.from < 0 || r.to > 65535 || r.from > r.to {
			return r, refuse("InvalidParameterValue", "Invalid value for portRange. Must specify both from and to ports with TCP/UDP.")
		}
	case "icmp", "icmpv6":
	default:
		if n, err := strconv.Atoi(r.protocol); err != nil || n < 0 || n > 255 {
			return r, refuse("InvalidPermission.Malformed", "Unsupported IP protocol \"%s\" - supported: [tcp, udp, icmp]", r.protocol)
		}
		r.from, r.to = -1, -1
	}
	return r, nil
}

// same tells whether two rules are one for AWS: whatever their ids and descriptions.
func (r groupRule) same(o groupRule) bool {
	r.id, r.description, r.account = o.id, o.description, o.account
	return r == o
}

func (c *call) authorize(egress bool) func() ([]node, error) {
	return func() ([]node, error) {
		g, err := c.ownGroup(c.p.get("GroupId"))
		if err != nil {
			return nil, err
		}
		rules, err := c.permissions(g, egress)
		if err != nil {
			return nil, err
		}
		g.rules = with(g.rules)
		for i, r := range rules {
			if slices.ContainsFunc(g.rules, r.same) {
				return nil, refuse("InvalidPermission.Duplicate", "the specified rule \"peer: %s, %s, from port: %d, to port: %d, ALLOW\" already exists", r.source(), r.protocol, r.from, r.to)
			}
			rules[i].id = c.st.newID("sgr")
			g.rules = append(g.rules, rules[i])
		}
		for _, v4 := range []bool{true, false} {
			n := len(without(g.rules, func(r groupRule) bool { return r.egress != egress || r.group == "" && r.prefix.Addr().Is4() != v4 }))
			if n > c.s.quotas.RulesPerGroup {
				return nil, refuse("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group has been reached.")
			}
		}
		c.st.groups[g.id] = g
		return append(done(), set("securityGroupRuleSet", rules, func(r groupRule) node { return c.ruleItem(g, r) })), nil
	}
}

func (r groupRule) source() string {
	if r.group != "" {
		return r.group
	}
	return r.prefix.String()
}

func (c *call) revoke(egress bool) func() ([]node, error) {
	return func() ([]node, error) {
		g, err := c.ownGroup(c.p.get("GroupId"))
		if err != nil {
			return nil, err
		}
		var gone []groupRule
		for _, id := range c.p.list("SecurityGroupRuleId") {
			i := slices.IndexFunc(g.rules, func(r groupRule) bool { return r.id == id && r.egress == egress })
			if i < 0 {
				return nil, notFound(id, "sgr")
			}
			gone = append(gone, g.rules[i])
		}
		if len(gone) == 0 {
			asked, err := c.permissions(g, egress)
			if err != nil {
				return nil, err
			}
			for _, r := range asked {
				i := slices.IndexFunc(g.rules, r.same)
				if i < 0 {
					return nil, refuse("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
				}
				gone = append(gone, g.rules[i])
			}
		}
		g.rules = without(g.rules, func(r groupRule) bool {
			return slices.ContainsFunc(gone, func(o groupRule) bool { return o.id == r.id })
		})
		c.st.groups[g.id] = g
		return append(done(), el("unknownIpPermissionSet")), nil
	}
}
