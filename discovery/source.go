package discovery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"peerhub/hub"
	"peerhub/hub/awsapi"
)

// source is one account in one region: its last good answer and when to ask again.
type source struct {
	hub.Source
	part     part
	vpcs     []hub.VPCID // asked for in the read under way, or in the last one
	next     time.Time
	failures int
	reading  bool
}

// answered takes the outcome of a read that began at began.
func (s *source) answered(p part, err error, began time.Time) {
	if err != nil {
		s.Fresh, s.Code, s.Error = false, code(err), err.Error()
		s.failures++
		return
	}
	s.part = p
	s.Fresh, s.At, s.Code, s.Error = true, began, "", ""
	s.Survey++
	s.failures = 0
}

// target is a scope that is to be read, and how.
type target struct {
	role      awsapi.Role
	must, may []hub.VPCID
}

// targets are the scopes of the spokes that are to be read, apart from the hub's own.
func (d *Discovery) targets(left map[hub.Scope][]hub.VPCID) map[hub.Scope]*target {
	home := d.hub.part.hub
	out := map[hub.Scope]*target{}
	at := func(scope hub.Scope) *target {
		if t := out[scope]; t != nil {
			return t
		}
		role, ok := d.roleFor(scope, home)
		if scope == home.Scope || !ok {
			return nil
		}
		out[scope] = &target{role: role}
		return out[scope]
	}
	for _, p := range d.hub.part.peerings {
		if !d.mayEnter(p) {
			continue
		}
		if t := at(p.Peer.Scope); t != nil && !slices.Contains(t.must, p.Peer.VPC) {
			t.must = append(t.must, p.Peer.VPC)
		}
	}
	for scope, vpcs := range left {
		for _, v := range vpcs {
			if t := at(scope); t != nil && !slices.Contains(t.must, v) {
				t.may = append(t.may, v)
			}
		}
	}
	return out
}

// reading is a read under way.
type reading struct {
	done chan struct{}
	left atomic.Bool // nobody waits for it any more
}

// launch begins the reads that are due and forgets sources that are no longer wanted.
func (d *Discovery) launch(left map[hub.Scope][]hub.VPCID) []*reading {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.opts.Now()
	targets := d.targets(left)
	for scope := range d.sources {
		if targets[scope] == nil {
			delete(d.sources, scope)
		}
	}
	d.roles = map[hub.Scope]awsapi.Role{d.hub.Scope: {}}
	var out []*reading
	for scope, t := range targets {
		d.roles[scope] = t.role
		s := d.sources[scope]
		if s == nil {
			s = &source{Source: hub.Source{Scope: scope, Code: hub.SourceStale, Error: "not read yet"}}
			d.sources[scope] = s
		}
		grown := slices.ContainsFunc(t.must, func(v hub.VPCID) bool { return !slices.Contains(s.vpcs, v) })
		if s.reading || now.Before(s.next) && !grown {
			continue
		}
		s.reading, s.vpcs = true, slices.Concat(t.must, t.may)
		r := &reading{done: make(chan struct{})}
		out = append(out, r)
		d.tasks.Go(func() { d.read(scope, *t, s, r) })
	}
	return out
}

// read reads one spoke source and takes its answer.
func (d *Discovery) read(scope hub.Scope, t target, s *source, r *reading) {
	defer close(r.done)
	select {
	case d.places <- struct{}{}:
		defer func() { <-d.places }()
	case <-d.life.Done():
		return
	}
	ctx, cancel := context.WithTimeout(d.life, d.opts.Timeout)
	defer cancel()
	began := d.opts.Now()
	p, err := d.readSpokes(ctx, scope, t)
	if d.life.Err() != nil {
		return
	}
	d.mu.Lock()
	first := s.At.IsZero()
	s.reading = false
	s.answered(p, err, began)
	s.next = d.opts.Now().Add(d.pause(s.failures, first, longestPause))
	d.mu.Unlock()
	if r.left.Load() {
		d.opts.Arrived()
	}
}

func (d *Discovery) readSpokes(ctx context.Context, scope hub.Scope, t target) (part, error) {
	c, err := d.opts.Sessions.EC2(ctx, scope, t.role)
	if err != nil {
		return part{}, err
	}
	return readVPCs(ctx, c, scope, t.must, t.may)
}

// These bound the back-off from a source that does not answer. Nothing new is learned while
// the hub's own is frozen, and it is one call: it is asked more often.
const (
	longestPause    = 5 * time.Minute
	longestHubPause = time.Minute
)

// pause is the time to the next read: the interval with 10 % of jitter, doubled with
// every failure after the first. After the very first answer it is anywhere between
// half and one interval, which spreads sources that came up together.
func (d *Discovery) pause(failures int, first bool, longest time.Duration) time.Duration {
	x := d.opts.Jitter()
	if failures == 0 && first {
		return time.Duration(float64(d.opts.Interval) * (0.5 + 0.5*x))
	}
	every := d.opts.Interval
	for range min(max(failures-1, 0), 16) {
		every = min(2*every, max(longest, d.opts.Interval))
	}
	return time.Duration(float64(every) * (0.9 + 0.2*x))
}

// assemble puts the parts together, sorted. Of a spoke's source only the VPCs that are
// wanted now are shown.
func (d *Discovery) assemble() hub.Topology {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := hub.Topology{
		Hub: d.hub.part.hub, Sources: []hub.Source{d.hub.Source},
		Peerings: slices.Clone(d.hub.part.peerings), Subnets: slices.Clone(d.hub.part.subnets),
		VPCs: slices.Clone(d.hub.part.vpcs), Tables: slices.Clone(d.hub.part.tables),
	}
	for _, s := range d.sources {
		out.Sources = append(out.Sources, s.Source)
		for _, v := range s.part.vpcs {
			if slices.Contains(s.vpcs, v.ID) {
				out.VPCs = append(out.VPCs, v)
			}
		}
		for _, t := range s.part.tables {
			if slices.Contains(s.vpcs, t.VPC) {
				out.Tables = append(out.Tables, t)
			}
		}
	}
	slices.SortFunc(out.Sources, func(a, b hub.Source) int { return hub.CompareScopes(a.Scope, b.Scope) })
	slices.SortFunc(out.VPCs, func(a, b hub.VPC) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(out.Tables, func(a, b hub.Table) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(out.Subnets, func(a, b hub.Subnet) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out
}

// restore takes the last good topology of an earlier run as a stale one, unless the
// config has moved the hub to another VPC or region.
func (d *Discovery) restore(last *hub.Topology) {
	f := d.opts.Hub
	if last == nil || last.Hub.VPC == "" || f.VPC != "" && f.VPC != last.Hub.VPC || f.Region != "" && f.Region != last.Hub.Scope.Region {
		return
	}
	for _, src := range last.Sources {
		s := &source{Source: src}
		s.Fresh, s.Code, s.Error = false, hub.SourceStale, fmt.Sprintf("as of %s, from before the start", src.At.UTC().Format(time.RFC3339))
		for _, v := range last.VPCs {
			if v.Scope == src.Scope {
				s.part.vpcs = append(s.part.vpcs, v)
				s.vpcs = append(s.vpcs, v.ID)
			}
		}
		for _, t := range last.Tables {
			if t.Scope == src.Scope {
				s.part.tables = append(s.part.tables, t)
			}
		}
		if src.Scope == last.Hub.Scope {
			s.part.hub, s.part.peerings, s.part.subnets = last.Hub, last.Peerings, last.Subnets
			d.hub = s
			continue
		}
		d.sources[src.Scope] = s
	}
	if d.hub == nil {
		d.sources = map[hub.Scope]*source{}
	}
}
