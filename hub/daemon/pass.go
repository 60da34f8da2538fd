package daemon

import (
	"context"
	"errors"
	"slices"
	"time"

	"peerhub/hub"
	"peerhub/hub/control"
	"peerhub/hub/failpoint"
)

// beatEvery is how often the pass task shows that it is alive while nothing happens.
const beatEvery = 5 * time.Second

// passRequest is a pass that somebody waits for.
type passRequest struct {
	causes        []hub.Cause
	by            string // who asked
	allowRemovals bool
	mode          hub.Mode           // "" = the one in force
	confirm       time.Duration      // after which it is put back unless confirmed; 0: it stays
	settle        *window            // that the operator decided about; nil: none
	undo          bool               // put settle back at once
	adopt         *[]hub.LedgerEntry // the VPC routes that fit are taken over, and told here; nil: they are not
	done          chan passed        // buffered: who asked may have left
}

// passed is what became of a pass.
type passed struct {
	rep hub.Report
	err error // the pass was made; what follows from it was not
}

// passes makes all passes: one goroutine, one at a time.
func (d *Daemon) passes(ctx context.Context) error {
	d.waitForTopology(ctx)
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	d.causes(nil) // the first survey is part of the start
	d.serve(ctx, passRequest{causes: []hub.Cause{because(hub.TriggerStart)}})
	for last := time.Now(); ; last = time.Now() {
		req, ok := d.next(ctx, beat.C, last)
		if !ok {
			return nil
		}
		out := d.serve(ctx, req)
		if req.done != nil {
			req.done <- out
		}
	}
}

// serve makes the pass that was asked for, and what goes with it.
func (d *Daemon) serve(ctx context.Context, req passRequest) passed {
	if !d.undone(ctx) {
		return passed{err: errors.New("a sync that nobody confirmed is being put back first: hubctl status")}
	}
	switch {
	case req.settle != nil:
		return d.settled(ctx, req)
	case req.confirm > 0:
		out := d.confirmed(ctx, req)
		if out.err == nil && ctx.Err() == nil {
			d.leaveForced(ctx, req)
		}
		return out
	}
	out := passed{rep: d.passGently(ctx, req)}
	if req.adopt != nil && ctx.Err() == nil {
		*req.adopt, out.err = d.opts.Handmade.Adopt(ctx, out.rep.Desired)
	}
	if req.mode != "" && ctx.Err() == nil {
		out.err = errors.Join(out.err, d.adoptAfter(req.mode)) // only now: until this pass nothing else was to write
		d.leaveForced(ctx, req)
	}
	return out
}

// leaveForced makes another pass after one in a mode that is not in force: repairs go as far as
// the last pass went.
func (d *Daemon) leaveForced(ctx context.Context, req passRequest) {
	if d.mode() != req.mode {
		d.pass(ctx, passRequest{causes: req.causes})
	}
}

// waitForTopology gives the first survey a moment when nothing is remembered.
func (d *Daemon) waitForTopology(ctx context.Context) {
	d.mu.Lock()
	known := d.surveyed
	d.mu.Unlock()
	if known {
		return
	}
	timer := time.NewTimer(firstWait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-d.poke:
	}
}

// next waits for a reason to make a pass: a request, a poke, the end of a pause, or that none
// was made for long because a survey hangs. ok is false when the context ended.
func (d *Daemon) next(ctx context.Context, beat <-chan time.Time, last time.Time) (passRequest, bool) {
	timer := time.NewTimer(d.patience(last))
	defer timer.Stop()
	for {
		d.moved()
		select {
		case <-ctx.Done():
			return passRequest{}, false
		case req := <-d.asked:
			return req, true
		case <-d.poke:
			if rest := time.Until(last.Add(passGap)); rest > 0 {
				timer.Reset(rest) // pokes in between are this one
				continue
			}
			return passRequest{}, true
		case <-timer.C:
			return passRequest{}, true
		case <-beat:
		}
	}
}

// patience is how long to go without a pass: two polls, or until a pause or the time to confirm a sync ends.
func (d *Daemon) patience(last time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	rest := time.Until(last.Add(2 * d.config.Poll))
	for _, p := range d.situation.pauses {
		if p.Until != nil {
			rest = min(rest, time.Until(*p.Until))
		}
	}
	if w := d.situation.window; w != nil && !w.over() {
		rest = min(rest, time.Until(w.Until))
	}
	return max(rest, passGap)
}

// pass makes one pass and tells everybody about it.
func (d *Daemon) pass(ctx context.Context, req passRequest) hub.Report {
	if d.endPauses() {
		req.causes = append(slices.Clone(req.causes), because(hub.TriggerPause))
	}
	in := d.input()
	in.AllowRemovals = req.allowRemovals || failpoint.Off("guard")
	if req.mode != "" {
		in.Mode = req.mode
	}
	rep, _ := d.make(ctx, in, d.causes(req.causes))
	return rep
}

