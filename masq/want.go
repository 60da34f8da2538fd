package masq

import (
	"net/netip"
	"strconv"
	"strings"

	"peerhub/hub"
)

// item is an element with what it belongs to.
type item struct {
	stored
	unit hub.Unit
	hold bool
}

var baseUnit = hub.Unit{Kind: hub.UnitBase}

// wanted is the canonical form of the want: every element that should be in a set, once. Pure.
func wanted(want hub.Desired) []item {
	out := make([]item, 0, len(want.Reaches)*3/2+64)
	out = append(out, baseItems(want.Base)...)
	for _, e := range want.Base.Egresses {
		// Where no address is known, or the kernel is to choose, the flow is masqueraded.
		if want.Base.Masquerade || !e.Address.Is4() {
			continue
		}
		out = append(out, item{
			stored: store(element{set: "address4", key: string(e.ID), data: e.Address.String()}),
			unit:   hub.Unit{Kind: hub.UnitEgress, Egress: e.ID}, hold: e.Hold,
		})
	}
	return append(out, reachItems(want.Reaches)...)
}

// baseItems are the tunnels and what may come out of them.
func baseItems(b hub.Base) []item {
	var out []item
	seen := make(map[string]bool)
	add := func(set, key, comment string) {
		e := store(element{set: set, key: key, comment: comment})
		if !seen[e.object] {
			seen[e.object] = true
			out = append(out, item{stored: e, unit: baseUnit, hold: b.Hold})
		}
	}
	origins := make(map[netip.Prefix][]string)
	for _, t := range b.Tunnels {
		add("tunnels", t.Name, "")
		if t.Other == hub.OtherLeave {
			add("leave", t.Name, "")
		}
		for _, p := range t.Origins {
			if p.IsValid() && p.Addr().Is4() {
				origins[p.Masked()] = append(origins[p.Masked()], t.Name)
			}
		}
		for _, s := range t.ToHub {
			if s.Protocol == "icmp" {
				add("hub_echo", t.Name, "")
			} else {
				add("hub_ports", t.Name+" . "+s.Protocol+" . "+strconv.Itoa(int(s.Port)), "")
			}
		}
	}
	for p, names := range origins {
		// An interval set takes no prefix inside another one.
		if !coveredBy(p, origins) {
			add("origins4", p.String(), comment(strings.Join(names, ".")))
		}
	}
	return out
}

// coveredBy reports whether p lies inside another prefix of ps.
func coveredBy[V any](p netip.Prefix, ps map[netip.Prefix]V) bool {
	for bits := p.Bits() - 1; bits >= 0; bits-- {
		if _, ok := ps[netip.PrefixFrom(p.Addr(), bits).Masked()]; ok {
			return true
		}
	}
	return false
}

// reachItems are the prefixes, and the marks of the spokes that have one. A mark is held
// when all prefixes that need it are.
func reachItems(reaches []hub.Reach) []item {
	out := make([]item, 0, len(reaches)*3/2)
	marks := make(map[uint32]*liveMark)
	var live []*liveMark
	var buf []byte
	spokesPrefix := objectKey("spokes4", "")
	var last netip.Prefix
	for _, r := range reaches {
		// Sorted by prefix: of two with the same one, the first is it.
		if !r.Prefix.IsValid() || !r.Prefix.Addr().Is4() || r.Prefix == last {
			continue
		}
		last = r.Prefix
		m, ok := marks[r.Mark&ourMask]
		if !ok {
			m = newLiveMark(r)
			marks[r.Mark&ourMask] = m
			live = append(live, m)
		}
		m.hold = m.hold && r.Hold
		// One string holds object and key: there are up to ten thousand.
		buf = r.Prefix.Masked().AppendTo(append(buf[:0], spokesPrefix...))
		object := string(buf)
		e := stored{element{set: "spokes4", key: object[len(spokesPrefix):], data: m.key, comment: m.comment}, object, m.value}
		if r.Name != m.name {
			e.comment = comment(r.Name)
			e.value = elementValue(e.data, e.comment)
		}
		out = append(out, item{stored: e, unit: r.Unit(), hold: r.Hold})
	}
	for _, m := range live {
		for _, set := range []string{"out", "back"} {
			out = append(out, item{stored: store(element{set: set, key: m.key, comment: m.comment}), unit: m.unit, hold: m.hold})
		}
	}
	return out
}

// liveMark is one mark, with what its prefixes have in common.
type liveMark struct {
	key     string // the mark as text
	name    string // the spoke's, as it is in the reach
	comment string
	value   string // of its elements in spokes4
	unit    hub.Unit
	hold    bool
}

func newLiveMark(r hub.Reach) *liveMark {
	m := &liveMark{key: markText(r.Mark & ourMask), name: r.Name, comment: comment(r.Name),
		unit: hub.Unit{Kind: hub.UnitSpoke, Spoke: r.Spoke}, hold: true}
	m.value = elementValue(m.key, m.comment)
	return m
}

// comment makes a name safe for an element's comment: [A-Za-z0-9._-], at most 63.
func comment(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '_'
	}, name)
	return name[:min(len(name), 63)]
}

// keepValue is the value of the second table: made by this process, gone with it.
const keepValue = "owner, NAT and conntrack hooks"

func keepName(table string) string { return table + "_keep" }

func skeletonValue(s shape, mode hub.Ownership) string { return s.note() + ", " + string(mode) }
