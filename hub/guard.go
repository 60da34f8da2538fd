package hub

import (
	"fmt"
	"net/netip"
	"slices"
)

// Verdict is what the guard makes of a want.
type Verdict struct {
	Desired    Desired
	Held       []Held
	Problems   []Problem
	Remembered Remembered
}

// Guard keeps, on hold, what prev wanted and want does not, unless there is reason enough
// to take it away:
//   - the config refuses it: at once, unless the config leaves none of two or more spokes: then
//     what is merely not listed or excluded waits for allowRemovals;
//   - its peering has ended, in a fresh complete answer: at once, within the limit;
//   - it is merely not in the answers: after Safety.RemovalsAfter of them, within the limit;
//   - its peering is in a state that is neither active nor an end, or is active and described
//     without its VPC, or by this answer without any IPv4 prefix: never, but allowRemovals lifts
//     the last.
//
// The limit is Safety.MaxRemoved percent of the reaches, for a pass and for a run of
// passes; one spoke may always go. A pass over the limit removes nothing. allowRemovals
// lifts limit and waiting, not the need for a fresh answer.
func Guard(prev *Desired, want Desired, t Topology, p Policy, m Remembered, allowRemovals bool) Verdict {
	g := guard{want: want, topology: t, policy: p, allow: allowRemovals, memory: m.clone()}
	g.source, _ = hubSource(t)
	g.memory.Absent, g.memory.AbsentPrefixes = make(map[SpokeID]Absence), make(map[SpokeID]map[netip.Prefix]Absence)
	if prev == nil {
		prev = &Desired{}
	}
	g.prev = *prev
	if t.Hub.VPC == "" {
		g.withoutTopology(m)
	} else {
		g.evidence(m)
		g.limit()
	}
	g.emptied()
	g.assemble()
	return Verdict{Desired: g.want, Held: g.held, Problems: g.problems, Remembered: g.memory}
}

type guard struct {
	prev, want Desired
	topology   Topology
	policy     Policy
	source     Source // the hub's own
	allow      bool
	memory     Remembered

	keep     []Reach // of prev, to be held
	may      []departure
	unwanted []departure // the config does not want it any more, and no packet is harmed while it stays
	waiting  []departure // will be among those that may go, if nothing changes
	held     []Held
	problems []Problem
}

// departure is a reach that may go as far as evidence is concerned.
type departure struct {
	reach  Reach
	spoke  Spoke
	absent bool // its peering is merely not in the answers
	ended  Peering
}

// hubSource returns the source that the hub VPC's peerings are read from.
func hubSource(t Topology) (Source, bool) {
	for _, s := range t.Sources {
		if s.Scope == t.Hub.Scope {
			return s, true
		}
	}
	return Source{}, false
}

// withoutTopology goes on with what was wanted before, as far as the config still has it.
func (g *guard) withoutTopology(before Remembered) {
	g.memory.Absent, g.memory.AbsentPrefixes = before.Absent, before.AbsentPrefixes
	t := g.topology
	t.Hub.Prefixes = g.prev.Base.HubPrefix
	spokes := spokesByID(g.prev.Spokes)
	for _, r := range g.prev.Reaches {
		if !g.refused(r, spokes[r.Spoke], t) {
			g.want.Reaches = append(g.want.Reaches, r)
		} else {
			g.dismissed(r, spokes[r.Spoke], t)
		}
	}
	g.want.Base.HubPrefix = g.prev.Base.HubPrefix
	g.want.Base.Egresses = g.prev.Base.Egresses
	left := make(map[Unit]bool)
	for _, r := range g.want.Reaches {
		left[r.Unit()], left[Unit{Kind: UnitSpoke, Spoke: r.Spoke}] = true, true
	}
	for _, r := range g.prev.Routes {
		if left[r.Unit] {
			g.want.Routes = append(g.want.Routes, r)
		}
	}
	for _, s := range g.prev.Spokes {
		if left[Unit{Kind: UnitSpoke, Spoke: s.ID}] {
			g.want.Spokes = append(g.want.Spokes, s)
		}
	}
}

// refused reports whether the config refuses a reach that stood before.
func (g *guard) refused(r Reach, s Spoke, t Topology) bool {
	account, listed := g.policy.Accounts[s.Scope.Account]
	isHub := s.Peering == ""
	if !isHub && g.policy.ListedOnly && !listed {
		return true
	}
	return refuse(r.Prefix, isHub, account, g.policy, t).refused()
}

