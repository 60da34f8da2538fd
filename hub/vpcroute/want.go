package vpcroute

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"peerhub/hub"
	"peerhub/hub/failpoint"
)

// place is where a route is: AWS allows one static route per destination and table.
type place struct {
	table hub.TableID
	dest  netip.Prefix
}

func (p place) String() string { return string(p.table) + " " + p.dest.String() }

func (p place) compare(q place) int {
	if c := strings.Compare(string(p.table), string(q.table)); c != 0 {
		return c
	}
	return hub.ComparePrefixes(p.dest, q.dest)
}

// step is one change before it becomes a hub.Change.
type step struct {
	verb    hub.Verb
	place   place
	peering hub.PeeringID // the wanted target; of a removal, the one that is there
	old     string        // replace: the target that is there
	gone    bool          // removal: the route is not there any more, only our record of it
	unit    hub.Unit
}

// change writes a step in the words of `aws ec2 describe-route-tables`.
func (s step) change() hub.Change {
	detail := string(s.peering)
	switch {
	case s.old != "":
		detail += " (was " + s.old + ")"
	case s.gone:
		detail += " (gone already)"
	}
	return hub.Change{Verb: s.verb, Unit: s.unit, Object: s.place.String(), Detail: detail}
}

// stepOf reads a change that change wrote.
func stepOf(c hub.Change) (step, error) {
	table, dest, _ := strings.Cut(c.Object, " ")
	prefix, err := netip.ParsePrefix(dest)
	peering, rest, _ := strings.Cut(c.Detail, " ")
	if err != nil || table == "" || peering == "" {
		return step{}, fmt.Errorf("not a change of the VPC route plane: %s %q %q", c.Verb, c.Object, c.Detail)
	}
	s := step{verb: c.Verb, place: place{hub.TableID(table), prefix}, peering: hub.PeeringID(peering), unit: c.Unit}
	if was, ok := strings.CutPrefix(rest, "(was "); ok {
		s.old = strings.TrimSuffix(was, ")")
	}
	s.gone = rest == "(gone already)"
	return s, nil
}

// trouble is a wanted route that no change brings about, or only in part.
type trouble struct {
	code   hub.Code
	place  place
	spoke  hub.SpokeID
	unit   hub.Unit
	lacks  bool // the unit is not reachable because of it
	detail string
	mend   string
}

// decide compares the want with what is there, or remembers how it did.
func (v *view) decide(want hub.Desired) ([]step, []trouble) {
	if m := v.memo.Load(); m != nil && m.hold == want.Base.Hold && slices.Equal(m.override, want.Base.Override) && slices.Equal(m.routes, want.Routes) && slices.Equal(m.reaches, want.Reaches) {
		return m.steps, m.troubles
	}
	steps, troubles := v.compare(want)
	v.memo.Store(&memo{want.Base.Hold, slices.Clone(want.Base.Override), slices.Clone(want.Routes), slices.Clone(want.Reaches), steps, troubles})
	return steps, troubles
}

func (v *view) compare(want hub.Desired) ([]step, []trouble) {
	var steps []step
	var troubles []trouble
	wanted := make(map[place]hub.VPCRoute, len(want.Routes))
	for _, r := range want.Routes {
		wanted[place{r.Table, r.Destination}] = r
	}
	if want.Base.Hold {
		return nil, nil
	}
	for _, r := range want.Routes {
		t := v.tables[r.Table]
		if r.Hold || t == nil || !v.fresh(r.Scope) {
			continue
		}
		s, found := v.route(t, r, wanted, want.Base.Override)
		if s != nil {
			steps = append(steps, *s)
		}
		troubles = append(troubles, found...)
	}
	removals, left := v.removals(want, wanted)
	steps = append(steps, removals...)
	troubles = append(append(troubles, left...), v.stale(want, wanted)...)
	slices.SortStableFunc(steps, func(a, b step) int { return a.place.compare(b.place) })
	return steps, troubles
}

// route says what one wanted route needs in its table.
func (v *view) route(t *table, r hub.VPCRoute, wanted map[place]hub.VPCRoute, override []netip.Prefix) (*step, []trouble) {
	at := place{r.Table, r.Destination}
	say := func(code hub.Code, lacks bool, mend, format string, args ...any) trouble {
		return trouble{code: code, place: at, spoke: r.Spoke, unit: r.Unit, lacks: lacks, mend: mend, detail: at.String() + ": " + fmt.Sprintf(format, args...)}
	}
	add := &step{verb: hub.VerbAdd, place: at, peering: r.Peering, unit: r.Unit}
	troubles := v.shadows(t, r, wanted, say)
	static, other := t.at(r.Destination)
	switch {
	case static != nil && static.Target == string(r.Peering):
		return nil, troubles
	case static != nil && v.replaceable(at, *static):
		add.verb, add.old = hub.VerbReplace, static.Target
		return add, troubles
	case static != nil:
		return nil, append(troubles, say(hub.RouteConflict, true, "delete that route, or exclude the prefix",
			"a foreign route leads to %s, wanted is %s", static.Target, r.Peering))
	case other != nil:
		return nil, append(troubles, say(hub.RouteConflict, true, "stop its propagation, or exclude the prefix",
			"a route that is not static leads to %s, wanted is %s", other.Target, r.Peering))
	}
	switch c := t.covering(r.Destination); {
	case c == nil:
	case c.Target == "local":
		return nil, append(troubles, say(hub.RouteConflict, true, "exclude the prefix", "it lies inside %s, which is local to the VPC", c.Destination))
	case c.Target == string(r.Peering) && !c.Blackhole:
		return nil, troubles
	case slices.Contains(override, c.Destination): // the operator said so
	case c.Blackhole || v.ours(place{r.Table, c.Destination}, c.Target, wanted):
	default:
		return nil, append(troubles, say(hub.RouteCovered, true, fmt.Sprintf("if the spoke is meant: aws: {override: [%s]} in hubd.yaml; else exclude the prefix", c.Destination),
			"traffic to it goes to %s now, by the foreign route %s", c.Target, c.Destination))
	}
	return add, troubles
}

