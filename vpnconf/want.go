package vpnconf

import (
	"net/netip"
	"slices"

	"peerhub/hub"
)

// wantedLine is a prefix to be pushed and what it belongs to.
type wantedLine struct {
	prefix netip.Prefix
	unit   hub.Unit
	hold   bool
}

// wantLines says which prefixes the clients of servers are given: the aggregates, then
// the reaches that are not inside one. No prefix twice. The hub VPC is a reach like any
// other; a prefix of it that is none would only lead clients into a drop.
func wantLines(d hub.Desired, servers []hub.Server) []wantedLine {
	var out []wantedLine
	base := hub.Unit{Kind: hub.UnitBase}
	known := map[netip.Prefix]bool{}
	var aggregates []netip.Prefix
	add := func(p netip.Prefix, u hub.Unit, hold bool) {
		p = p.Masked()
		if !known[p] {
			out = append(out, wantedLine{p, u, hold})
		}
		known[p] = true
	}
	for _, s := range servers {
		for _, a := range s.Aggregates {
			add(a, base, d.Base.Hold)
			aggregates = append(aggregates, a.Masked())
		}
	}
	inside := func(p netip.Prefix) bool {
		return slices.ContainsFunc(aggregates, func(a netip.Prefix) bool {
			return a.Bits() <= p.Bits() && a.Contains(p.Addr())
		})
	}
	for _, r := range d.Reaches {
		if !inside(r.Prefix) {
			add(r.Prefix, r.Unit(), r.Hold || d.Base.Hold)
		}
	}
	return out
}

// checksOwn reports whether own files of clients need our config line.
func checksOwn(servers []hub.Server) bool {
	return slices.ContainsFunc(servers, func(s hub.Server) bool { return s.OwnFiles != hub.OwnFilesLeave })
}
