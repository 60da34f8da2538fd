package vpcroute

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"peerhub/hub"
)

// table is a route table, indexed for the questions of decide.
type table struct {
	hub.Table
	byDest     map[netip.Prefix][]int // into Routes
	blackholes []hub.Route            // static ones toward peerings
}

func newTable(t hub.Table) *table {
	out := &table{Table: t, byDest: make(map[netip.Prefix][]int, len(t.Routes))}
	for i, r := range t.Routes {
		if r.Destination.IsValid() {
			out.byDest[r.Destination] = append(out.byDest[r.Destination], i)
		}
		if r.Blackhole && r.Static && len(r.Target) > 4 && r.Target[:4] == "pcx-" {
			out.blackholes = append(out.blackholes, r)
		}
	}
	return out
}

// at returns the static route to exactly dest, and one that is not static (propagated
// or local); nil where there is none.
func (t *table) at(dest netip.Prefix) (static, other *hub.Route) {
	for _, i := range t.byDest[dest] {
		if t.Routes[i].Static {
			static = &t.Routes[i]
		} else {
			other = &t.Routes[i]
		}
	}
	return static, other
}

// covering returns the longest route that is wider than dest; default routes do not count.
func (t *table) covering(dest netip.Prefix) *hub.Route {
	for bits := dest.Bits() - 1; bits > 0; bits-- {
		wider, err := dest.Addr().Prefix(bits)
		if err != nil {
			return nil
		}
		static, other := t.at(wider)
		if static != nil {
			return static
		}
		if other != nil {
			return other
		}
	}
	return nil
}

// inside returns the routes that are more specific than dest. Routes are sorted.
func (t *table) inside(dest netip.Prefix) []hub.Route {
	var out []hub.Route
	i, _ := slices.BinarySearchFunc(t.Routes, dest, func(r hub.Route, d netip.Prefix) int { return hub.ComparePrefixes(r.Destination, d) })
	for ; i < len(t.Routes) && dest.Contains(t.Routes[i].Destination.Addr()); i++ {
		if t.Routes[i].Destination != dest {
			out = append(out, t.Routes[i])
		}
	}
	return out
}

// view is what the plane saw: the tables with our own recent writes laid over them.
// It is never changed once it is handed out.
type view struct {
	hub      hub.Hub
	sources  map[hub.Scope]hub.Source
	peerings map[hub.PeeringID]hub.Peering
	led      map[hub.PeeringID][]netip.Prefix // last known prefixes behind each peering
	tables   map[hub.TableID]*table
	ledger   map[hub.LedgerKey]hub.LedgerEntry
	waits    map[place]wait // changes that wait, with the reason
	memo     atomic.Pointer[memo]
}

// memo is the last answer of decide. A pass asks a handful of times for the same want.
type memo struct {
	hold     bool
	override []netip.Prefix
	routes   []hub.VPCRoute
	reaches  []hub.Reach
	steps    []step
	troubles []trouble
}

var (
	_ hub.View     = (*view)(nil)
	_ hub.Troubled = (*view)(nil)
	_ hub.Lacking  = (*view)(nil)
)

func (v *view) fresh(s hub.Scope) bool { return v.sources[s].Fresh }

// Plan implements hub.View.
func (v *view) Plan(want hub.Desired) []hub.Change {
	steps, _ := v.decide(want)
	out := make([]hub.Change, 0, len(steps))
	for _, s := range steps {
		out = append(out, s.change())
	}
	return out
}

// Lacks implements hub.Lacking.
func (v *view) Lacks(want hub.Desired) hub.Units {
	_, troubles := v.decide(want)
	out := hub.Units{}
	for _, t := range troubles {
		if t.lacks {
			out.Add(t.unit)
		}
	}
	return out
}

// Problems implements hub.Troubled.
func (v *view) Problems(want hub.Desired) []hub.Problem {
	names := make(map[hub.SpokeID]string, len(want.Spokes))
	for _, s := range want.Spokes {
		names[s.ID] = s.Name
	}
	name := func(id hub.SpokeID) string {
		if n := names[id]; n != "" {
			return n
		}
		return string(id)
	}
	steps, troubles := v.decide(want)
	var out []hub.Problem
	for _, t := range troubles {
		subject := name(t.spoke)
		if t.spoke == "" {
			subject = string(t.place.table)
		}
		out = append(out, hub.Problem{Code: t.code, Subject: subject, Detail: t.detail, Mend: t.mend})
	}
	full := map[hub.TableID]bool{}
	for _, s := range steps {
		w, waits := v.waits[s.place]
		if !waits || w.verb != s.verb && (w.verb == hub.VerbRemove || s.verb == hub.VerbRemove) {
			continue
		}
		p := hub.Problem{Code: w.code, Subject: name(s.unit.Spoke), Detail: s.place.String() + ": " + w.detail, Mend: hub.Mend(w.code)}
		if t := v.tables[s.place.table]; t != nil && s.verb == hub.VerbRemove { // anybody who may can do it
			p.Mend += "; or remove it by hand: " + deleteLine(t.Scope, s.place)
		}
		if w.code == hub.RouteQuota { // one per table
			if full[s.place.table] {
				continue
			}
			full[s.place.table] = true
			p.Subject, p.Detail = string(s.place.table), w.detail
		}
		out = append(out, p)
	}
	return out
}