// shadows reports foreign routes inside a wanted destination: they win over ours.
func (v *view) shadows(t *table, r hub.VPCRoute, wanted map[place]hub.VPCRoute, say func(hub.Code, bool, string, string, ...any) trouble) []trouble {
	var out []trouble
	for _, x := range t.inside(r.Destination) {
		if x.Target != string(r.Peering) && !v.ours(place{t.ID, x.Destination}, x.Target, wanted) {
			out = append(out, say(hub.RouteShadowed, false, "delete that route if it is not meant", "%s of it goes to %s by a foreign route", x.Destination, x.Target))
		}
	}
	return out
}

// ours reports whether the route at a place is wanted or recorded as ours.
func (v *view) ours(at place, target string, wanted map[place]hub.VPCRoute) bool {
	if w, ok := wanted[at]; ok && string(w.Peering) == target {
		return true
	}
	_, ok := v.ledger[hub.LedgerKey{Table: at.table, Destination: at.dest, Peering: hub.PeeringID(target)}]
	return ok
}

// replaceable reports whether the route in the way may be led elsewhere: it is ours, or
// a blackhole toward an ended peering of the hub VPC.
func (v *view) replaceable(at place, r hub.Route) bool {
	if _, ours := v.ledger[hub.LedgerKey{Table: at.table, Destination: at.dest, Peering: hub.PeeringID(r.Target)}]; ours {
		return true
	}
	p, known := v.peerings[hub.PeeringID(r.Target)]
	return r.Blackhole && known && p.State.Terminal() || failpoint.Off("foreign-routes")
}

// removals are the routes of ours that nobody wants any more, and blackholes that an
// ended peering of the hub VPC has left.
func (v *view) removals(want hub.Desired, wanted map[place]hub.VPCRoute) ([]step, []trouble) {
	held := map[hub.SpokeID]bool{}
	for _, r := range want.Reaches {
		if r.Hold {
			held[r.Spoke] = true
		}
	}
	var steps []step
	var left []trouble
	for key, e := range v.ledger {
		at := place{key.Table, key.Destination}
		if _, still := wanted[at]; still || held[e.Spoke] {
			continue // a wanted place with another target is a replacement
		}
		s := step{verb: hub.VerbRemove, place: at, peering: key.Peering, unit: unitOf(e.Side, e.Spoke, key.Destination)}
		if _, seen := v.sources[e.Scope]; !seen {
			left = append(left, trouble{code: hub.RouteDenied, place: at, spoke: e.Spoke, unit: s.unit,
				detail: fmt.Sprintf("%s to %s is ours and not wanted, but %s is closed to us", at, key.Peering, e.Scope),
				mend:   deleteLine(e.Scope, at)})
			continue
		}
		if !v.fresh(e.Scope) {
			continue
		}
		if t := v.tables[key.Table]; t != nil {
			static, _ := t.at(key.Destination)
			if static != nil && static.Target != string(key.Peering) {
				continue // somebody led it elsewhere: not ours any more
			}
			s.gone = static == nil
		} else {
			s.gone = true
		}
		steps = append(steps, s)
	}
	for _, t := range v.tables {
		if !v.fresh(t.Scope) {
			continue
		}
		for _, r := range t.blackholes {
			at := place{t.ID, r.Destination}
			_, still := wanted[at]
			_, recorded := v.ledger[hub.LedgerKey{Table: t.ID, Destination: r.Destination, Peering: hub.PeeringID(r.Target)}]
			p, known := v.peerings[hub.PeeringID(r.Target)]
			spoke := hub.SpokeID(p.Peer.VPC)
			if still || recorded || !known || !p.State.Terminal() || held[spoke] {
				continue
			}
			side, led := hub.SideHub, v.led[p.ID]
			if t.VPC != v.hub.VPC {
				side, led = hub.SideSpoke, v.hub.Prefixes
			}
			unit := unitOf(side, spoke, r.Destination)
			if within(r.Destination, led) {
				steps = append(steps, step{verb: hub.VerbRemove, place: at, peering: p.ID, unit: unit})
				continue
			}
			left = append(left, trouble{code: hub.Blackhole, place: at, spoke: spoke, unit: unit, mend: deleteLine(t.Scope, at),
				detail: fmt.Sprintf("%s leads to %s, which is %s; it is not ours, so it stays", at, p.ID, p.State)})
		}
	}
	return steps, left
}

func unitOf(side hub.Side, spoke hub.SpokeID, dest netip.Prefix) hub.Unit {
	if side == hub.SideSpoke {
		return hub.Unit{Kind: hub.UnitSpoke, Spoke: spoke}
	}
	return hub.Unit{Kind: hub.UnitPrefix, Spoke: spoke, Prefix: dest}
}

// within reports whether one of list contains all of p.
func within(p netip.Prefix, list []netip.Prefix) bool {
	return slices.ContainsFunc(list, func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) })
}
