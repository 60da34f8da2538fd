package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"peerhub/hub"
	"peerhub/hub/control"
)

// status is how things stand, from the last report.
func (d *Daemon) status(ctx context.Context) control.Status {
	counters, countErr := d.counters(ctx)
	mode := d.mode()
	var problems []hub.Problem
	if rep := d.lastReport(); rep != nil {
		problems = d.withClients(rep.Problems)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	up := d.started.UTC()
	s := control.Status{
		Schema: control.Schema, Hub: hubOf(d.topology.Hub, d.config.Policy.HubName), Mode: mode, Version: d.opts.Version, Running: true, UpSince: &up,
		Ready: d.report != nil && d.surveyed, Paused: d.situation.pauses.merged(), Pauses: d.situation.pauses.list(), Confirm: d.situation.window.shown(), Poll: d.config.Poll.Seconds(), LastChange: d.changed,
		Sources: sourcesOf(d.topology), Spokes: []control.Spoke{}, Clients: list(d.clients.list), Problems: list(problems), Held: []hub.Held{},
		ModeNote: filled(d.careful), ConfigNote: filled(d.configNote), StateNote: filled(d.doubt),
	}
	if d.report == nil {
		return s
	}
	s.LastPass = passOf(*d.report)
	s.Held = list(d.report.Held)
	for _, sr := range d.report.Spokes {
		spoke := spokeOf(sr, ageOf(sr, d.report.Topology), counters, countErr == nil && counters != nil, d.clients)
		if sr.Hub {
			s.HubVPC = &spoke
		} else {
			s.Spokes = append(s.Spokes, spoke)
		}
	}
	return s
}

func (d *Daemon) counters(ctx context.Context) (map[uint16]Counter, error) {
	if d.opts.Counters == nil {
		return nil, nil
	}
	return d.opts.Counters(ctx)
}

// list is l, but never nil: an empty list is written as one.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

func filled(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func hubOf(h hub.Hub, stated string) control.Hub {
	out := control.Hub{Name: h.Name, Account: string(h.Scope.Account), Region: h.Scope.Region, VPC: h.VPC}
	if out.Name == "" {
		out.Name = stated
	}
	if len(h.Interfaces) > 0 && h.Interfaces[0].Address.IsValid() {
		out.Address = &h.Interfaces[0].Address
	}
	return out
}

func passOf(r hub.Report) *control.Pass {
	return &control.Pass{At: r.Started.UTC(), TookMS: r.Took.Milliseconds(), Changes: r.Changes(), Pending: r.Pending()}
}

func sourcesOf(t hub.Topology) []control.Source {
	out := []control.Source{}
	for _, s := range t.Sources {
		c := control.Source{Account: s.Scope.Account, Region: s.Scope.Region, Fresh: s.Fresh, Error: filled(s.Error)}
		if !s.At.IsZero() {
			at := s.At.UTC()
			c.At = &at
		}
		out = append(out, c)
	}
	return out
}

// age tells of when what AWS said of a spoke is.
type age struct {
	stale bool      // the hub's account or the spoke's does not answer now
	asOf  time.Time // when stale, the oldest of their last complete answers; zero: one of them never answered
}

func ageOf(r hub.SpokeReport, t hub.Topology) age {
	var a age
	for _, s := range t.Sources {
		if s.Fresh || s.Scope != t.Hub.Scope && s.Scope != r.Scope {
			continue
		}
		if !a.stale || s.At.Before(a.asOf) {
			a.asOf = s.At
		}
		a.stale = true
	}
	return a
}

// spokeOf joins what a pass says of a spoke with its traffic and its clients.
func spokeOf(r hub.SpokeReport, a age, counters map[uint16]Counter, counted bool, cs clients) control.Spoke {
	s := control.Spoke{
		Name: r.Name, Number: r.Number, Account: r.Scope.Account, Region: r.Scope.Region, VPC: r.ID, State: r.State,
		Prefixes: list(r.Prefixes), Excluded: list(r.Excluded),
		KRoute: health(r.Planes[hub.PlaneKRoute]), Masq: health(r.Planes[hub.PlaneMasq]), Pushed: health(r.Planes[hub.PlaneVPNConf]),
	}
	if r.Peering != "" {
		s.Peering = &r.Peering
	}
	if r.Hub {
		s.State = hub.PeeringActive // no peering is between the hub and its own VPC
	}
	s.VPCRoute = control.Sides{HubRoutes: r.HubSide, SpokeRoutes: r.Spoke,
		Hub: sideHealth(r, r.HubSide), Spoke: health(r.SpokeSide)}
	if counted {
		c := counters[r.Number]
		s.Packets, s.Bytes = &c.Packets, &c.Bytes
	}
	s.Stale = a.stale
	if a.stale && !a.asOf.IsZero() {
		at := a.asOf.UTC()
		s.AsOf = &at
	}
	s.Works = works(s, r)
	if !cs.at.IsZero() {
		got := hub.Count{Total: len(cs.list)}
		for _, c := range cs.list {
			if !lacks(c, r.Prefixes) {
				got.OK++
			}
		}
		s.ClientsGot = &got
	}
	return s
}

func health(h hub.Health) *hub.Health {
	if h == "" || h == hub.HealthUnknown {
		return nil
	}
	return &h
}

// sideHealth is how the VPC routes of one side stand: the plane's word, narrowed to the side by its count.
func sideHealth(r hub.SpokeReport, c hub.Count) *hub.Health {
	h := r.Planes[hub.PlaneVPCRoute]
	if h == hub.HealthLacking && c.OK == c.Total {
		h = hub.HealthOK
	}
	return health(h)
}

// works reports whether all of the way is there, as far as we may see. An account that is
// silent takes nothing away: its last answer counts, and Stale says so; one that never
// answered says nothing. What clients were given is theirs: it shows in ClientsGot.
func works(s control.Spoke, r hub.SpokeReport) bool {
	if s.Stale && s.AsOf == nil || len(r.Prefixes) == 0 || s.State != hub.PeeringActive {
		return false
	}
	for _, plane := range []hub.PlaneName{hub.PlaneKRoute, hub.PlaneMasq, hub.PlaneVPCRoute} {
		if h, ok := r.Planes[plane]; ok && h == hub.HealthLacking {
			return false
		}
	}
	return s.VPCRoute.HubRoutes.OK == s.VPCRoute.HubRoutes.Total && (r.OneSided || s.VPCRoute.SpokeRoutes.OK == s.VPCRoute.SpokeRoutes.Total)
}

func lacks(c control.Client, prefixes []netip.Prefix) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return slices.ContainsFunc(c.Lacks, p.Overlaps) })
}

