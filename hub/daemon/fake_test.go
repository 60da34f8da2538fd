package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"peerhub/hub"
	"peerhub/hub/config"
	"peerhub/hub/control"
)

// plane is a place in memory: one object per reach.
type plane struct {
	name hub.PlaneName
	hit  func()

	base   bool // has an object of the shared part, too
	mu     sync.Mutex
	have   map[string]hub.Object
	writes []time.Time
	deny   bool          // nothing can be written
	hang   chan struct{} // Observe does not return before it is closed, whatever its context says
}

func newPlane(name hub.PlaneName) *plane { return &plane{name: name, have: map[string]hub.Object{}} }

func (p *plane) Name() hub.PlaneName { return p.name }

func (p *plane) Observe(context.Context) (hub.View, error) {
	p.mu.Lock()
	hang := p.hang
	p.mu.Unlock()
	if hang != nil {
		<-hang
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return view{maps.Clone(p.have), p.base}, nil
}

func (p *plane) Apply(_ context.Context, _ hub.View, cs []hub.Change) (hub.View, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deny {
		return view{maps.Clone(p.have), p.base}, errors.New("denied")
	}
	p.writes = append(p.writes, time.Now())
	for _, c := range cs {
		if c.Verb == hub.VerbRemove {
			delete(p.have, c.Object)
		} else {
			p.have[c.Object] = hub.Object{Key: c.Object, Value: c.Detail, Unit: c.Unit}
		}
	}
	return view{maps.Clone(p.have), p.base}, nil
}

func (p *plane) Watch(ctx context.Context, hit func()) error {
	p.mu.Lock()
	p.hit = hit
	p.mu.Unlock()
	<-ctx.Done()
	return nil
}

// wipe is somebody else's hand.
func (p *plane) wipe() {
	p.mu.Lock()
	p.have = map[string]hub.Object{}
	hit := p.hit
	p.mu.Unlock()
	hit()
}

func (p *plane) keys() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(p.have)), " ")
}

func (p *plane) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.writes)
}

type view struct {
	have map[string]hub.Object
	base bool
}

func (v view) Plan(want hub.Desired) []hub.Change {
	var objects []hub.Object
	if v.base {
		objects = append(objects, hub.Object{Key: "table", Unit: hub.Unit{Kind: hub.UnitBase}})
	}
	for _, r := range want.Reaches {
		objects = append(objects, hub.Object{Key: r.Prefix.String(), Value: r.Name, Unit: r.Unit(), Hold: r.Hold})
	}
	return hub.Diff(objects, slices.Collect(maps.Values(v.have)))
}

// aws is a discoverer that says what it is told to.
type aws struct {
	mu       sync.Mutex
	topology hub.Topology
	err      error
	hang     bool
	asked    []time.Time
	answered map[hub.Scope]time.Time // when each was fresh last
}

func (a *aws) Survey(ctx context.Context, _ hub.Policy) (hub.Topology, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, time.Now())
	if a.hang {
		a.mu.Unlock()
		<-ctx.Done()
		a.mu.Lock()
		return hub.Topology{}, ctx.Err()
	}
	if a.err != nil {
		return hub.Topology{}, a.err
	}
	t := a.topology
	t.Sources = slices.Clone(t.Sources)
	for i := range t.Sources {
		t.Sources[i].Survey = uint64(len(a.asked))
		if t.Sources[i].Fresh {
			a.answered[t.Sources[i].Scope] = time.Now()
		}
		t.Sources[i].At = a.answered[t.Sources[i].Scope]
	}
	return t, nil
}

func (a *aws) set(f func(*aws)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(a)
}

func (a *aws) surveys() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

// memory is a store that outlives daemons.
type memory struct {
	mu       sync.Mutex
	saved    Saved
	notes    map[string]string
	last     control.Status
	history  []hub.HistoryEntry // newest first
	saves    int
	failNote error
	broken   bool   // what was noted cannot be understood
	noting   func() // runs, once, in the middle of a SetNote
}

func (m *memory) Save(_ context.Context, r hub.Remembered, d hub.Desired) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saved.Remembered, m.saved.Desired = r, &d
	m.saves++
	return nil
}

func (m *memory) SaveTopology(_ context.Context, t hub.Topology) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saved.Topology = &t
	return nil
}

func (m *memory) AppendHistory(_ context.Context, e hub.HistoryEntry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.history = append([]hub.HistoryEntry{e}, m.history...)
	return nil
}

func (m *memory) History(context.Context, hub.HistoryQuery) ([]hub.HistoryEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.history, nil
}

func (m *memory) SaveWindow(_ context.Context, body json.RawMessage) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failNote != nil {
		return m.failNote
	}
	m.saved.Window = body
	return nil
}

func (m *memory) Note(key string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return "", ErrNotesBroken
	}
	return m.notes[key], nil
}

