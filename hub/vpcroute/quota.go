package vpcroute

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"peerhub/hub"
)

// aggregation is what an operator may do about a full table beside raising the quota: which
// routes toward one peering fit into a wider one. A wider route toward the same peering
// satisfies us, so one made by hand frees the places of those inside. The lock is held.
func (p *Plane) aggregation(id hub.TableID) string {
	i := slices.IndexFunc(p.topology.Tables, func(t hub.Table) bool { return t.ID == id })
	if i < 0 {
		return ""
	}
	t := p.overlaid(p.topology.Tables[i])
	byTarget := map[string][]netip.Prefix{}
	static := 0
	for _, r := range t.Routes {
		if r.Static {
			static++
		}
		if r.Static && strings.HasPrefix(r.Target, "pcx-") {
			byTarget[r.Target] = append(byTarget[r.Target], r.Destination)
		}
	}
	best := merge{}
	for target, list := range byTarget {
		for _, m := range merges(list) {
			if m.target = target; m.before(best) {
				best = m
			}
		}
	}
	text := fmt.Sprintf("; it has %d static routes", static)
	if len(best.inside) == 0 {
		return text + ", and no two toward one peering fit into one"
	}
	return fmt.Sprintf("%s. %s covers %d routes toward %s: make it by hand, then delete those inside", text, best.wide, len(best.inside), best.target)
}

// merge is a prefix that is exactly filled by others, all toward one target.
type merge struct {
	wide   netip.Prefix
	target string
	inside []netip.Prefix
}

// before prefers what frees most, then the lowest address, so that the hint does not change.
func (m merge) before(o merge) bool {
	if len(m.inside) != len(o.inside) {
		return len(m.inside) > len(o.inside)
	}
	return hub.ComparePrefixes(m.wide, o.wide) < 0
}

// merges joins halves as long as there are any, and returns what came of two or more.
func merges(list []netip.Prefix) []merge {
	have := map[netip.Prefix][]netip.Prefix{}
	queue := slices.Clone(list)
	for _, p := range list {
		have[p] = []netip.Prefix{p}
	}
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		wide, err := p.Addr().Prefix(p.Bits() - 1)
		if err != nil || have[wide] != nil {
			continue
		}
		other := sibling(p)
		if have[p] == nil || have[other] == nil {
			continue
		}
		have[wide] = slices.Concat(have[p], have[other])
		delete(have, p)
		delete(have, other)
		queue = append(queue, wide)
	}
	var out []merge
	for wide, inside := range have {
		if len(inside) > 1 {
			out = append(out, merge{wide: wide, inside: inside})
		}
	}
	return out
}

// sibling is the other half of the prefix one bit wider.
func sibling(p netip.Prefix) netip.Prefix {
	bytes := p.Addr().AsSlice()
	if p.Bits() > 0 {
		bit := p.Bits() - 1
		bytes[bit/8] ^= 0x80 >> (bit % 8)
	}
	a, ok := netip.AddrFromSlice(bytes)
	if !ok {
		return p
	}
	return netip.PrefixFrom(a, p.Bits())
}
