package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"peerhub/hub"
	"peerhub/hub/control"
)

// Bounds of a sync that waits to be confirmed.
const (
	maxConfirm  = 24 * time.Hour
	reloadReach = 2 * time.Minute // a reload so long before a sync --confirm is taken back with it
	undoTries   = 5               // after which what could not be put back is left to a person
)

// window is the time in which a sync is put back unless somebody confirms it. It is durable:
// a hubd that is killed meanwhile puts back at the deadline, or when it comes after it.
type window struct {
	Since      time.Time                  `json:"since"`
	Until      time.Time                  `json:"until"`
	By         string                     `json:"by"`
	Mode       hub.Mode                   `json:"mode"`       // of the sync
	Before     hub.Desired                `json:"before"`     // what stood
	Remembered hub.Remembered             `json:"remembered"` // with it
	Made       map[hub.PlaneName][]string `json:"made"`       // what the sync adds, by its plan
	Undo       bool                       `json:"undo"`       // asked for, without waiting for the deadline

	tries int
}

// stand is what stood before something changed, and what was made since.
type stand struct {
	at         time.Time
	before     hub.Desired
	remembered hub.Remembered
	made       map[hub.PlaneName][]string
}

// made adds the objects that changes add.
func (s *stand) add(planes []hub.PlaneReport, pick func(hub.PlaneReport) []hub.Change) {
	for _, p := range planes {
		for _, c := range pick(p) {
			if c.Verb == hub.VerbAdd && !slices.Contains(s.made[p.Plane], c.Object) {
				s.made[p.Plane] = append(s.made[p.Plane], c.Object)
			}
		}
	}
}

// standsNow is what the last pass that wrote wanted; nothing when none ever did.
func (d *Daemon) standsNow() *stand {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &stand{at: time.Now(), remembered: d.remembered, made: map[hub.PlaneName][]string{}}
	if d.written != nil {
		s.before = released(*d.written)
	}
	return s
}

// released is a want without the guard's holds: what it kept stood.
func released(want hub.Desired) hub.Desired {
	want.Reaches, want.Routes = slices.Clone(want.Reaches), slices.Clone(want.Routes)
	for i := range want.Reaches {
		want.Reaches[i].Hold = false
	}
	for i := range want.Routes {
		want.Routes[i].Hold = false
	}
	return want
}

// loadWindow goes on with a sync that an earlier hubd had not heard confirmed.
func (d *Daemon) loadWindow() error {
	if d.opts.Saved.Window == nil {
		return nil
	}
	var w window
	if err := json.Unmarshal(d.opts.Saved.Window, &w); err != nil {
		return fmt.Errorf("read what waits for hubctl confirm: %w", err)
	}
	d.situation.window = &w
	return nil
}

// setWindow makes w durable, then true; nil ends it.
func (d *Daemon) setWindow(ctx context.Context, w *window) error {
	var body json.RawMessage
	if w != nil {
		var err error
		if body, err = json.Marshal(w); err != nil {
			return fmt.Errorf("remember what waits for hubctl confirm: %w", err)
		}
	}
	if err := d.opts.Store.SaveWindow(ctx, body); err != nil {
		return fmt.Errorf("remember what waits for hubctl confirm: %w", err)
	}
	d.mu.Lock()
	d.situation.window = w
	d.mu.Unlock()
	return nil
}

// waiting is the sync that waits to be confirmed; nil: none.
func (d *Daemon) waiting() *window {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.situation.window
}

// shown is the window as status has it.
func (w *window) shown() *control.Confirm {
	if w == nil {
		return nil
	}
	return &control.Confirm{Since: w.Since, Until: w.Until, By: w.By, Undoing: w.over()}
}

func (w *window) over() bool { return w.Undo || !time.Now().Before(w.Until) }

// confirmed makes a pass that is put back unless somebody confirms it: the config is read anew,
// AWS is asked, what stands and what the pass will add is made durable, and then it is made.
func (d *Daemon) confirmed(ctx context.Context, req passRequest) passed {
	if err := d.openWindow(ctx, req); err != nil {
		return passed{err: err}
	}
	return passed{rep: d.passGently(ctx, req)}
}

