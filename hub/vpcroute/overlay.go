package vpcroute

import (
	"slices"
	"strings"
	"time"

	"peerhub/hub"
	"peerhub/hub/failpoint"
)

// Describe shows a write only after a while, and replicas may disagree. A write is
// believed against the surveys until two of them agree with it, one has agreed and a
// later one does not, or disbelieved after unseen has passed and at least three have
// said otherwise. Terraform waits five minutes for a route, too.
const (
	agreeing    = 2
	disagreeing = 3
	unseen      = 5 * time.Minute
)

// write is a recent change of a place by us, or what a direct look found there.
type write struct {
	scope   hub.Scope
	target  string // "" = no static route
	at      time.Time
	survey  uint64 // the last one that counted
	agreed  int
	against int
}

// settle compares the recent writes with a topology and drops those that are settled.
func (p *Plane) settle(t hub.Topology) {
	if len(p.writes) == 0 {
		return
	}
	sources := make(map[hub.Scope]hub.Source, len(t.Sources))
	for _, s := range t.Sources {
		sources[s.Scope] = s
	}
	tables := make(map[hub.TableID]*table, len(t.Tables))
	for _, x := range t.Tables {
		tables[x.ID] = newTable(x)
	}
	now := p.opts.Now()
	for at, w := range p.writes {
		src := sources[w.scope]
		if !src.Fresh || src.Survey <= w.survey || !src.At.After(w.at) {
			continue // nothing new, or read before the write
		}
		w.survey = src.Survey
		tab := tables[at.table]
		if tab == nil {
			delete(p.writes, at)
			continue
		}
		static, _ := tab.at(at.dest)
		shown := ""
		if static != nil {
			shown = static.Target
		}
		switch {
		case shown == w.target:
			w.agreed++
		case w.agreed > 0:
			delete(p.writes, at)
			continue
		default:
			w.against++
		}
		if w.agreed >= agreeing || w.against >= disagreeing && now.Sub(w.at) >= unseen {
			delete(p.writes, at)
			continue
		}
		p.writes[at] = w
	}
}

// overlaid is a table with our recent writes in it.
func (p *Plane) overlaid(t hub.Table) hub.Table {
	copied := false
	for at, w := range p.writes {
		if at.table != t.ID {
			continue
		}
		if !copied {
			t.Routes, copied = slices.Clone(t.Routes), true
		}
		i := slices.IndexFunc(t.Routes, func(r hub.Route) bool { return r.Static && r.Destination == at.dest })
		switch {
		case i < 0 && w.target != "":
			t.Routes = append(t.Routes, hub.Route{Destination: at.dest, Target: w.target, Static: true})
		case i >= 0 && w.target == "":
			t.Routes = slices.Delete(t.Routes, i, i+1)
		case i >= 0 && t.Routes[i].Target != w.target:
			t.Routes[i] = hub.Route{Destination: at.dest, Target: w.target, Static: true}
		}
	}
	if copied {
		slices.SortFunc(t.Routes, func(a, b hub.Route) int {
			if c := hub.ComparePrefixes(a.Destination, b.Destination); c != 0 {
				return c
			}
			return strings.Compare(a.Target, b.Target)
		})
	}
	return t
}

// wrote notes what is at a place now.
func (p *Plane) wrote(scope hub.Scope, at place, target string) {
	w := write{scope: scope, target: target, at: p.opts.Now()}
	for _, s := range p.topology.Sources {
		if s.Scope == scope {
			w.survey = s.Survey
		}
	}
	if !failpoint.Off("recent-writes") {
		p.writes[at] = w
	}
	p.changed = true
}