// Observe implements hub.Plane. It calls no service: tables come from the topology.
func (p *Plane) Observe(ctx context.Context) (hub.View, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.opts.Topology()
	if t.Hub.VPC == "" {
		return nil, fmt.Errorf("the VPC route tables are not known yet")
	}
	// Not before: a lost ledger is rebuilt from the first topology.
	if err := p.loadLedger(ctx); err != nil {
		return nil, err
	}
	if p.last != nil && !p.changed && len(p.writes) == 0 && same(p.topology, t) {
		p.topology = t // the tags of peerings may differ
		return p.last, nil
	}
	p.settle(t)
	p.tidy()
	if err := p.bookkeep(ctx, t); err != nil {
		return nil, err
	}
	p.topology = t
	return p.render(), nil
}

// same reports whether two topologies are the same to this plane. An idle pass has
// little time: the tables of a large hub have thousands of routes.
func same(a, b hub.Topology) bool {
	return a.Hub.VPC == b.Hub.VPC && slices.Equal(a.Hub.Prefixes, b.Hub.Prefixes) &&
		slices.EqualFunc(a.Sources, b.Sources, func(a, b hub.Source) bool { return a.Scope == b.Scope && a.Fresh == b.Fresh }) &&
		slices.EqualFunc(a.Peerings, b.Peerings, func(a, b hub.Peering) bool {
			return a.ID == b.ID && a.State == b.State && a.Peer.VPC == b.Peer.VPC && slices.Equal(a.Peer.Prefixes, b.Peer.Prefixes)
		}) &&
		slices.EqualFunc(a.Tables, b.Tables, func(a, b hub.Table) bool {
			return a.ID == b.ID && a.VPC == b.VPC && a.Scope == b.Scope && slices.Equal(a.Routes, b.Routes)
		})
}

// render makes the view of the present: the last topology, what we wrote since, what waits.
func (p *Plane) render() *view {
	t := p.topology
	v := &view{
		hub: t.Hub, led: maps.Clone(p.led), ledger: maps.Clone(p.ledger), waits: maps.Clone(p.waits),
		sources:  make(map[hub.Scope]hub.Source, len(t.Sources)),
		peerings: make(map[hub.PeeringID]hub.Peering, len(t.Peerings)),
		tables:   make(map[hub.TableID]*table, len(t.Tables)),
	}
	for _, s := range t.Sources {
		v.sources[s.Scope] = s
	}
	for _, x := range t.Peerings {
		v.peerings[x.ID] = x
	}
	for _, x := range t.Tables {
		v.tables[x.ID] = newTable(p.overlaid(x))
	}
	p.last, p.changed = v, false
	return v
}

// bookkeep confirms intents whose route has turned up, and drops records of routes that
// somebody has led elsewhere: they are not ours any more.
func (p *Plane) bookkeep(ctx context.Context, t hub.Topology) error {
	fresh := map[hub.Scope]bool{}
	for _, s := range t.Sources {
		fresh[s.Scope] = s.Fresh
	}
	tables := make(map[hub.TableID]*table, len(t.Tables))
	for _, x := range t.Tables {
		tables[x.ID] = newTable(p.overlaid(x))
	}
	known := make(map[hub.PeeringID]bool, len(t.Peerings))
	for _, x := range t.Peerings {
		known[x.ID] = true
		if x.State == hub.PeeringActive && len(x.Peer.Prefixes) > 0 {
			p.led[x.ID] = x.Peer.Prefixes
		}
	}
	for key, e := range p.ledger {
		tab := tables[key.Table]
		if !fresh[e.Scope] || tab == nil {
			continue
		}
		static, _ := tab.at(key.Destination)
		switch {
		case static == nil:
		case static.Target != string(key.Peering):
			if known[hub.PeeringID(static.Target)] {
				continue // perhaps a replica from before our own replacement
			}
			if err := p.forget(ctx, key); err != nil {
				return err
			}
		case !e.Confirmed:
			if err := p.confirm(ctx, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// tidy forgets waits that are long over: the place is made or not wanted any more.
func (p *Plane) tidy() {
	now := p.opts.Now()
	for at, w := range p.waits {
		if now.Sub(w.since) > waitMost+time.Hour && now.After(w.until) {
			delete(p.waits, at)
		}
	}
}
