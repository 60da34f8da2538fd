package hub_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"peerhub/hub"
)

// place is what the fake planes write to, and a record of who wrote what.
type place struct {
	mu   sync.Mutex
	log  []string
	have map[hub.PlaneName]map[string]hub.Object
}

func newPlace() *place { return &place{have: make(map[hub.PlaneName]map[string]hub.Object)} }

// written returns and clears the record.
func (p *place) written() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.log
	p.log = nil
	return out
}

// keys returns what a plane has, sorted.
func (p *place) keys(plane hub.PlaneName) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.have[plane]))
}

// fakePlane is a plane with state: what it was told to hold, it holds. It can be made to
// fail at reading, or at everything whose object contains a text.
type fakePlane struct {
	name  hub.PlaneName
	place *place

	mu       sync.Mutex
	readErr  error
	refuses  string // objects that contain it cannot be added
	keeps    string // objects that contain it cannot be removed
	lacks    hub.Units
	reads    int
	applying func()       // called in the middle of Apply
	asked    atomic.Int32 // for plans, of all its views
}

func (f *fakePlane) Name() hub.PlaneName { return f.name }

func (f *fakePlane) set(do func(*fakePlane)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f)
}

func (f *fakePlane) Observe(context.Context) (hub.View, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if f.readErr != nil {
		return nil, f.readErr
	}
	return f.view(), nil
}

func (f *fakePlane) view() *fakeView {
	f.place.mu.Lock()
	defer f.place.mu.Unlock()
	v := &fakeView{plane: f.name, lacks: f.lacks, asked: &f.asked}
	for _, key := range slices.Sorted(maps.Keys(f.place.have[f.name])) {
		v.have = append(v.have, f.place.have[f.name][key])
	}
	return v
}

func (f *fakePlane) Apply(_ context.Context, _ hub.View, changes []hub.Change) (hub.View, error) {
	f.mu.Lock()
	applying := f.applying
	f.applying = nil
	f.mu.Unlock()
	if applying != nil {
		applying()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, c := range changes {
		if err := f.change(c); err != nil {
			errs = append(errs, err)
		}
	}
	return f.view(), errors.Join(errs...)
}

// Recall is what masq's place tells of the numbers.
func (f *fakePlane) Recall(context.Context) (map[netip.Prefix]uint32, error) {
	f.place.mu.Lock()
	defer f.place.mu.Unlock()
	out := make(map[netip.Prefix]uint32)
	for key, o := range f.place.have[f.name] {
		prefix, err := netip.ParsePrefix(strings.TrimPrefix(key, "reach "))
		mark, merr := strconv.ParseUint(o.Value, 0, 32)
		if f.name == hub.PlaneMasq && err == nil && merr == nil {
			out[prefix] = uint32(mark)
		}
	}
	return out, f.readErr
}

func (f *fakePlane) change(c hub.Change) error {
	f.place.mu.Lock()
	defer f.place.mu.Unlock()
	if f.place.have[f.name] == nil {
		f.place.have[f.name] = make(map[string]hub.Object)
	}
	stuck := f.refuses
	if c.Verb == hub.VerbRemove {
		stuck = f.keeps
	}
	if stuck != "" && strings.Contains(c.Object, stuck) {
		return fmt.Errorf("%s %s: quota", c.Verb, c.Object)
	}
	if c.Verb == hub.VerbRemove {
		delete(f.place.have[f.name], c.Object)
	} else {
		f.place.have[f.name][c.Object] = hub.Object{Key: c.Object, Value: c.Detail, Unit: c.Unit}
	}
	f.place.log = append(f.place.log, fmt.Sprintf("%s %s %s", f.name, c.Verb, c.Object))
	return nil
}

func (f *fakePlane) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return ctx.Err()
}

// fakeView is what a fake plane saw.
type fakeView struct {
	plane hub.PlaneName
	have  []hub.Object
	lacks hub.Units
	asked *atomic.Int32
}

func (v *fakeView) Plan(want hub.Desired) []hub.Change {
	v.asked.Add(1)
	return hub.Diff(objects(v.plane, want), v.have)
}

func (v *fakeView) Lacks(hub.Desired) hub.Units { return v.lacks }

// objects is the want of a fake plane: VPC routes for vpcroute, the shared part and
// the reaches for the others.
func objects(plane hub.PlaneName, d hub.Desired) []hub.Object {
	var out []hub.Object
	if plane == hub.PlaneVPCRoute {
		for _, r := range d.Routes {
			out = append(out, hub.Object{Key: fmt.Sprintf("%s %s", r.Table, r.Destination), Value: string(r.Peering), Unit: r.Unit, Hold: r.Hold})
		}
		return out
	}
	out = append(out, hub.Object{Key: "base", Value: fmt.Sprint(len(d.Base.Tunnels)), Unit: hub.Unit{Kind: hub.UnitBase}, Hold: d.Base.Hold})
	for _, e := range d.Base.Egresses {
		out = append(out, hub.Object{Key: "egress " + string(e.ID), Value: e.Address.String(), Unit: hub.Unit{Kind: hub.UnitEgress, Egress: e.ID}, Hold: e.Hold})
	}
	for _, r := range d.Reaches {
		out = append(out, hub.Object{Key: "reach " + r.Prefix.String(), Value: fmt.Sprintf("%#x", r.Mark), Unit: r.Unit(), Hold: r.Hold})
	}
	return out
}
