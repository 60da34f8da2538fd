package ec2sim

import (
	"strconv"
)

func (c *call) describeGroups() ([]node, error) {
	rules := func(egress bool, f func(groupRule) string) func(group) []string {
		return func(g group) []string {
			var out []string
			for _, r := range g.rules {
				if v := f(r); r.egress == egress && v != "" {
					out = append(out, v)
				}
			}
			return out
		}
	}
	filters := map[string]func(group) []string{
		"description": one(func(g group) string { return g.description }),
		"group-id":    one(func(g group) string { return g.id }),
		"group-name":  one(func(g group) string { return g.name }),
		"owner-id":    one(func(g group) string { return g.account }),
		"vpc-id":      one(func(g group) string { return g.vpc }),
	}
	for prefix, egress := range map[string]bool{"": false, "egress.": true} {
		filters[prefix+"ip-permission.cidr"] = rules(egress, func(r groupRule) string { return r.cidr(true) })
		filters[prefix+"ip-permission.ipv6-cidr"] = rules(egress, func(r groupRule) string { return r.cidr(false) })
		filters[prefix+"ip-permission.from-port"] = rules(egress, func(r groupRule) string { return strconv.Itoa(r.from) })
		filters[prefix+"ip-permission.to-port"] = rules(egress, func(r groupRule) string { return strconv.Itoa(r.to) })
		filters[prefix+"ip-permission.group-id"] = rules(egress, func(r groupRule) string { return r.group })
		filters[prefix+"ip-permission.protocol"] = rules(egress, func(r groupRule) string { return r.protocol })
		filters[prefix+"ip-permission.user-id"] = rules(egress, func(r groupRule) string { return r.account })
	}
	return describe(c, listing[group]{
		element: "securityGroupInfo", idParam: "GroupId", kind: "sg", max: 1000,
		id: func(g group) string { return g.id }, filters: filters,
		item: func(g group) node {
			return el("", txt("groupId", g.id), txt("groupName", g.name), txt("groupDescription", g.description),
				txt("ownerId", g.account), txt("vpcId", g.vpc),
				c.permissionSet("ipPermissions", g, false), c.permissionSet("ipPermissionsEgress", g, true), c.tagSet(g.id))
		},
	}, here(c, c.st.groups, func(g group) home { return g.home }))
}

// cidr is the rule's block if it is one of the family.
func (r groupRule) cidr(v4 bool) string {
	if r.group != "" || r.prefix.Addr().Is4() != v4 {
		return ""
	}
	return r.prefix.String()
}

// permissionSet lists rules in the old form: one element per protocol and ports,
// with every source inside.
func (c *call) permissionSet(name string, g group, egress bool) node {
	type key struct {
		protocol string
		from, to int
	}
	var order []key
	rules := map[key][]groupRule{}
	for _, r := range g.rules {
		if r.egress != egress {
			continue
		}
		k := key{r.protocol, r.from, r.to}
		if rules[k] == nil {
			order = append(order, k)
		}
		rules[k] = append(rules[k], r)
	}
	return set(name, order, func(k key) node {
		n := el("", txt("ipProtocol", k.protocol))
		if k.protocol != "-1" {
			n.kids = append(n.kids, num("fromPort", k.from), num("toPort", k.to))
		}
		var groups, v4, v6 []groupRule
		for _, r := range rules[k] {
			switch {
			case r.group != "":
				groups = append(groups, r)
			case r.prefix.Addr().Is4():
				v4 = append(v4, r)
			default:
				v6 = append(v6, r)
			}
		}
		n.kids = append(n.kids,
			set("groups", groups, func(r groupRule) node {
				return el("", txt("groupId", r.group), txt("userId", r.account), opt("description", r.description))
			}),
			set("ipRanges", v4, func(r groupRule) node {
				return el("", txt("cidrIp", r.prefix.String()), opt("description", r.description))
			}),
			set("ipv6Ranges", v6, func(r groupRule) node {
				return el("", txt("cidrIpv6", r.prefix.String()), opt("description", r.description))
			}),
			el("prefixListIds"))
		return n
	})
}

// ruleOfGroup is a rule with the group it belongs to.
type ruleOfGroup struct {
	group group
	rule  groupRule
}

func (c *call) describeGroupRules() ([]node, error) {
	var all []ruleOfGroup
	for _, g := range here(c, c.st.groups, func(g group) home { return g.home }) {
		for _, r := range g.rules {
			all = append(all, ruleOfGroup{g, r})
		}
	}
	return describe(c, listing[ruleOfGroup]{
		element: "securityGroupRuleSet", idParam: "SecurityGroupRuleId", kind: "sgr", max: 1000,
		id:   func(r ruleOfGroup) string { return r.rule.id },
		item: func(r ruleOfGroup) node { return c.ruleItem(r.group, r.rule) },
		filters: map[string]func(ruleOfGroup) []string{
			"group-id":               one(func(r ruleOfGroup) string { return r.group.id }),
			"security-group-rule-id": one(func(r ruleOfGroup) string { return r.rule.id }),
		},
	}, all)
}

func (c *call) ruleItem(g group, r groupRule) node {
	n := el("", txt("securityGroupRuleId", r.id), txt("groupId", g.id), txt("groupOwnerId", g.account),
		flag("isEgress", r.egress), txt("ipProtocol", r.protocol), num("fromPort", r.from), num("toPort", r.to),
		opt("cidrIpv4", r.cidr(true)), opt("cidrIpv6", r.cidr(false)), opt("description", r.description))
	if r.group != "" {
		n.kids = append(n.kids, el("referencedGroupInfo", txt("groupId", r.group), txt("userId", r.account)))
	}
	n.kids = append(n.kids, el("tagSet"))
	return n
}