// evidence sorts what would go into what is kept and what may go.
func (g *guard) evidence(before Remembered) {
	missing := missing(g.prev.Reaches, g.want.Reaches)
	if len(missing) == 0 {
		return
	}
	spokes := spokesByID(g.prev.Spokes)
	live := make(map[SpokeID]Peering)
	byID := make(map[PeeringID]Peering)
	for _, pcx := range livePeerings(g.topology) {
		live[SpokeID(pcx.Peer.VPC)] = pcx
	}
	for _, pcx := range g.topology.Peerings {
		byID[pcx.ID] = pcx
	}
	for _, r := range missing {
		s := spokes[r.Spoke]
		pcx := live[r.Spoke]
		own := byID[s.Peering]
		isHub := s.Peering == ""
		switch {
		case g.refused(r, s, g.topology):
			g.dismissed(r, s, g.topology)
		case isHub && announces(g.topology.Hub.Prefixes, r.Prefix), pcx.State == PeeringActive && announces(pcx.Peer.Prefixes, r.Prefix):
			// Announced, and yet not wanted: Decide has said why.
		case pcx.ID == "" && own.State == PeeringActive && own.Peer.VPC == "":
			g.hold(r, fmt.Sprintf("%s is described without its VPC", own.ID))
		case !isHub && !g.allow && pcx.State == PeeringActive && !slices.ContainsFunc(pcx.Peer.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() }):
			// A VPC cannot lose its first prefix, and that is an IPv4 one.
			g.hold(r, fmt.Sprintf("%s is described without any IPv4 prefix", pcx.ID))
		case isHub || pcx.State == PeeringActive:
			g.absentPrefix(r, s, before)
		case pcx.ID != "" && !pcx.State.Terminal():
			g.hold(r, fmt.Sprintf("%s is %s: neither active nor ended", pcx.ID, pcx.State))
		case own.State.Terminal():
			if g.source.Fresh {
				g.may = append(g.may, departure{reach: r, spoke: s, ended: own})
			} else {
				g.hold(r, fmt.Sprintf("%s is %s, but that answer is not fresh", own.ID, own.State))
			}
		default:
			g.absentSpoke(r, s, before)
		}
	}
}

// missing returns what prev has and want has not. Nearly always they begin alike, to the end.
func missing(prev, want []Reach) []Reach {
	alike := 0
	for alike < len(prev) && alike < len(want) && prev[alike].Unit() == want[alike].Unit() {
		alike++
	}
	if prev = prev[alike:]; len(prev) == 0 {
		return nil
	}
	wanted := make(map[Unit]bool, len(want))
	for i := range want {
		wanted[want[i].Unit()] = true
	}
	var out []Reach
	for _, r := range prev {
		if !wanted[r.Unit()] {
			out = append(out, r)
		}
	}
	return out
}

func announces(ps []netip.Prefix, p netip.Prefix) bool {
	return slices.ContainsFunc(ps, func(q netip.Prefix) bool { return q.IsValid() && q.Masked() == p })
}

func spokesByID(ss []Spoke) map[SpokeID]Spoke {
	out := make(map[SpokeID]Spoke, len(ss))
	for _, s := range ss {
		out[s.ID] = s
	}
	return out
}

func (g *guard) hold(r Reach, reason string) {
	g.keep = append(g.keep, r)
	g.held = append(g.held, Held{Unit: r.Unit().String(), Reason: reason})
}

// absentSpoke counts an answer without the peering of r.
func (g *guard) absentSpoke(r Reach, s Spoke, before Remembered) {
	a := g.count(before.Absent[s.ID])
	g.memory.Absent[s.ID] = a
	g.wait(r, departure{reach: r, spoke: s, absent: true}, a, fmt.Sprintf("%s is not in the answer", s.Peering))
}

// absentPrefix counts an answer that has the spoke but not the prefix of r.
func (g *guard) absentPrefix(r Reach, s Spoke, before Remembered) {
	a := g.count(before.AbsentPrefixes[s.ID][r.Prefix])
	if g.memory.AbsentPrefixes[s.ID] == nil {
		g.memory.AbsentPrefixes[s.ID] = make(map[netip.Prefix]Absence)
	}
	g.memory.AbsentPrefixes[s.ID][r.Prefix] = a
	g.wait(r, departure{reach: r, spoke: s}, a, "the prefix is not announced any more")
}

// count counts the present answer unless it was counted before or is not fresh.
func (g *guard) count(a Absence) Absence {
	if !g.source.Fresh || (a.Count > 0 && a.Survey == g.source.Survey) {
		return a
	}
	if a.Count == 0 {
		a.Since = g.source.At
	}
	a.Count++
	a.Survey = g.source.Survey
	return a
}

// wait holds r until enough answers agree.
func (g *guard) wait(r Reach, d departure, a Absence, what string) {
	enough := max(1, g.policy.Safety.RemovalsAfter)
	switch {
	case !g.source.Fresh:
		g.hold(r, what+", and the last answer is not fresh")
	case a.Count >= enough || g.allow:
		g.may = append(g.may, d)
	default:
		g.waiting = append(g.waiting, d)
		g.hold(r, fmt.Sprintf("%s: %d of %d agreeing answers", what, a.Count, enough))
	}
}
