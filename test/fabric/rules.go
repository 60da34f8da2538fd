package fabric

import (
	"net/netip"

	"peerhub/test/ec2sim"
)

// groupRule is one permission of a security group; members stands for a group
// reference, resolved to private addresses.
type groupRule struct {
	ec2sim.NetRule
	members map[netip.Addr]bool
}

// compileGroups gives each interface the rules of all its groups, with
// references resolved. A reference works inside a VPC and over an active peering
// of the same region; otherwise it has no members.
func compileGroups(n ec2sim.Network, s *snapshot) {
	groups := make(map[string]ec2sim.NetGroup, len(n.Groups))
	for _, g := range n.Groups {
		groups[g.ID] = g
	}
	members := make(map[string]map[netip.Addr]bool)
	for _, i := range n.Interfaces {
		for _, g := range i.Groups {
			if members[g] == nil {
				members[g] = make(map[netip.Addr]bool)
			}
			for _, a := range i.Addresses {
				members[g][a] = true
			}
		}
	}
	refers := func(from, to string) bool {
		if from == to {
			return true
		}
		for _, p := range n.Peerings {
			if p.Active && !p.InterRegion && (p.RequesterVPC == from && p.AccepterVPC == to ||
				p.RequesterVPC == to && p.AccepterVPC == from) {
				return true
			}
		}
		return false
	}
	resolve := func(vpcID string, rules []ec2sim.NetRule) []groupRule {
		out := make([]groupRule, 0, len(rules))
		for _, r := range rules {
			rule := groupRule{NetRule: r}
			if r.Group != "" && refers(vpcID, groups[r.Group].VPC) {
				rule.members = members[r.Group]
			}
			out = append(out, rule)
		}
		return out
	}
	for _, i := range n.Interfaces {
		e := s.interfaces[i.ID]
		if e == nil {
			continue
		}
		for _, id := range i.Groups {
			g := groups[id]
			e.in = append(e.in, resolve(i.VPC, g.Ingress)...)
			e.out = append(e.out, resolve(i.VPC, g.Egress)...)
		}
	}
}

// allowed tells whether a rule admits the packet; remote is the far end.
func allowed(rules []groupRule, h *header, remote netip.Addr) bool {
	for i := range rules {
		r := &rules[i]
		if r.Group != "" && !r.members[remote] || r.Group == "" && !r.Prefix.Contains(remote) {
			continue
		}
		if r.matches(h) {
			return true
		}
	}
	return false
}

// matches compares protocol and ports (ICMP: type and code).
func (r *groupRule) matches(h *header) bool {
	if r.Protocol == -1 {
		return true
	}
	if r.Protocol != int(h.proto) {
		return false
	}
	switch h.proto {
	case protoTCP, protoUDP:
		return h.known && (r.FromPort == -1 || int(h.dstPort) >= r.FromPort && int(h.dstPort) <= r.ToPort)
	case protoICMP, protoICMPv6:
		return h.known && matchICMP(h, r.FromPort, r.ToPort)
	}
	return true
}

func matchICMP(h *header, kind, code int) bool {
	return kind == -1 || kind == int(h.kind) && (code == -1 || code == int(h.code))
}

// acl is a network ACL: no memory, the first match by number decides, nothing
// matching is denied.
type acl struct {
	id      string
	in, out []ec2sim.NetACLEntry
}

// permits judges one packet; remote is the address outside the subnet.
func permits(entries []ec2sim.NetACLEntry, h *header, remote netip.Addr) bool {
	for i := range entries {
		e := &entries[i]
		if !e.Prefix.Contains(remote) {
			continue
		}
		if e.Protocol == -1 || e.Protocol == int(h.proto) && portsMatch(e, h) {
			return e.Allow
		}
	}
	return false
}

func portsMatch(e *ec2sim.NetACLEntry, h *header) bool {
	switch h.proto {
	case protoTCP, protoUDP:
		if e.FromPort == 0 && e.ToPort == 0 {
			return true
		}
		return h.known && int(h.dstPort) >= e.FromPort && int(h.dstPort) <= e.ToPort
	case protoICMP, protoICMPv6:
		return h.known && matchICMP(h, e.FromPort, e.ToPort)
	}
	return true
}
