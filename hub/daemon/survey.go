package daemon

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"peerhub/hub"
	"peerhub/hub/failpoint"
)

// surveys asks for the topology on its own timer, and when asked to.
func (d *Daemon) surveys(ctx context.Context) error {
	var waiting []chan error
	for {
		began := time.Now()
		again, err := d.survey(ctx)
		if len(waiting) == 0 {
			d.Poke()
		}
		for _, w := range waiting { // who asked has a pass made, and wants to see what it does
			w <- err
		}
		waiting = nil
		if ctx.Err() != nil {
			return nil
		}
		next := d.interval()
		if again {
			next = surveyGap
		}
		timer := time.NewTimer(time.Until(began.Add(next)))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-d.look:
		case w := <-d.wanted:
			waiting = append(waiting, w)
		}
		timer.Stop()
		if rest := time.Until(began.Add(surveyGap)); rest > 0 && len(waiting) == 0 {
			wait(ctx, rest)
		}
		if ctx.Err() != nil {
			for _, w := range waiting {
				w <- ctx.Err()
			}
			return nil
		}
	}
}

// interval is the time to the next survey: the poll less up to a tenth, so that many hubs do
// not ask at once and none asks late.
func (d *Daemon) interval() time.Duration {
	d.mu.Lock()
	poll := d.config.Poll
	d.mu.Unlock()
	return poll - rand.N(poll/10+1)
}

// wait sleeps, or until the context ends.
func wait(ctx context.Context, t time.Duration) {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// survey asks once. again says that a peering was accepted: what becomes of it is to be seen soon.
func (d *Daemon) survey(ctx context.Context) (again bool, err error) {
	d.mu.Lock()
	policy := d.config.Policy
	d.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	topology, err := d.opts.Discoverer.Survey(limited, policy)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	d.mu.Lock()
	d.surveyErr = err
	if err == nil {
		d.topology, d.surveyed = topology, true
	}
	d.mu.Unlock()
	d.events.surveyed(err)
	if err != nil {
		return false, err
	}
	failpoint.Hit("survey.read")
	d.events.trouble("topology", "the topology cannot be saved", d.opts.Store.SaveTopology(ctx, topology))
	return d.accept(limited, policy, topology), nil
}

// accept accepts the pending requests of listed accounts. Observing and a pause of the routes write nothing.
func (d *Daemon) accept(ctx context.Context, policy hub.Policy, topology hub.Topology) bool {
	if d.opts.Accept == nil || d.mode() == hub.ModeObserve || slices.Contains(d.inForce().planes(), hub.PlaneVPCRoute) {
		return false
	}
	accepted, err := d.opts.Accept(ctx, policy, topology)
	for _, id := range accepted {
		d.opts.Log.Info().Str(keyPeering, string(id)).Msg("peering accepted")
	}
	d.mu.Lock()
	d.acceptErr = err
	d.mu.Unlock()
	d.events.trouble("accept", "a pending peering cannot be accepted", err)
	return len(accepted) > 0
}