func (d *Daemon) openWindow(ctx context.Context, req passRequest) error {
	d.passing.Store(true) // the watchdog is patient with it
	defer d.passing.Store(false)
	from := d.standsNow()
	d.mu.Lock()
	old, baseline := d.config, d.reloaded
	d.mu.Unlock()
	if baseline != nil && time.Since(baseline.at) < reloadReach {
		from = baseline
	}
	if err := d.takeConfig(); err != nil {
		return err
	}
	err := func() error {
		limited, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		if err := d.ask(limited); err != nil && !d.known() {
			return err
		}
		in := d.input()
		in.At, in.AllowRemovals, in.Mode = time.Now(), req.allowRemovals, req.mode
		plan := d.rec.Plan(ctx, in)
		from.add(plan.Planes, func(p hub.PlaneReport) []hub.Change { return p.Pending })
		now := time.Now().UTC()
		w := &window{Since: now, Until: now.Add(req.confirm), By: req.by, Mode: req.mode, Before: from.before, Remembered: from.remembered, Made: from.made}
		if was := d.waiting(); was != nil { // the way back stays the first one's
			w.Before, w.Remembered = was.Before, was.Remembered
			w.Made = maps.Clone(was.Made)
			for plane, objects := range from.made {
				w.Made[plane] = slices.Compact(slices.Sorted(slices.Values(slices.Concat(w.Made[plane], objects))))
			}
		}
		return d.setWindow(ctx, w)
	}()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil { // without a way back the new config must not be in force
		d.config = old
	} else {
		d.reloaded = nil
	}
	return err
}

// undone puts back a sync that nobody confirmed in time, and pauses. It reports whether ordinary
// passes may go on: not while something is still to be put back.
func (d *Daemon) undone(ctx context.Context) bool {
	w := d.waiting()
	if w == nil || !w.over() {
		return true
	}
	if w.tries == 0 {
		d.opts.Log.Warn().Str(keyBy, w.By).Msg("a sync was not confirmed: it is put back")
	}
	w.tries++
	undo := &hub.Undo{Want: w.Before, Made: map[hub.PlaneName]map[string]bool{}}
	for plane, objects := range w.Made {
		undo.Made[plane] = map[string]bool{}
		for _, o := range objects {
			undo.Made[plane][o] = true
		}
	}
	in := d.input()
	in.Undo, in.Remembered, in.Paused, in.Mode = undo, w.Remembered, nil, hub.ModeSync
	rep, ok := d.make(ctx, in, []hub.Cause{askedBy(hub.TriggerUndo, w.By)})
	if !ok || rep.Pending() > 0 && w.tries < undoTries {
		return false
	}
	why := fmt.Sprintf("the sync of %s at %s was not confirmed, so what stood before it is back; the config is as it was for that sync: "+
		"take the change back there and reload hubd, then hubctl resume", w.By, w.Since.Local().Format("15:04:05"))
	pause := control.Pause{Since: time.Now().UTC().Truncate(time.Second), By: "hubd", Why: &why}
	_, err := d.setPauses(func(p pauses) pauses { return p.with(pause, control.Places()) })
	if err == nil { // only now: until the pause is durable, a restart must put back again
		err = d.setWindow(ctx, nil)
	}
	d.events.trouble("confirm", "that a sync was put back cannot be remembered", err)
	if err != nil {
		return false
	}
	d.opts.Log.Warn().Str(keyBy, w.By).Str(keyReason, why).Msg("paused")
	d.pokeFor(because(hub.TriggerUndo)) // the report of the next pass tells how things are
	return true
}

var errNothingWaits = errors.New("no sync waits to be confirmed")

// Confirm answers hubctl confirm.
func (d *Daemon) Confirm(ctx context.Context, req control.ConfirmRequest, by string) (control.Synced, error) {
	w := d.waiting()
	if w == nil {
		return control.Synced{}, errNothingWaits
	}
	if w.over() {
		return control.Synced{}, fmt.Errorf("the time for it ended at %s: the sync is being put back", w.Until.Local().Format("15:04:05"))
	}
	d.opts.Log.Info().Str(keyBy, by).Bool(keyUndo, req.Undo).Msg("confirm asked for")
	rep, err := d.passNow(ctx, passRequest{settle: w, undo: req.Undo, by: by, causes: []hub.Cause{askedBy(hub.TriggerConfirm, by)}})
	if err != nil {
		return control.Synced{}, err
	}
	return d.syncedOf(rep), nil
}

// settled ends a window as its operator said.
func (d *Daemon) settled(ctx context.Context, req passRequest) passed {
	if d.waiting() != req.settle {
		return passed{err: errNothingWaits} // its time ended, or another sync began, while this one waited
	}
	if req.undo {
		w := *req.settle
		w.Undo = true
		err := d.setWindow(ctx, &w)
		if err == nil && !d.undone(ctx) {
			err = errors.New("not all of it could be put back yet: hubctl status")
		}
		if err != nil {
			return passed{err: err}
		}
		return passed{rep: d.pass(ctx, req)}
	}
	if err := d.setWindow(ctx, nil); err != nil {
		return passed{err: err}
	}
	err := d.adoptAfter(req.settle.Mode)
	return passed{rep: d.pass(ctx, req), err: err}
}
