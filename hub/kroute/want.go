package kroute

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"peerhub/hub"
)

// Our part of the kernel. Tables and priorities are ranges, both ends included.
const (
	closedTable   = 26740 // what a tunnel may not reach ends here; class C has table closedTable+C
	lastTable     = 26799
	firstPriority = 26740 // of class 1
	lastPriority  = 26799 // of the rules that close
	protocol      = 104
	mainTable     = 254
	maxClass      = lastTable - closedTable

	// fallbackMetric lets everything else in a table come first; the number is the one
	// the kernel's own documentation uses for this (Documentation/networking/vrf.rst).
	fallbackMetric = 4278198272
	// closedMetric6 is the metric IPv6 gives a route that names none.
	closedMetric6 = 1024
)

var (
	default4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	default6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// kind is the type of a route.
type kind uint8

const (
	unicast kind = iota
	blackhole
	unreachable
	otherKind // a type we never make
)

// routeKey is what the kernel tells routes of a table apart by.
type routeKey struct {
	Table  uint32
	Dst    netip.Prefix
	Metric uint32
}

// route is one kernel route, comparable.
type route struct {
	routeKey
	Kind kind
	Via  netip.Addr // zero: on the link
	Dev  string
	Odd  bool // has attributes we never set: several next hops, a source, a TOS
}

// rule is one kernel rule, comparable.
type rule struct {
	Priority   uint32
	V6         bool
	Iif        string
	Mark, Mask uint32
	Table      uint32
	Odd        string // the whole message of a rule with selectors or actions we never set
}

func compareKeys(a, b routeKey) int {
	return cmp.Or(cmp.Compare(a.Table, b.Table), hub.ComparePrefixes(a.Dst, b.Dst), cmp.Compare(a.Metric, b.Metric))
}

func compareRules(a, b rule) int {
	v6 := func(r rule) int {
		if r.V6 {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(v6(a), v6(b)), cmp.Compare(a.Priority, b.Priority), strings.Compare(a.Iif, b.Iif),
		cmp.Compare(a.Mark, b.Mark), cmp.Compare(a.Table, b.Table), strings.Compare(a.Odd, b.Odd))
}

// wanted is a route or a rule together with what it belongs to.
type wanted[T any] struct {
	it   T
	unit hub.Unit
	hold bool
}

// table is the routing table of class c.
func table(c uint8) uint32 { return closedTable + uint32(c) }

// closed says what keeps a tunnel's traffic in: a rule per tunnel and the tables they lead to.
func closed(tunnels []hub.Tunnel, hold bool) (routes []wanted[route], rules []wanted[rule]) {
	base := hub.Unit{Kind: hub.UnitBase}
	for _, t := range tunnels {
		if t.Other == hub.OtherLeave {
			continue
		}
		for _, v6 := range []bool{false, true} {
			rules = append(rules, wanted[rule]{rule{Priority: lastPriority, V6: v6, Iif: t.Name, Table: closedTable}, base, hold})
		}
	}
	if len(rules) > 0 {
		routes = append(routes,
			wanted[route]{route{routeKey: routeKey{Table: closedTable, Dst: default4}, Kind: blackhole}, base, hold},
			wanted[route]{route{routeKey: routeKey{Table: closedTable, Dst: default6, Metric: closedMetric6}, Kind: blackhole}, base, hold})
	}
	return routes, rules
}

// want says which routes and rules d asks for, both sorted, no key twice.
func want(d hub.Desired) ([]wanted[route], []wanted[rule]) {
	routes, rules := closed(d.Base.Tunnels, d.Base.Hold)
	ways := make(map[hub.EgressID]hub.Egress, len(d.Base.Egresses))
	for _, e := range d.Base.Egresses {
		if e.Class < 1 || e.Class > maxClass {
			continue
		}
		ways[e.ID] = e
		unit, hold := hub.Unit{Kind: hub.UnitEgress, Egress: e.ID}, e.Hold || d.Base.Hold
		routes = append(routes, wanted[route]{
			route{routeKey: routeKey{Table: table(e.Class), Dst: default4, Metric: fallbackMetric}, Kind: unreachable}, unit, hold})
		if e.Subnet.IsValid() {
			routes = append(routes, wanted[route]{
				route{routeKey: routeKey{Table: table(e.Class), Dst: e.Subnet.Masked()}, Dev: string(e.ID)}, unit, hold})
		}
		for _, t := range d.Base.Tunnels {
			rules = append(rules, wanted[rule]{rule{
				Priority: firstPriority + uint32(e.Class) - 1, Iif: t.Name,
				Mark: uint32(e.Class) << hub.MarkClassShift, Mask: hub.MarkClassMask, Table: table(e.Class),
			}, unit, hold})
		}
	}
	for _, r := range d.Reaches {
		e, ok := ways[r.Egress]
		if !ok {
			continue
		}
		routes = append(routes, wanted[route]{
			route{routeKey: routeKey{Table: table(e.Class), Dst: leadsTo(r)}, Via: e.Gateway, Dev: string(e.ID)},
			r.Unit(), r.Hold || e.Hold || d.Base.Hold})
	}
	for _, t := range d.Base.Tunnels {
		for _, n := range t.Sites {
			routes = append(routes, wanted[route]{
				route{routeKey: routeKey{Table: mainTable, Dst: n.Masked()}, Dev: t.Name}, siteUnit(n), d.Base.Hold})
		}
	}
	slices.SortStableFunc(routes, func(a, b wanted[route]) int { return compareKeys(a.it.routeKey, b.it.routeKey) })
	slices.SortStableFunc(rules, func(a, b wanted[rule]) int { return compareRules(a.it, b.it) })
	return slices.CompactFunc(routes, func(a, b wanted[route]) bool { return a.it.routeKey == b.it.routeKey }),
		slices.CompactFunc(rules, func(a, b wanted[rule]) bool { return a.it == b.it })
}

// leadsTo is the prefix the kernel routes: an alias has become the real prefix by then.
func leadsTo(r hub.Reach) netip.Prefix {
	if r.Real.IsValid() {
		return r.Real.Masked()
	}
	return r.Prefix.Masked()
}

// siteUnit is a unit of its own, so that a site network that cannot be routed holds
// nothing but itself.
func siteUnit(n netip.Prefix) hub.Unit { return hub.Unit{Kind: hub.UnitPrefix, Prefix: n.Masked()} }

// ours reports whether a priority is in our range.
func ours(priority uint32) bool { return priority >= firstPriority && priority <= lastPriority }

// ourTable reports whether a table is in our range.
func ourTable(t uint32) bool { return t >= closedTable && t <= lastTable }