// make makes the pass that in describes. ok is false when it was cut short by the end of hubd.
func (d *Daemon) make(ctx context.Context, in hub.Input, causes []hub.Cause) (rep hub.Report, ok bool) {
	in.At = time.Now()
	d.passing.Store(true)
	d.moved()
	limited, cancel := context.WithTimeout(ctx, passTime)
	failpoint.Hit("pass.begin")
	rep, mem := d.rec.Pass(limited, in)
	cancel()
	rep.Took = time.Since(in.At)
	d.passing.Store(false)
	if ctx.Err() != nil {
		return rep, false // what it says is not how things are
	}
	rep.Problems = append(d.inForce().problems(rep.Problems, rep), d.ownProblems()...)
	slices.SortFunc(rep.Problems, hub.CompareProblems)
	d.settle(ctx, rep, mem, causes)
	return rep, true
}

// Once makes one survey and one pass, instead of Run. A dry run changes nothing.
func (d *Daemon) Once(ctx context.Context, dryRun bool) (hub.Report, error) {
	if _, err := d.survey(ctx); err != nil && !d.known() {
		return hub.Report{}, err
	}
	if dryRun {
		in := d.input()
		in.At = time.Now()
		rep := d.rec.Plan(ctx, in)
		rep.Problems = d.inForce().problems(rep.Problems, rep)
		return rep, nil
	}
	d.keepDoubt(ctx)
	out := d.serve(ctx, passRequest{causes: []hub.Cause{because(hub.TriggerStart)}})
	return out.rep, errors.Join(out.err, ctx.Err())
}

// input is what the next pass needs to know, but for its time.
func (d *Daemon) input() hub.Input {
	mode := d.mode()
	d.mu.Lock()
	defer d.mu.Unlock()
	in := hub.Input{
		Policy: d.config.Policy, Topology: d.topology, Remembered: d.remembered, Prev: d.prev,
		Mode: mode, Doubt: d.doubt, Save: d.opts.Store.Save,
	}
	in.Paused = map[hub.PlaneName]bool{}
	for _, name := range d.situation.pauses.planes() {
		in.Paused[name] = true
	}
	return in
}

// settle keeps what a pass found out, and tells log, metrics, systemd and the last report.
func (d *Daemon) settle(ctx context.Context, rep hub.Report, mem hub.Remembered, causes []hub.Cause) {
	d.mu.Lock()
	first := d.report == nil
	d.remembered, d.prev, d.report = mem, &rep.Desired, &rep
	d.learnNames(rep.Desired)
	if rep.Mode != hub.ModeObserve && len(d.situation.pauses) == 0 {
		d.written = &rep.Desired
	}
	if d.reloaded != nil {
		d.reloaded.add(rep.Planes, func(p hub.PlaneReport) []hub.Change { return p.Applied })
		if time.Since(d.reloaded.at) > reloadReach {
			d.reloaded = nil
		}
	}
	if what := summary(rep, d.names); what != "" {
		d.changed = &control.Changed{At: rep.Started.UTC(), What: what}
	}
	d.mu.Unlock()
	told := rep
	told.Problems = d.withClients(rep.Problems)
	d.events.passed(told)
	d.metrics.passed(rep)
	d.keepPass(ctx, rep, causes)
	signal(d.count)
	status := d.status(ctx)
	d.ready(oneLine(status), first)
	d.events.trouble("last.json", "the last report cannot be written", d.opts.WriteLast(status))
}

// learnNames remembers what the spokes of a want are called; d.mu is held, or nothing runs yet.
func (d *Daemon) learnNames(want hub.Desired) {
	for _, s := range want.Spokes {
		d.names[s.ID] = s.Name
	}
}

// withClients adds the problems of the last list of clients.
func (d *Daemon) withClients(problems []hub.Problem) []hub.Problem {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := slices.Concat(problems, d.clients.problems)
	slices.SortFunc(all, hub.CompareProblems)
	return all
}

// ownProblems are those that the pass itself cannot know of.
func (d *Daemon) ownProblems() []hub.Problem {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []hub.Problem
	add := func(code hub.Code, subject string, err error) {
		if err != nil {
			out = append(out, hub.Problem{Code: code, Subject: subject, Detail: err.Error(), Mend: hub.Mend(code)})
		}
	}
	if d.surveyErr != nil && !d.surveyed {
		add(hub.NoTopology, "AWS", d.surveyErr)
	}
	add(hub.PeeringNotActive, "accept", d.acceptErr)
	return out
}
