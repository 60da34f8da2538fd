package hub

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// limit lets what may go go, unless that is more than the operator allows at once.
func (g *guard) limit() {
	if len(g.may) == 0 {
		g.quiet()
		return
	}
	run := g.memory.Run
	if run.Reaches == 0 {
		run = Run{Reaches: len(g.prev.Reaches)}
	}
	run.Removed = maps.Clone(run.Removed)
	if run.Removed == nil {
		run.Removed = make(map[SpokeID]int)
	}
	for _, d := range g.may {
		run.Removed[d.spoke.ID]++
	}
	lost := g.losing(run.Removed)
	total := 0
	for _, n := range lost {
		total += n
	}
	over := ""
	switch {
	case g.allow:
	case g.empties():
		over = "that would leave no spoke at all, and no peering was seen to end"
	case len(lost) > 1 && total*100 > g.policy.Safety.MaxRemoved*run.Reaches:
		over = fmt.Sprintf("that makes %d of %d prefixes of %d spokes in a row, more than %d %%", total, run.Reaches, len(lost), g.policy.Safety.MaxRemoved)
	}
	if over != "" {
		g.memory.Run.Reaches = run.Reaches // what comes meanwhile makes the share no smaller
		g.refuseAll(over)
		return
	}
	run.Quiet = Absence{Survey: g.source.Survey, Since: g.source.At}
	if g.allow {
		run = Run{} // the operator has seen it
	}
	g.memory.Run = run
	for _, d := range g.may {
		delete(g.memory.Absent, d.spoke.ID)
		if ps := g.memory.AbsentPrefixes[d.spoke.ID]; len(ps) > 1 {
			delete(ps, d.reach.Prefix)
		} else {
			delete(g.memory.AbsentPrefixes, d.spoke.ID)
		}
		if d.ended.ID != "" {
			g.problems = append(g.problems, Problem{Code: PeeringEnded, Subject: d.spoke.Name,
				Detail: fmt.Sprintf("%s is %s: %s", d.ended.ID, d.ended.State, cmp.Or(d.ended.Message, "no message")), Mend: Mend(PeeringEnded)})
		}
	}
}

// losing is removed and, where a spoke would go because it is merely absent, the spokes
// that are absent since later: what takes one of them an answer is one loss.
func (g *guard) losing(removed map[SpokeID]int) map[SpokeID]int {
	if !slices.ContainsFunc(g.may, func(d departure) bool { return d.absent }) {
		return removed
	}
	out := maps.Clone(removed)
	for _, d := range g.waiting {
		if d.absent {
			out[d.spoke.ID]++
		}
	}
	return out
}

// quiet counts answers that removed nothing; enough of them end the run.
func (g *guard) quiet() {
	run := &g.memory.Run
	if run.Reaches == 0 || !g.source.Fresh || run.Quiet.Survey == g.source.Survey {
		return
	}
	run.Quiet.Count++
	run.Quiet.Survey = g.source.Survey
	if run.Quiet.Count >= max(1, g.policy.Safety.RemovalsAfter) {
		*run = Run{}
	}
}

// empties reports whether mere absence would take the last spokes away: an answer that is
// complete in form and has lost everything looks like this.
func (g *guard) empties() bool {
	absent := slices.ContainsFunc(g.may, func(d departure) bool { return d.absent })
	stays := slices.ContainsFunc(g.want.Spokes, func(s Spoke) bool { return s.Peering != "" }) ||
		slices.ContainsFunc(g.keep, func(r Reach) bool { return r.Spoke != SpokeID(g.topology.Hub.VPC) })
	return absent && !stays
}

// refuseAll holds everything that may go.
func (g *guard) refuseAll(why string) {
	perSpoke := make(map[Spoke]int)
	for _, d := range g.may {
		perSpoke[d.spoke]++
		g.hold(d.reach, "removal held: "+why)
	}
	for s, n := range perSpoke {
		what := "is not in the answers any more"
		if i := slices.IndexFunc(g.may, func(d departure) bool { return d.spoke.ID == s.ID && d.ended.ID != "" }); i >= 0 {
			what = "is " + string(g.may[i].ended.State)
		}
		g.problems = append(g.problems, Problem{Code: RemovalHeld, Subject: s.Name,
			Detail: fmt.Sprintf("%s %s; removing its %d prefixes is held: %s", cmp.Or(string(s.Peering), "the hub VPC"), what, n, why), Mend: Mend(RemovalHeld)})
	}
}
