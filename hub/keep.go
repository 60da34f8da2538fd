package hub

import (
	"fmt"
	"net/netip"
	"slices"
)

// assemble puts what is kept into the want, on hold, and completes what is remembered.
func (g *guard) assemble() {
	g.wayOut()
	g.displace()
	for _, r := range g.keep {
		r.Hold = true
		for _, e := range g.want.Base.Egresses {
			if uint32(e.Class) == r.Mark>>MarkClassShift {
				r.Egress = e.ID // renamed meanwhile
			}
		}
		g.want.Reaches = append(g.want.Reaches, r)
	}
	g.keepSpokes()
	g.keepRoutes()
	g.want.sort()
	if run := &g.memory.Run; len(run.Removed) == 0 { // held so far: the share is of the fewest that stood meanwhile
		run.Reaches = min(run.Reaches, len(g.want.Reaches))
	}
	peerings := make(map[SpokeID]PeeringID, len(g.want.Spokes))
	for _, s := range g.want.Spokes {
		peerings[s.ID] = s.Peering
	}
	g.memory.Winners = make(map[netip.Prefix]PeeringID, len(g.want.Reaches))
	for _, r := range g.want.Reaches {
		if pcx := peerings[r.Spoke]; pcx != "" {
			g.memory.Winners[r.Prefix] = pcx
		}
	}
}

// wayOut deals with a hub that has lost its way out: the reaches and the egress that stood
// before stay as they are, new ones wait.
func (g *guard) wayOut() {
	if len(g.want.Base.Egresses) > 0 || g.topology.Hub.VPC == "" {
		return
	}
	for _, e := range g.prev.Base.Egresses {
		e.Hold = true
		g.want.Base.Egresses = append(g.want.Base.Egresses, e)
		g.held = append(g.held, Held{Unit: Unit{Kind: UnitEgress, Egress: e.ID}.String(), Reason: "the interface is not known at present"})
	}
	before := make(map[Unit]Reach, len(g.prev.Reaches))
	for _, r := range g.prev.Reaches {
		before[r.Unit()] = r
	}
	var left []Reach
	gone := make(map[Unit]bool)
	for _, r := range g.want.Reaches {
		old, ok := before[r.Unit()]
		if !ok {
			gone[r.Unit()] = true
			g.held = append(g.held, Held{Unit: r.Unit().String(), Reason: "there is no way out of the hub"})
			continue
		}
		old.Hold = true
		left = append(left, old)
	}
	g.without(left, gone)
}

// displace takes out of the want what overlaps something kept: the newcomer waits until
// the old holder is gone for certain.
func (g *guard) displace() {
	if len(g.keep) == 0 {
		return
	}
	ground := newGround()
	for _, r := range g.keep {
		ground.take(claim{prefix: r.Prefix, spoke: &spoke{id: r.Spoke, name: r.Name}})
	}
	var left []Reach
	gone := make(map[Unit]bool)
	for _, r := range g.want.Reaches {
		if old, taken := ground.holder(r.Prefix); taken {
			gone[r.Unit()] = true
			g.problems = append(g.problems, Problem{Code: Collision, Subject: r.Name,
				Detail: fmt.Sprintf("%s is still held by %s (%s), which is not certain to be gone", r.Prefix, old.spoke.name, old.prefix),
				Mend:   "wait for the next answers, or: hubctl sync --allow-removals"})
			continue
		}
		left = append(left, r)
	}
	g.without(left, gone)
}

// without leaves only the reaches left, and drops the routes and spokes of those gone.
func (g *guard) without(left []Reach, gone map[Unit]bool) {
	g.want.Reaches = left
	if len(gone) == 0 {
		return
	}
	stays := make(map[SpokeID]bool)
	for _, r := range left {
		stays[r.Spoke] = true
	}
	var spokes []Spoke
	for _, s := range g.want.Spokes {
		if stays[s.ID] {
			spokes = append(spokes, s)
		}
	}
	var routes []VPCRoute
	for _, r := range g.want.Routes {
		if stays[r.Spoke] && !gone[r.Unit] {
			routes = append(routes, r)
		}
	}
	g.want.Spokes, g.want.Routes = spokes, routes
}

// keepSpokes adds the spokes that live on only in what is kept. Their names give way
// to those of spokes that are there.
func (g *guard) keepSpokes() {
	there := make(map[SpokeID]bool, len(g.want.Spokes))
	names := make(map[string]bool, len(g.want.Spokes))
	for _, s := range g.want.Spokes {
		there[s.ID], names[s.Name] = true, true
	}
	needed := make(map[SpokeID]bool)
	for _, r := range g.want.Reaches {
		needed[r.Spoke] = true
	}
	renamed := make(map[SpokeID]string)
	for _, s := range g.prev.Spokes {
		if there[s.ID] || !needed[s.ID] {
			continue
		}
		if names[s.Name] {
			s.Name = uniqueName(s.Name, string(s.ID), names)
			renamed[s.ID] = s.Name
		}
		names[s.Name] = true
		g.want.Spokes = append(g.want.Spokes, s)
	}
	for i, r := range g.want.Reaches {
		if name, ok := renamed[r.Spoke]; ok {
			g.want.Reaches[i].Name = name
		}
	}
}

// keepRoutes keeps the VPC routes of held reaches, and the ways back of spokes of which
// every reach is held.
func (g *guard) keepRoutes() {
	if !slices.ContainsFunc(g.want.Reaches, func(r Reach) bool { return r.Hold }) {
		return
	}
	held := make(map[Unit]bool)
	whole := make(map[SpokeID]bool)
	for _, r := range g.want.Reaches {
		if r.Hold {
			held[r.Unit()] = true
			if _, ok := whole[r.Spoke]; !ok {
				whole[r.Spoke] = true
			}
		} else {
			whole[r.Spoke] = false
		}
	}
	type place struct {
		table       TableID
		destination netip.Prefix
	}
	wanted := make(map[place]bool, len(g.want.Routes))
	for _, r := range g.want.Routes {
		wanted[place{r.Table, r.Destination}] = true
	}
	for _, r := range g.prev.Routes {
		if wanted[place{r.Table, r.Destination}] {
			continue
		}
		if (r.Side == SideHub && held[r.Unit]) || (r.Side == SideSpoke && whole[r.Spoke]) {
			r.Hold = true
			g.want.Routes = append(g.want.Routes, r)
		}
	}
}
