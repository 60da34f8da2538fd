package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"peerhub/hub"
	"peerhub/hub/control"
	"peerhub/hub/failpoint"
)

// maxPause bounds a pause that has an end.
const maxPause = 30 * 24 * time.Hour

// Status answers hubctl status, with a fresh list of clients.
func (d *Daemon) Status(ctx context.Context) (control.Status, error) {
	d.readClients(ctx, time.Second)
	return d.status(ctx), nil
}

// Plan answers hubctl plan: a pass without apply, on the last topology.
func (d *Daemon) Plan(ctx context.Context) (control.Plan, error) {
	in := d.input()
	in.At, in.Mode = time.Now(), hub.ModeSync
	rep := d.rec.Plan(ctx, in)
	if err := ctx.Err(); err != nil {
		return control.Plan{}, fmt.Errorf("plan: %w", err)
	}
	rep.Problems = d.inForce().problems(rep.Problems, rep)
	slices.SortFunc(rep.Problems, hub.CompareProblems)
	p := control.Plan{Schema: control.Schema, Mode: d.mode(), Changes: d.changesOf(rep, func(p hub.PlaneReport) []hub.Change { return p.Pending }),
		Cuts: []control.Cut{}, Problems: list(rep.Problems), Held: list(rep.Held)}
	if d.opts.Flows != nil {
		flows, err := d.opts.Flows(ctx, rep.Desired)
		if err != nil {
			return control.Plan{}, fmt.Errorf("plan: list the live flows: %w", err)
		}
		d.readClients(ctx, time.Second)
		d.mu.Lock()
		who := d.clients.list
		d.mu.Unlock()
		p.Cuts = list(cuts(rep, flows, who))
	}
	return p, nil
}

// Sync answers hubctl sync: a survey, then a pass in the mode that was asked for. In full it ends
// a careful first start. With a time to confirm it is put back by itself.
func (d *Daemon) Sync(ctx context.Context, req control.SyncRequest, by string) (control.Synced, error) {
	if req.Mode == "" {
		req.Mode = hub.ModeSync
	}
	confirm := time.Duration(req.ConfirmSeconds * float64(time.Second))
	switch {
	case req.Mode != hub.ModeObserve && req.Mode != hub.ModeAdd && req.Mode != hub.ModeSync:
		return control.Synced{}, fmt.Errorf("mode %q: want observe, add or sync", req.Mode)
	case req.ConfirmSeconds < 0 || req.ConfirmSeconds > maxConfirm.Seconds():
		return control.Synced{}, fmt.Errorf("confirm within %v seconds: at most %s", req.ConfirmSeconds, maxConfirm)
	}
	if p := d.inForce(); p.all() || len(p) > 0 && confirm > 0 {
		return control.Synced{}, p.refusal()
	}
	d.opts.Log.Info().Str(keyBy, by).Str(keyMode, string(req.Mode)).Msg("sync asked for")
	failpoint.Hit("control.sync")
	order := passRequest{causes: []hub.Cause{askedBy(hub.TriggerSync, by)}, by: by, allowRemovals: req.AllowRemovals, mode: req.Mode, confirm: confirm}
	ask := d.askAndPass
	if confirm > 0 {
		ask = d.passNow // which reads the config first, and then asks AWS
	}
	rep, err := ask(ctx, order)
	if err != nil {
		return control.Synced{}, fmt.Errorf("sync: %w", err)
	}
	return d.syncedOf(rep), nil
}

// askAndPass has a survey of everything made, then a pass, and waits for both. When AWS does not
// answer in time the pass is of what is known.
func (d *Daemon) askAndPass(ctx context.Context, req passRequest) (hub.Report, error) {
	limited, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if err := d.ask(limited); err != nil && !d.known() {
		d.pokeFor(req.causes[0]) // a survey somebody waits for leaves the pass to them
		return hub.Report{}, err
	}
	rep, err := d.passNow(ctx, req)
	if err != nil {
		d.pokeFor(req.causes[0])
	}
	return rep, err
}

// Desired answers hubctl export: what the last pass wanted.
func (d *Daemon) Desired(context.Context) (hub.Desired, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.prev == nil {
		return hub.Desired{}, errNotReady
	}
	return *d.prev, nil
}

// Reload answers hubctl add-spoke: the config anew, then everything that follows from it, in the
// mode in force.
func (d *Daemon) Reload(ctx context.Context, by string) (control.Done, error) {
	d.opts.Log.Info().Str(keyBy, by).Msg("reload asked for")
	why := askedBy(hub.TriggerReload, by)
	if err := d.reread(why); err != nil {
		return control.Done{}, err
	}
	failpoint.Hit("control.reloaded")
	_, err := d.askAndPass(ctx, passRequest{causes: []hub.Cause{why}})
	return control.Done{Schema: control.Schema}, err
}

// ask has a survey of everything made and waits for it.
func (d *Daemon) ask(ctx context.Context) error {
	if d.opts.Force != nil {
		d.opts.Force()
	}
	done := make(chan error, 1)
	select {
	case d.wanted <- done:
	case <-ctx.Done():
		return fmt.Errorf("ask AWS: %w", ctx.Err())
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("ask AWS: %w", ctx.Err())
	}
}

