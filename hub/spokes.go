package hub

import (
	"net/netip"
	"slices"
	"strings"
)

// spokeReports says how each spoke stands after the pass that rep tells of. Approved spokes
// of which nothing can be reached are among them, without prefixes: p and what was
// remembered before the pass, m, name them as Decide did.
func spokeReports(rep Report, p Policy, m Remembered) []SpokeReport {
	byID := make(map[SpokeID]*SpokeReport, len(rep.Desired.Spokes))
	order := make([]*SpokeReport, 0, len(rep.Desired.Spokes))
	for _, s := range rep.Desired.Spokes {
		sr := &SpokeReport{ID: s.ID, Name: s.Name, Hub: s.Peering == "", Scope: s.Scope, Peering: s.Peering, Number: s.Number,
			Hold: true, Planes: make(map[PlaneName]Health, len(rep.Planes))}
		byID[s.ID] = sr
		order = append(order, sr)
	}
	for _, s := range unreachable(rep, p, m, byID) {
		byID[s.ID] = s
		order = append(order, s)
	}
	reachable := make(map[Unit]bool, len(rep.Desired.Reaches))
	for _, r := range rep.Desired.Reaches {
		if sr := byID[r.Spoke]; sr != nil {
			sr.Prefixes = append(sr.Prefixes, r.Prefix)
			sr.Hold = sr.Hold && r.Hold
			reachable[r.Unit()] = true
		}
	}
	announced(rep.Topology, byID, reachable)
	health(rep, byID)
	routeCounts(rep, byID)
	for _, sr := range byID {
		sr.SpokeSide = spokeSide(*sr)
	}
	slices.SortFunc(order, func(a, b *SpokeReport) int { return strings.Compare(a.Name, b.Name) })
	out := make([]SpokeReport, len(order))
	for i, sr := range order {
		out[i] = *sr
	}
	return out
}

// unreachable returns the approved spokes that are not in the want.
func unreachable(rep Report, p Policy, m Remembered, wanted map[SpokeID]*SpokeReport) []*SpokeReport {
	missing := slices.ContainsFunc(rep.Topology.Peerings, func(pcx Peering) bool {
		return pcx.State == PeeringActive && wanted[SpokeID(pcx.Peer.VPC)] == nil
	})
	if !missing {
		return nil // nearly always
	}
	d := decision{policy: p, topology: rep.Topology}
	spokes := d.spokes()
	d.nameAll(spokes, m.Names)
	var out []*SpokeReport
	for _, s := range spokes {
		if wanted[s.id] == nil && !s.hub {
			out = append(out, &SpokeReport{ID: s.id, Name: s.name, Scope: s.scope, Peering: s.peering.ID, Planes: map[PlaneName]Health{}})
		}
	}
	return out
}

// spokeSide narrows what the VPC routes' plane says to the spoke's own tables.
func spokeSide(sr SpokeReport) Health {
	h, ok := sr.Planes[PlaneVPCRoute]
	switch {
	case !ok, sr.OneSided, sr.Stale:
		return HealthUnknown
	case h == HealthLacking && sr.Spoke.OK == sr.Spoke.Total:
		return HealthOK
	}
	return h
}

// announced fills in what AWS says of each spoke.
func announced(t Topology, byID map[SpokeID]*SpokeReport, reachable map[Unit]bool) {
	exclude := func(sr *SpokeReport, ps []netip.Prefix) {
		for _, p := range sortedPrefixes(ps) {
			if !reachable[Unit{Kind: UnitPrefix, Spoke: sr.ID, Prefix: p}] {
				sr.Excluded = append(sr.Excluded, p)
			}
		}
	}
	if sr := byID[SpokeID(t.Hub.VPC)]; sr != nil {
		exclude(sr, t.Hub.Prefixes)
	}
	for _, pcx := range t.Peerings {
		if sr := byID[SpokeID(pcx.Peer.VPC)]; sr != nil && sr.Peering == pcx.ID {
			sr.State = pcx.State
			exclude(sr, pcx.Peer.Prefixes)
		}
	}
	seen := make(map[SpokeID]bool)
	for _, table := range t.Tables {
		seen[SpokeID(table.VPC)] = true
	}
	stale := make(map[Scope]bool)
	for _, s := range t.Sources {
		stale[s.Scope] = !s.Fresh
	}
	for id, sr := range byID {
		sr.OneSided = !sr.Hub && !seen[id]
		sr.Stale = !sr.Hub && stale[sr.Scope]
	}
}

// health says how each spoke stands in each plane.
func health(rep Report, byID map[SpokeID]*SpokeReport) {
	upstream := make(Units) // what earlier planes lack
	for _, plane := range rep.Planes {
		for _, sr := range byID {
			if len(sr.Prefixes) == 0 {
				continue // nothing of it is wanted anywhere
			}
			sr.Planes[plane.Plane] = HealthOK
			if sr.Hold {
				sr.Planes[plane.Plane] = HealthHeld
			}
		}
		if len(plane.Lacks)+len(upstream) == 0 && !plane.Unread {
			continue // nearly always
		}
		for _, r := range rep.Desired.Reaches {
			sr := byID[r.Spoke]
			if sr == nil {
				continue
			}
			needs := r.Needs()
			switch {
			case plane.Unread:
				sr.Planes[plane.Plane] = HealthUnknown
			case plane.Lacks.HasAny(needs):
				sr.Planes[plane.Plane] = HealthLacking
			case upstream.HasAny(needs) && sr.Planes[plane.Plane] != HealthLacking:
				sr.Planes[plane.Plane] = HealthHeld
			}
		}
		for u := range plane.Lacks {
			upstream.Add(u)
		}
	}
}

// routeCounts counts the VPC routes of each spoke and how many of them are there.
func routeCounts(rep Report, byID map[SpokeID]*SpokeReport) {
	var plane *PlaneReport
	for i := range rep.Planes {
		if rep.Planes[i].Plane == PlaneVPCRoute {
			plane = &rep.Planes[i]
		}
	}
	missing := make(map[Unit]int)
	if plane != nil {
		for _, c := range plane.Pending {
			if c.Verb != VerbRemove {
				missing[c.Unit]++
			}
		}
		for u := range plane.Lacks {
			missing[u] = max(missing[u], 1)
		}
	}
	for _, r := range rep.Desired.Routes {
		sr := byID[r.Spoke]
		if sr == nil {
			continue
		}
		count := &sr.HubSide
		if r.Side == SideSpoke {
			count = &sr.Spoke
		}
		count.Total++
		switch {
		case plane == nil || plane.Unread:
		case missing[r.Unit] > 0:
			missing[r.Unit]--
		default:
			count.OK++
		}
	}
}
