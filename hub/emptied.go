package hub

import (
	"cmp"
	"fmt"
	"slices"
)

// dismissed notes a reach that the config refuses, if that is all: its account is not listed any
// more, or it is excluded. What overlaps a pool, a site, the hub or protect goes whatever is left.
func (g *guard) dismissed(r Reach, s Spoke, t Topology) {
	if s.Peering != "" && !refuse(r.Prefix, false, Account{}, g.policy, t).refused() {
		g.unwanted = append(g.unwanted, departure{reach: r, spoke: s})
	}
}

// emptied holds what the config does not want when that leaves none of two or more spokes: a
// file cut short, or accounts.d not mounted, looks like this.
func (g *guard) emptied() {
	isSpoke := func(s Spoke) bool { return s.Peering != "" }
	before := 0
	for _, s := range g.prev.Spokes {
		if isSpoke(s) {
			before++
		}
	}
	spokes := spokesByID(g.prev.Spokes)
	stays := slices.ContainsFunc(g.want.Spokes, isSpoke) || slices.ContainsFunc(g.keep, func(r Reach) bool { return isSpoke(spokes[r.Spoke]) })
	if g.allow || before < 2 || stays || len(g.unwanted) == 0 {
		return
	}
	const why = "the config leaves no spoke at all"
	perSpoke := make(map[Spoke]int)
	for _, d := range g.unwanted {
		perSpoke[d.spoke]++
		g.hold(d.reach, "removal held: "+why)
	}
	for s, n := range perSpoke {
		g.problems = append(g.problems, Problem{Code: RemovalHeld, Subject: cmp.Or(s.Name, string(s.ID)),
			Detail: fmt.Sprintf("the config does not want %s any more; removing its %d prefixes is held: %s", s.Peering, n, why), Mend: Mend(RemovalHeld)})
	}
}
