package kroute

import (
	"fmt"
	"iter"
	"slices"

	"peerhub/hub"
)

// Plan says which changes lead to d. What is equal is passed over before any text is
// made of it: with ten thousand prefixes and one change that is the cost of the pass.
func (v *view) Plan(d hub.Desired) []hub.Change {
	d = v.completed(d)
	want, have := v.routeObjects(d)
	w, h := v.ruleObjects(d)
	want, have = append(want, w...), append(have, h...)
	if d.Base.SetSysctls {
		w, h = v.wantSysctls(d)
		want, have = append(want, w...), append(have, h...)
	}
	// Of two wanted things with one key the first counts.
	return slices.CompactFunc(hub.Diff(want, have), func(a, b hub.Change) bool { return a.Object == b.Object })
}

// completed gives egresses without a known gateway the one the kernel itself uses: its
// default route by that interface.
func (v *view) completed(d hub.Desired) hub.Desired {
	for i, e := range d.Base.Egresses {
		if via := v.gateways[string(e.ID)]; !e.Gateway.IsValid() && via.IsValid() {
			d.Base.Egresses = slices.Clone(d.Base.Egresses)
			d.Base.Egresses[i].Gateway = via
		}
	}
	return d
}

// routeObjects are the routes that differ.
func (v *view) routeObjects(d hub.Desired) (want, have []hub.Object) {
	want, have = make([]hub.Object, 0, max(0, len(d.Reaches)-v.routes.n)), make([]hub.Object, 0, max(0, v.routes.n-len(d.Reaches)))
	wanted := v.routes.ticks()
	var text hopText
	var last at
	for w := range wantRoutes(d) {
		// Both sides are sorted by prefix, so the next one is nearly always right.
		last = v.routes.next(last)
		r := v.routes.get(last)
		if r == nil || r.routeKey != w.it.routeKey {
			var there bool
			if last, there = v.routes.find(w.it.routeKey); there {
				r = v.routes.get(last)
			} else {
				r = nil
			}
		}
		if r != nil {
			if wanted[last.block][last.i] {
				continue // the second of two with one key
			}
			wanted[last.block][last.i] = true
		}
		if r != nil && r.hop == w.it.hop || w.hold || v.held(w.it) {
			continue
		}
		want = append(want, hub.Object{Key: w.it.object(), Value: text.of(w.it.hop), Unit: w.belongs()})
		if r != nil {
			have = append(have, hub.Object{Key: r.object(), Value: r.detail(), Unit: w.belongs()})
		}
	}
	for a, r := range v.routes.all() {
		if !wanted[a.block][a.i] {
			shared := r.Table == mainTable || r.Table == closedTable
			have = append(have, hub.Object{Key: r.object(), Value: text.of(r.hop), Unit: unitOf(r), Hold: shared && d.Base.Hold})
		}
	}
	return want, have
}

// hopText remembers the text of the last hop: thousands of routes in a row have the same.
type hopText struct {
	hop  hop
	text string
}

func (t *hopText) of(h hop) string {
	if t.text == "" || t.hop != h {
		t.hop, t.text = h, h.detail()
	}
	return t.text
}

// held reports whether a wanted route cannot be made now for a reason that is a problem
// and no failure: its tunnel is not there, or somebody else's route has its place.
func (v *view) held(r route) bool {
	if _, taken := v.foreign[r.routeKey]; taken {
		return true
	}
	if r.Dst.Addr().Is6() && !v.ipv6 {
		return true
	}
	return r.Table == mainTable && !v.links[r.Dev].Up
}

// unitOf is what a route belonged to that is no longer wanted, as far as it shows.
func unitOf(r *route) hub.Unit {
	switch {
	case r.Table == closedTable:
		return hub.Unit{Kind: hub.UnitBase}
	case r.Table == mainTable:
		return siteUnit(r.Dst)
	case r.Kind == unicast && r.Via.IsValid():
		return hub.Unit{Kind: hub.UnitPrefix, Prefix: r.Dst}
	}
	return hub.Unit{Kind: hub.UnitEgress, Egress: hub.EgressID(r.Dev)}
}

// ruleObjects are all rules; they are few.
func (v *view) ruleObjects(d hub.Desired) (want, have []hub.Object) {
	heldTables := map[uint32]bool{closedTable: d.Base.Hold}
	units := map[uint32]hub.Unit{}
	for _, e := range d.Base.Egresses {
		heldTables[table(e.Class)] = e.Hold || d.Base.Hold
		units[table(e.Class)] = hub.Unit{Kind: hub.UnitEgress, Egress: e.ID}
	}
	for _, w := range wantRules(d) {
		if v.byOthers[w.it] || w.it.V6 && !v.ipv6 {
			continue
		}
		want = append(want, hub.Object{Key: w.it.object(), Unit: w.belongs(), Hold: w.hold})
	}
	for _, r := range v.rules {
		unit, ok := units[r.Table]
		if !ok {
			unit = hub.Unit{Kind: hub.UnitBase}
		}
		have = append(have, hub.Object{Key: r.object(), Unit: unit, Hold: heldTables[r.Table]})
	}
	return want, have
}

