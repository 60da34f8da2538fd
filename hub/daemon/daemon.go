package daemon

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/sdnotify"
	"golang.org/x/sync/errgroup"

	"peerhub/hub"
	"peerhub/hub/config"
	"peerhub/hub/control"
)

// Daemon is a running hubd.
type Daemon struct {
	opts    Options
	started time.Time
	rec     *hub.Reconciler
	events  *events
	metrics *metrics

	poke    chan struct{}    // a pass, coalesced
	asked   chan passRequest // a pass somebody waits for
	look    chan struct{}    // a survey, coalesced
	wanted  chan chan error  // a survey somebody waits for; what is sent is buffered
	count   chan struct{}    // the clients, coalesced
	beat    atomic.Int64     // when the pass task last moved, nanoseconds since started: no step of the clock changes it
	passing atomic.Bool      // it is in a pass

	pausing sync.Mutex // held while pauses are set or ended, so that note and situation agree

	mu sync.Mutex // guards everything below
	situation
}

// situation is what the daemon knows now.
type situation struct {
	config     config.Config
	configNote string // why the config on disk is not in force
	topology   hub.Topology
	surveyed   bool // topology is of a survey or remembered, not empty
	surveyErr  error
	acceptErr  error
	remembered hub.Remembered
	prev       *hub.Desired
	doubt      string      // what was wrong with the saved state; "" when nothing was. It stays for the run
	report     *hub.Report // of the last pass
	changed    *control.Changed
	names      map[hub.SpokeID]string // of all spokes ever wanted: what is removed late has a name still
	pauses     pauses
	window     *window              // the sync that waits to be confirmed
	written    *hub.Desired         // what the last pass that wrote wanted; nil: none ever did
	reloaded   *stand               // what stood before the last reload, while that is not long ago
	reported   map[hub.Problem]bool // problems of the last pass, by code and subject
	reasons    []hub.Cause          // of the next pass
	careful    string               // why a first start only observes; "" when it does not
	clients    clients              // the last list
}

// New makes a daemon from what an earlier one left. Nothing runs yet.
func New(ctx context.Context, o Options) (*Daemon, error) {
	d := &Daemon{
		opts: o, started: time.Now(), rec: hub.NewReconciler(o.Planes...), events: newEvents(o.Log),
		poke: make(chan struct{}, 1), asked: make(chan passRequest), look: make(chan struct{}, 1), wanted: make(chan chan error), count: make(chan struct{}, 1),
		situation: situation{config: o.Config, remembered: o.Saved.Remembered, prev: o.Saved.Desired, doubt: o.Saved.Doubt,
			names: map[hub.SpokeID]string{}},
	}
	if o.Saved.Desired != nil {
		d.learnNames(*o.Saved.Desired)
	}
	d.metrics = newMetrics(d)
	if o.Saved.Topology != nil {
		d.topology, d.surveyed = *o.Saved.Topology, true
	}
	if err := d.loadPauses(); err != nil {
		return nil, err
	}
	if err := d.loadWindow(); err != nil {
		return nil, err
	}
	if err := d.loadCareful(ctx); err != nil {
		return nil, err
	}
	if d.mode() != hub.ModeObserve {
		d.written = o.Saved.Desired
	}
	return d, nil
}

// Run works until the context ends. The data path stays as it is.
func (d *Daemon) Run(ctx context.Context) error {
	d.opts.Log.Info().Str(keyVersion, d.opts.Version).Str(keyMode, string(d.mode())).Str(keyPath, d.opts.Config.Path).Msg("hubd starts")
	if d.careful != "" {
		d.opts.Log.Warn().Str(keyReason, d.careful).Msg("first start beside a working VPN: observing until hubctl sync")
	}
	d.keepDoubt(ctx)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.surveys(ctx) })
	g.Go(func() error { return d.passes(ctx) })
	g.Go(func() error { return d.keepClients(ctx) })
	for _, p := range d.opts.Planes {
		g.Go(func() error { return d.watch(ctx, p) })
	}
	if d.opts.Control != nil {
		g.Go(func() error { return control.NewServer(d.opts.Control, d, d).Serve(ctx) })
	}
	if d.opts.Metrics != nil {
		g.Go(func() error { return d.serveMetrics(ctx) })
	}
	if d.opts.Beat > 0 {
		g.Go(func() error { return d.watchdog(ctx) })
	}
	err := g.Wait()
	d.notify("STOPPING=1")
	if err != nil {
		return fmt.Errorf("hubd: %w", err)
	}
	d.opts.Log.Info().Msg("hubd ends, the data path stays up")
	return nil
}

// Poke asks for a pass of what AWS said last.
func (d *Daemon) Poke() { d.pokeFor(because(hub.TriggerSurvey)) }

// Look asks for a survey, and so for a pass.
func (d *Daemon) Look() { signal(d.look) }

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (d *Daemon) notify(states ...string) {
	if d.opts.Notify != nil {
		d.opts.Notify(states...)
	}
}

// watchdog feeds systemd's watchdog as long as the pass task moves.
func (d *Daemon) watchdog(ctx context.Context) error {
	tick := time.NewTicker(d.opts.Beat / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if d.moves() {
				d.notify("WATCHDOG=1")
			}
		}
	}
}

// moved notes that the pass task is alive.
func (d *Daemon) moved() { d.beat.Store(int64(time.Since(d.started))) }

// moves reports whether the pass task moved lately. A pass may take its time, but has an end.
func (d *Daemon) moves() bool {
	idle := time.Since(d.started) - time.Duration(d.beat.Load())
	if d.passing.Load() {
		return idle < 2*passTime
	}
	return idle < beatEvery*4
}

// ready tells systemd, once, that a pass has been made; and each time, how things are.
func (d *Daemon) ready(status string, first bool) {
	if first {
		d.notify(sdnotify.Ready)
	}
	d.notify("STATUS=" + status)
}