// known reports whether there is a topology, fresh or remembered.
func (d *Daemon) known() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.surveyed
}

// Pause answers hubctl pause. The pass that follows at once keeps repairs from writing, too.
func (d *Daemon) Pause(ctx context.Context, req control.PauseRequest, by string) (control.Paused, error) {
	length := time.Duration(req.Seconds * float64(time.Second))
	if req.Seconds < 0 || req.Seconds > maxPause.Seconds() {
		return control.Paused{}, fmt.Errorf("pause for %v seconds: at most %s", req.Seconds, maxPause)
	}
	places, err := orAll(req.Places)
	if err != nil {
		return control.Paused{}, err
	}
	word := control.Pause{Since: time.Now().UTC().Truncate(time.Second), By: by}
	line := d.opts.Log.Info().Str(keyBy, by).Any(keyPlaces, places)
	if length > 0 {
		until := time.Now().Add(length).UTC()
		word.Until = &until
		line = line.Time(keyUntil, until)
	}
	now, err := d.setPauses(func(p pauses) pauses { return p.with(word, places) })
	if err != nil {
		return control.Paused{}, err
	}
	line.Msg("paused")
	failpoint.Hit("control.paused")
	_, err = d.passNow(ctx, passRequest{causes: []hub.Cause{askedBy(hub.TriggerPause, by)}})
	return pausedOf(now), err
}

// Resume answers hubctl resume. The pass that follows at once repairs what was not meanwhile.
func (d *Daemon) Resume(ctx context.Context, req control.ResumeRequest, by string) (control.Paused, error) {
	places, err := orAll(req.Places)
	if err != nil {
		return control.Paused{}, err
	}
	was := d.inForce()
	now, err := d.setPauses(func(p pauses) pauses { return p.without(places) })
	if err != nil {
		return control.Paused{}, err
	}
	if len(now) < len(was) {
		d.opts.Log.Info().Str(keyBy, by).Any(keyPlaces, places).Msg("resumed")
	}
	failpoint.Hit("control.resumed")
	_, err = d.passNow(ctx, passRequest{causes: []hub.Cause{askedBy(hub.TriggerResume, by)}})
	return pausedOf(now), err
}

func pausedOf(p pauses) control.Paused {
	return control.Paused{Schema: control.Schema, Pause: p.merged(), Pauses: p.list()}
}

// passNow has a pass made and waits for it.
func (d *Daemon) passNow(ctx context.Context, req passRequest) (hub.Report, error) {
	req.done = make(chan passed, 1)
	select {
	case d.asked <- req:
	case <-ctx.Done():
		return hub.Report{}, fmt.Errorf("wait for a pass: %w", ctx.Err())
	}
	select {
	case out := <-req.done:
		return out.rep, out.err
	case <-ctx.Done():
		return hub.Report{}, fmt.Errorf("the pass goes on, but takes longer than you wait: %w", ctx.Err())
	}
}

// Config answers hubctl config show: what is in use, with what metadata told filled in.
func (d *Daemon) Config(context.Context) (control.Config, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := control.Config{Schema: control.Schema, Path: d.config.Path}
	h := d.topology.Hub
	told := map[string]string{"hub.name": h.Name, "hub.region": string(h.Scope.Region), "hub.vpc": string(h.VPC), "hub.instance": string(h.Instance)}
	var interfaces []string
	for _, i := range h.Interfaces {
		interfaces = append(interfaces, fmt.Sprintf("%s=%s", i.Name, i.ID))
	}
	told["hub.interfaces"] = strings.Join(interfaces, " ")
	for _, s := range d.config.Settings() {
		if s.Value == "" && told[s.Key] != "" {
			s.Value = told[s.Key]
		}
		out.Settings = append(out.Settings, control.Setting(s))
	}
	if len(out.Settings) == 0 {
		return out, errors.New("no config is in use")
	}
	return out, nil
}

func (d *Daemon) syncedOf(rep hub.Report) control.Synced {
	return control.Synced{Schema: control.Schema, Pass: *passOf(rep), Mode: rep.Mode,
		Changes:  d.changesOf(rep, func(p hub.PlaneReport) []hub.Change { return p.Applied }),
		Pending:  d.changesOf(rep, func(p hub.PlaneReport) []hub.Change { return p.Pending }),
		Problems: list(rep.Problems), Held: list(rep.Held), Confirm: d.waiting().shown()}
}

// changesOf lists changes of all planes in the order of additions.
func (d *Daemon) changesOf(rep hub.Report, pick func(hub.PlaneReport) []hub.Change) []control.Change {
	d.mu.Lock()
	names := maps.Clone(d.names)
	d.mu.Unlock()
	for _, s := range rep.Spokes { // of a plan
		names[s.ID] = s.Name
	}
	out := []control.Change{}
	for _, p := range rep.Planes {
		for _, c := range pick(p) {
			ch := control.Change{Plane: p.Plane, Verb: c.Verb, Object: c.Object, Detail: c.Detail}
			if id := c.Unit.Spoke; id != "" {
				name := names[id]
				if name == "" {
					name = string(id)
				}
				ch.Spoke = &name
			}
			out = append(out, ch)
		}
	}
	return out
}
