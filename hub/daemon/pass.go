package daemon

import (
	"context"
	"fmt"
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
	allowRemovals bool
	mode          hub.Mode    // "" = the one in force
	done          chan passed // buffered: who asked may have left
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
	d.pass(ctx, passRequest{})
	for last := time.Now(); ; last = time.Now() {
		req, ok := d.next(ctx, beat.C, last)
		if !ok {
			return nil
		}
		out := passed{rep: d.pass(ctx, req)}
		if req.mode != "" && ctx.Err() == nil {
			out.err = d.afterForced(ctx, req.mode)
		}
		if req.done != nil {
			req.done <- out
		}
	}
}

// afterForced ends a careful first start, for which the forced pass was the operator's word. Where
// less than that pass did is in force it makes another: repairs go as far as the last pass went.
func (d *Daemon) afterForced(ctx context.Context, forced hub.Mode) error {
	err := d.adopt() // only now: until this pass nothing else was to write
	if d.mode() != forced {
		d.pass(ctx, passRequest{})
	}
	return err
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
		d.beat.Store(time.Now().UnixNano())
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

// patience is how long to go without a pass: two polls, or until a pause ends.
func (d *Daemon) patience(last time.Time) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	rest := time.Until(last.Add(2 * d.config.Poll))
	if p := d.situation.pause; p != nil && p.Until != nil {
		rest = min(rest, time.Until(*p.Until))
	}
	return max(rest, passGap)
}

// pass makes one pass and tells everybody about it.
func (d *Daemon) pass(ctx context.Context, req passRequest) hub.Report {
	d.endPause()
	in := d.input()
	in.AllowRemovals, in.At = req.allowRemovals || failpoint.Off("guard"), time.Now()
	if req.mode != "" {
		in.Mode = req.mode
	}
	d.passing.Store(true)
	d.beat.Store(in.At.UnixNano())
	limited, cancel := context.WithTimeout(ctx, passTime)
	failpoint.Hit("pass.begin")
	rep, mem := d.rec.Pass(limited, in)
	cancel()
	rep.Took = time.Since(in.At)
	d.passing.Store(false)
	if ctx.Err() != nil {
		return rep // cut short: what it says is not how things are
	}
	rep.Problems = append(onePause(rep.Problems, rep.Pending()), d.ownProblems()...)
	slices.SortFunc(rep.Problems, hub.CompareProblems)
	d.settle(ctx, rep, mem)
	return rep
}

// Once makes one survey and one pass, instead of Run. A dry run changes nothing.
func (d *Daemon) Once(ctx context.Context, dryRun bool) (hub.Report, error) {
	if _, err := d.survey(ctx); err != nil && !d.known() {
		return hub.Report{}, err
	}
	if dryRun {
		in := d.input()
		in.At = time.Now()
		return d.rec.Plan(ctx, in), nil
	}
	rep := d.pass(ctx, passRequest{})
	return rep, ctx.Err()
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
	if d.situation.pause != nil {
		in.Paused = map[hub.PlaneName]bool{}
		for _, p := range d.opts.Planes {
			in.Paused[p.Name()] = true
		}
	}
	return in
}

// settle keeps what a pass found out, and tells log, metrics, systemd and the last report.
func (d *Daemon) settle(ctx context.Context, rep hub.Report, mem hub.Remembered) {
	d.mu.Lock()
	first := d.report == nil
	d.remembered, d.prev, d.report = mem, &rep.Desired, &rep
	d.learnNames(rep.Desired)
	if what := summary(rep, d.names); what != "" {
		d.changed = &control.Changed{At: rep.Started.UTC(), What: what}
	}
	d.mu.Unlock()
	told := rep
	told.Problems = d.withClients(rep.Problems)
	d.events.passed(told)
	d.metrics.passed(rep)
	d.events.trouble("history", "the history cannot be written", d.opts.Store.AppendPass(ctx, rep))
	signal(d.count)
	status := d.status(ctx)
	d.ready(oneLine(status), first)
	d.events.trouble("last.json", "the last report cannot be written", d.opts.WriteLast(status))
}

// onePause makes one problem of those that a pause makes of each plane.
func onePause(problems []hub.Problem, pending int) []hub.Problem {
	isPause := func(p hub.Problem) bool { return p.Code == hub.Paused }
	if !slices.ContainsFunc(problems, isPause) {
		return problems
	}
	return append(slices.DeleteFunc(problems, isPause), hub.Problem{Code: hub.Paused, Subject: "hubd",
		Detail: fmt.Sprintf("nothing is written: %d changes wait", pending), Mend: hub.Mend(hub.Paused)})
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
