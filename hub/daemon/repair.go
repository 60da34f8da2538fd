package daemon

import (
	"context"
	"time"

	"peerhub/hub"
	"peerhub/hub/failpoint"
)

// Repairs of one plane. The first is made at once; when somebody goes on undoing them the
// pauses between them double, so that a fight costs little.
const (
	repairGap    = 20 * time.Millisecond
	repairMaxGap = 5 * time.Second
	repairQuiet  = 10 * time.Second // without a repair, after which the fight is over
	watchRetry   = time.Second      // after a watch that broke
	// restShare is how many times its time a look at a plane is rested after: others may change
	// for hours what is not ours, as a routing daemon does, and looking costs a fifth of that at most.
	restShare = 4
)

// watch repairs a plane whenever somebody else wrote to it.
func (d *Daemon) watch(ctx context.Context, p hub.Plane) error {
	hit := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.keepWatching(ctx, p, func() { signal(hit) })
	}()
	defer func() { <-done }()
	var gap time.Duration
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hit:
		}
		if time.Since(last) > repairQuiet {
			gap = 0
		}
		if rest := time.Until(last.Add(gap)); rest > 0 {
			wait(ctx, rest)
		}
		if ctx.Err() != nil {
			return nil
		}
		began := time.Now()
		if !d.repair(ctx, p.Name()) {
			if rest := restShare * time.Since(began); rest > 0 {
				wait(ctx, rest)
			}
			continue
		}
		last = time.Now()
		gap = min(max(2*gap, repairGap), repairMaxGap)
	}
}

// keepWatching starts a watch again when it breaks; what happened in between is unknown, so it counts as a hit.
func (d *Daemon) keepWatching(ctx context.Context, p hub.Plane, hit func()) {
	for ctx.Err() == nil {
		err := p.Watch(ctx, hit)
		if ctx.Err() != nil {
			return
		}
		d.events.trouble("watch "+string(p.Name()), "a plane cannot be watched, passes repair it", err)
		wait(ctx, watchRetry)
		hit()
	}
}

// repair brings one plane back to the last want, and reports whether there was something to do.
// What it could not do is left to a pass.
func (d *Daemon) repair(ctx context.Context, name hub.PlaneName) bool {
	if d.mode() == hub.ModeObserve {
		return false // also while a sync makes its one pass
	}
	limited, cancel := context.WithTimeout(ctx, passTime)
	defer cancel()
	failpoint.Hit("repair.begin")
	began := time.Now()
	rep := d.rec.Repair(limited, name)
	if ctx.Err() != nil {
		return false
	}
	d.events.repaired(rep)
	d.metrics.repaired(rep)
	d.keepRepair(ctx, hub.Report{Started: began, Took: time.Since(began), Mode: d.mode()}, rep)
	if len(rep.Applied) > 0 || rep.Error != "" || len(rep.Pending) > 0 {
		d.pokeFor(because(hub.TriggerRepair)) // the report of the next pass tells how things are
	}
	return len(rep.Applied) > 0
}