// summary says what a pass changed, in a few words: "+search -billing", "3 changes"; "" for nothing.
// names are those of all spokes, also of what is gone.
func summary(r hub.Report, names map[hub.SpokeID]string) string {
	if r.Changes() == 0 {
		return ""
	}
	verbs := map[string]hub.Verb{}
	for _, p := range r.Planes {
		for _, c := range p.Applied {
			name := names[c.Unit.Spoke]
			if name == "" && c.Unit.Spoke != "" {
				name = string(c.Unit.Spoke) // gone before this process began
			}
			if old, ok := verbs[name]; ok && old != c.Verb {
				verbs[name] = hub.VerbReplace
			} else {
				verbs[name] = c.Verb
			}
		}
	}
	delete(verbs, "")
	var words []string
	for name, verb := range verbs {
		words = append(words, map[hub.Verb]string{hub.VerbAdd: "+", hub.VerbRemove: "-", hub.VerbReplace: "~"}[verb]+name)
	}
	if len(words) == 0 || len(words) > 4 {
		if r.Changes() == 1 {
			return "1 change"
		}
		return fmt.Sprintf("%d changes", r.Changes())
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// oneLine is the status in the words of systemctl status.
func oneLine(s control.Status) string {
	return fmt.Sprintf("mode %s, %s, %d problems", s.Mode, s.Working(time.UTC), len(s.Problems))
}

// Ready says why hubd is not ready, nil when it is: a pass was made of a known topology,
// and not too long ago.
func (d *Daemon) Ready(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.report == nil:
		return errNotReady
	case !d.surveyed && d.surveyErr != nil:
		return fmt.Errorf("AWS has not answered yet: %w", d.surveyErr)
	case !d.surveyed:
		return fmt.Errorf("AWS has not answered yet")
	}
	limit := max(healthyAge*d.config.Poll, time.Minute)
	if age := time.Since(d.report.Started); age > limit {
		return fmt.Errorf("the last pass was %s ago", age.Round(time.Second))
	}
	return nil
}