func (m *memory) SetNote(key, value string) error {
	m.mu.Lock()
	noting := m.noting
	m.noting = nil
	m.mu.Unlock()
	if noting != nil {
		noting()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failNote != nil {
		return m.failNote
	}
	m.broken = false
	m.notes[key] = value
	return nil
}

func (m *memory) WriteLast(v any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := v.(control.Status)
	if !ok {
		return errors.New("not a status")
	}
	m.last = s
	return nil
}

// world is everything around a daemon.
type world struct {
	t      *testing.T
	config config.Config
	load   func() (config.Config, error)
	aws    *aws
	planes []*plane
	store  *memory
	log    *logs
	opts   Options // what a test adds
}

func newWorld(t *testing.T, text string) *world {
	t.Helper()
	c := parse(t, text)
	w := &world{t: t, config: c, aws: &aws{topology: topology("billing:10.110.0.0/16"), answered: map[hub.Scope]time.Time{}}, log: &logs{},
		planes: []*plane{newPlane(hub.PlaneKRoute), newPlane(hub.PlaneMasq)}, store: &memory{notes: map[string]string{}}}
	w.load = func() (config.Config, error) { return w.config, nil }
	return w
}

const base = "version: 1\npoll: 10s\nvpn: [{name: people, interfaces: [tun0], pools: [172.27.240.0/22]}]\n"

func parse(t *testing.T, text string) config.Config {
	t.Helper()
	c, err := config.Parse(config.Source{Name: "hubd.yaml", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// start runs a daemon on what is there; the returned function ends it and waits.
func (w *world) start() (*Daemon, func()) {
	w.t.Helper()
	o := w.opts
	o.Version, o.Config, o.Load = "test", w.config, func() (config.Config, error) { return w.load() }
	for _, p := range w.planes {
		o.Planes = append(o.Planes, p)
	}
	w.store.mu.Lock()
	o.Saved = w.store.saved
	w.store.mu.Unlock()
	o.Discoverer, o.Store, o.Notes, o.WriteLast = w.aws, w.store, w.store, w.store.WriteLast
	o.Log = zerolog.New(w.log).Level(zerolog.DebugLevel)
	d, err := New(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	return d, func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("run: %v", err)
		}
	}
}

// topology has the hub and one active peering per "name:prefix".
func topology(spokes ...string) hub.Topology {
	scope := hub.Scope{Account: "111111111111", Region: "ap-northeast-1"}
	t := hub.Topology{
		Hub: hub.Hub{Name: "infra", Scope: scope, Partition: "aws", VPC: "vpc-00000001", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.100.0.0/16")},
			Interfaces: []hub.Interface{{Name: "eth0", ID: "eni-00000001", Subnet: "subnet-00000001", SubnetPrefix: netip.MustParsePrefix("10.100.0.0/24"),
				Address: netip.MustParseAddr("10.100.0.10"), Addresses: []netip.Addr{netip.MustParseAddr("10.100.0.10")}}}},
		Sources: []hub.Source{{Scope: scope, Fresh: true}},
		Tables:  []hub.Table{{ID: "rtb-00000001", VPC: "vpc-00000001", Scope: scope, Main: true}},
		Subnets: []hub.Subnet{{ID: "subnet-00000001", VPC: "vpc-00000001", Scope: scope, Prefix: netip.MustParsePrefix("10.100.0.0/24")}},
	}
	for i, s := range spokes {
		name, prefix, _ := strings.Cut(s, ":")
		t.Peerings = append(t.Peerings, hub.Peering{ID: hub.PeeringID(fmt.Sprintf("pcx-0000000%d", i+1)), State: hub.PeeringActive, HubRequested: true, Name: name,
			Peer: hub.Peer{Scope: hub.Scope{Account: hub.AccountID(fmt.Sprintf("%012d", 222222222222+i)), Region: "ap-northeast-1"},
				VPC: hub.VPCID(fmt.Sprintf("vpc-1000000%d", i+1)), Prefixes: []netip.Prefix{netip.MustParsePrefix(prefix)}}})
	}
	return t
}

// logs collects log lines.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// take returns the messages of level info and above since the last call, with what they are about.
func (l *logs) take(t *testing.T) []string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for line := range strings.Lines(l.buf.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q is no log line: %v", line, err)
		}
		if m["level"] == "debug" {
			continue
		}
		text := fmt.Sprint(m["message"])
		for _, key := range []string{keyPlane, keyVerb, keyObject, keyCode, keySubject, keyError} {
			if v, ok := m[key]; ok {
				text += fmt.Sprintf(" %s=%v", key, v)
			}
		}
		out = append(out, text)
	}
	l.buf.Reset()
	return out
}

// after lets time pass, then waits until everybody is idle.
func after(d time.Duration) {
	time.Sleep(d) // in the bubble's time
	synctest.Wait()
}