// Problems says why something of d cannot work on this host.
func (v *view) Problems(d hub.Desired) []hub.Problem {
	d = v.completed(d)
	var out []hub.Problem
	for _, t := range d.Base.Tunnels {
		if l, ok := v.links[t.Name]; len(t.Sites) > 0 && !l.Up {
			detail := "there is no interface " + t.Name
			if ok {
				detail = "interface " + t.Name + " is down"
			}
			out = append(out, hub.Problem{Code: hub.TunnelAbsent, Subject: t.Name,
				Detail: fmt.Sprintf("%s; its site networks %v have no route", detail, t.Sites),
				Mend:   "start its OpenVPN server; the routes follow by themselves"})
		}
	}
	for _, e := range d.Base.Egresses {
		if l, ok := v.links[string(e.ID)]; !ok {
			out = append(out, hub.Problem{Code: hub.NoEgress, Subject: string(e.ID),
				Detail: "there is no interface " + string(e.ID), Mend: "ip link"})
		} else if !l.Up {
			out = append(out, hub.Problem{Code: hub.NoEgress, Subject: string(e.ID),
				Detail: "interface " + string(e.ID) + " is down", Mend: "ip link set " + string(e.ID) + " up"})
		} else if v.gatewayUnknown(e) {
			out = append(out, hub.Problem{Code: hub.NoEgress, Subject: string(e.ID),
				Detail: "neither the subnet of " + string(e.ID) + " nor a default route tells its gateway",
				Mend:   "let hubd see the subnet (ec2:DescribeSubnets), or add a default route by " + string(e.ID)})
		}
	}
	for _, n := range v.needs(d) {
		out = append(out, hub.Problem{Code: hub.SysctlWrong, Subject: sysctlName(n.path),
			Detail: fmt.Sprintf("is %q: %s", v.sysctls[n.path], n.why),
			Mend:   fmt.Sprintf("sysctl -w %s=%s", sysctlName(n.path), n.value)})
	}
	return append(out, v.conflicts(d)...)
}

// gatewayUnknown reports whether routes by the egress would ask the link for every
// address, which no VPC answers.
func (v *view) gatewayUnknown(e hub.Egress) bool {
	return !e.Gateway.IsValid() && !v.links[string(e.ID)].PointToPoint
}

// Lacks are the units that no change of ours can mend: foreign routes have their places,
// or nobody knows the gateway.
func (v *view) Lacks(d hub.Desired) hub.Units {
	d = v.completed(d)
	out := hub.Units{}
	for w := range v.taken(d) {
		out.Add(w.belongs())
	}
	for _, e := range d.Base.Egresses {
		if v.gatewayUnknown(e) {
			out.Add(hub.Unit{Kind: hub.UnitEgress, Egress: e.ID})
		}
	}
	return out
}

// taken yields the wanted routes whose places foreign ones have that lead elsewhere.
func (v *view) taken(d hub.Desired) iter.Seq2[*wanted[route], foreignRoute] {
	return func(yield func(*wanted[route], foreignRoute) bool) {
		tables := map[uint32]bool{}
		for k := range v.foreign {
			tables[k.Table] = true
		}
		for w := range wantRoutes(d) {
			if !tables[w.it.Table] {
				continue // nearly always: nobody else writes into our tables
			}
			f, there := v.foreign[w.it.routeKey]
			same := f.Kind == w.it.Kind && f.Dev == w.it.Dev && (f.Via == w.it.Via || w.it.Table == mainTable)
			if there && !same && !yield(w, f) {
				return
			}
		}
	}
}

// conflicts are foreign routes that stand where ours belong and lead elsewhere.
func (v *view) conflicts(d hub.Desired) []hub.Problem {
	var out []hub.Problem
	for w, f := range v.taken(d) {
		out = append(out, hub.Problem{Code: hub.PlaneFailed, Subject: w.it.object(),
			Detail: fmt.Sprintf("a route that is not ours (protocol %d) has this place: %s; wanted: %s", f.proto, f.detail(), w.it.detail()),
			Mend:   fmt.Sprintf("ip route del %s table %s proto %d", dstText(f.Dst), tableText(f.Table), f.proto)})
	}
	return out
}
