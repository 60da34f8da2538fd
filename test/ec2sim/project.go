package ec2sim

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// project turns a state into what the data plane needs. It is pure.
func project(st *state, gen uint64) Network {
	n := Network{Generation: gen}
	for _, v := range sorted(st.vpcs, nil) {
		out := NetVPC{ID: v.id, Account: v.account, Region: v.region, Prefixes: v.prefixes()}
		for _, g := range st.gateways {
			if g.vpc == v.id && strings.HasPrefix(g.id, "igw-") {
				out.InternetGateway = g.id
			}
		}
		n.VPCs = append(n.VPCs, out)
	}
	for _, sn := range sorted(st.subnets, nil) {
		n.Subnets = append(n.Subnets, NetSubnet{sn.id, sn.vpc, sn.prefix, st.effectiveTable(sn), sn.acl})
	}
	for _, t := range sorted(st.tables, nil) {
		out := NetTable{ID: t.id, VPC: t.vpc}
		for _, r := range t.routes {
			out.Routes = append(out.Routes, st.netRoute(r))
		}
		n.Tables = append(n.Tables, out)
	}
	for _, a := range sorted(st.acls, nil) {
		n.ACLs = append(n.ACLs, netACL(a))
	}
	for _, g := range sorted(st.groups, nil) {
		n.Groups = append(n.Groups, netGroup(g))
	}
	for _, e := range sorted(st.interfaces, nil) {
		in, ok := st.instances[e.instance]
		if ok && in.state == instanceRunning {
			n.Interfaces = append(n.Interfaces, st.netInterface(e, in))
		}
	}
	for _, p := range sorted(st.peerings, func(p peering) bool { return !p.terminal() }) {
		n.Peerings = append(n.Peerings, NetPeering{
			p.id, p.requester.vpc, p.accepter.vpc, p.status == peerActive, p.interRegion()})
	}
	return n
}

func (st *state) netRoute(r route) NetRoute {
	out := NetRoute{Destination: r.dest, Target: r.target, Blackhole: st.blackhole(r), Propagated: r.origin == originPropagated}
	switch idPrefix(r.target) {
	case TargetLocal, TargetInternet, TargetPeering, TargetENI:
		out.Kind = idPrefix(r.target)
	default:
		out.Kind = TargetOther
	}
	return out
}

func (st *state) netInterface(e eni, in instance) NetInterface {
	out := NetInterface{
		ID: e.id, Instance: in.id, Account: e.account, VPC: e.vpc, Subnet: e.subnet, MAC: e.mac,
		Public:          map[netip.Addr]netip.Addr{},
		SourceDestCheck: e.sourceDestCheck, Groups: slices.Sorted(slices.Values(e.groups)), IMDSHopLimit: in.hopLimit,
	}
	for _, a := range e.addrs {
		out.Addresses = append(out.Addresses, a.addr)
		if pub := st.publicOf(e, a); pub.IsValid() {
			out.Public[a.addr] = pub
		}
	}
	out.Addresses = append(out.Addresses, e.v6...)
	return out
}

func netGroup(g group) NetGroup {
	out := NetGroup{ID: g.id, VPC: g.vpc}
	for _, r := range g.rules {
		rule := NetRule{protocolNumber(r.protocol), r.from, r.to, r.prefix, r.group}
		if rule.Protocol == -1 {
			rule.FromPort, rule.ToPort = 0, 0
		}
		if r.egress {
			out.Egress = append(out.Egress, rule)
		} else {
			out.Ingress = append(out.Ingress, rule)
		}
	}
	return out
}

func netACL(a acl) NetACL {
	out := NetACL{ID: a.id}
	for _, e := range a.entries {
		entry := NetACLEntry{e.number, e.allow, protocolNumber(e.protocol), e.prefix, e.from, e.to}
		if entry.Protocol == protoICMP || entry.Protocol == protoICMPv6 {
			entry.FromPort, entry.ToPort = e.icmpType, e.icmpTo
		}
		if e.egress {
			out.Egress = append(out.Egress, entry)
		} else {
			out.Ingress = append(out.Ingress, entry)
		}
	}
	byNumber := func(x, y NetACLEntry) int { return cmp.Compare(x.Number, y.Number) }
	slices.SortStableFunc(out.Ingress, byNumber)
	slices.SortStableFunc(out.Egress, byNumber)
	return out
}

const (
	protoICMP   = 1
	protoICMPv6 = 58
)

// protocolNumber of a protocol as EC2 spells it; -1 is any.
func protocolNumber(s string) int {
	switch s {
	case "tcp":
		return 6
	case "udp":
		return 17
	case "icmp":
		return protoICMP
	case "icmpv6":
		return protoICMPv6
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return -1
	}
	return n
}

// idPrefix is what an id says of its kind: "pcx" of "pcx-0123".
func idPrefix(id string) string {
	kind, _, _ := strings.Cut(id, "-")
	return kind
}

// blackhole tells whether a route's target cannot carry anything now.
func (st *state) blackhole(r route) bool {
	switch idPrefix(r.target) {
	case TargetLocal:
		return false
	case TargetPeering:
		return st.peerings[r.target].status != peerActive
	case TargetENI:
		e, ok := st.interfaces[r.target]
		return !ok || st.instances[e.instance].state != instanceRunning
	case TargetInternet, "vgw":
		return st.gateways[r.target].vpc == ""
	default:
		_, ok := st.gateways[r.target]
		return !ok
	}
}
