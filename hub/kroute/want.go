package kroute

import (
	"cmp"
	"iter"
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
	hop
}

// hop is where a route leads. Thousands of routes have the same one.
type hop struct {
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

// compareKeys is written out, not with cmp.Or: it is what a pass does most.
func compareKeys(a, b *routeKey) int {
	if a.Table != b.Table {
		return cmp.Compare(a.Table, b.Table)
	}
	if c := a.Dst.Addr().Compare(b.Dst.Addr()); c != 0 {
		return c
	}
	if a.Dst.Bits() != b.Dst.Bits() {
		return a.Dst.Bits() - b.Dst.Bits()
	}
	return cmp.Compare(a.Metric, b.Metric)
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
	of   *hub.Reach // nil: unit says it
	unit hub.Unit
	hold bool
}

// belongs is the unit of a wanted thing.
func (w *wanted[T]) belongs() hub.Unit {
	if w.of != nil {
		return w.of.Unit()
	}
	return w.unit
}

// table is the routing table of class c.
func table(c uint8) uint32 { return closedTable + uint32(c) }

// closes reports whether a tunnel's traffic may go nowhere else.
func closes(t hub.Tunnel) bool { return t.Other != hub.OtherLeave }

// wantRules says which rules d asks for.
func wantRules(d hub.Desired) []wanted[rule] {
	var out []wanted[rule]
	for _, e := range d.Base.Egresses {
		if !hasTable(e) {
			continue
		}
		for _, t := range d.Base.Tunnels {
			out = append(out, wanted[rule]{it: rule{
				Priority: firstPriority + uint32(e.Class) - 1, Iif: t.Name,
				Mark: uint32(e.Class) << hub.MarkClassShift, Mask: hub.MarkClassMask, Table: table(e.Class),
			}, unit: hub.Unit{Kind: hub.UnitEgress, Egress: e.ID}, hold: e.Hold || d.Base.Hold})
		}
	}
	for _, t := range d.Base.Tunnels {
		if !closes(t) {
			continue
		}
		for _, v6 := range []bool{false, true} {
			out = append(out, wanted[rule]{it: rule{Priority: lastPriority, V6: v6, Iif: t.Name, Table: closedTable},
				unit: hub.Unit{Kind: hub.UnitBase}, hold: d.Base.Hold})
		}
	}
	return out
}

// wantRoutes yields the routes d asks for, a table's skeleton before the reaches. Of two
// with one key the first counts. Nothing is collected: there may be ten thousand.
func wantRoutes(d hub.Desired) iter.Seq[*wanted[route]] {
	return func(yield func(*wanted[route]) bool) {
		for _, w := range skeleton(d) {
			if !yield(&w) {
				return
			}
		}
		ways := make(map[hub.EgressID]hub.Egress, len(d.Base.Egresses))
		for _, e := range d.Base.Egresses {
			if hasTable(e) {
				ways[e.ID] = e
			}
		}
		var w wanted[route]
		var e hub.Egress
		for i := range d.Reaches {
			r := &d.Reaches[i]
			if e.ID != r.Egress || i == 0 {
				e = ways[r.Egress]
				w.it = route{routeKey{Table: table(e.Class)}, hop{Via: e.Gateway, Dev: string(e.ID)}}
			}
			if !hasTable(e) {
				continue
			}
			w.it.Dst, w.of, w.hold = leadsTo(r), r, r.Hold || e.Hold || d.Base.Hold
			if !yield(&w) {
				return
			}
		}
	}
}

// skeleton is what stands without any reach.
func skeleton(d hub.Desired) []wanted[route] {
	var out []wanted[route]
	base := hub.Unit{Kind: hub.UnitBase}
	if slices.ContainsFunc(d.Base.Tunnels, closes) {
		out = append(out,
			wanted[route]{it: route{routeKey: routeKey{Table: closedTable, Dst: default4}, hop: hop{Kind: blackhole}}, unit: base, hold: d.Base.Hold},
			wanted[route]{it: route{routeKey: routeKey{Table: closedTable, Dst: default6, Metric: closedMetric6}, hop: hop{Kind: blackhole}}, unit: base, hold: d.Base.Hold})
	}
	for _, e := range d.Base.Egresses {
		if !hasTable(e) {
			continue
		}
		unit, hold := hub.Unit{Kind: hub.UnitEgress, Egress: e.ID}, e.Hold || d.Base.Hold
		out = append(out, wanted[route]{
			it: route{routeKey: routeKey{Table: table(e.Class), Dst: default4, Metric: fallbackMetric}, hop: hop{Kind: unreachable}}, unit: unit, hold: hold})
		if e.Subnet.IsValid() {
			out = append(out, wanted[route]{
				it: route{routeKey: routeKey{Table: table(e.Class), Dst: e.Subnet.Masked()}, hop: hop{Dev: string(e.ID)}}, unit: unit, hold: hold})
		}
	}
	for _, t := range d.Base.Tunnels {
		for _, n := range t.Sites {
			out = append(out, wanted[route]{
				it: route{routeKey: routeKey{Table: mainTable, Dst: n.Masked()}, hop: hop{Dev: t.Name}}, unit: siteUnit(n), hold: d.Base.Hold})
		}
	}
	return out
}

// hasTable reports whether an egress's class has a routing table.
func hasTable(e hub.Egress) bool { return e.Class >= 1 && e.Class <= maxClass }

// leadsTo is the prefix the kernel routes: an alias has become the real prefix by then.
func leadsTo(r *hub.Reach) netip.Prefix {
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
