package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"peerhub/hub"

	"golang.org/x/sys/unix"
)

const many = 10_000 // prefixes

// fullSync is 10,000 prefixes from nothing to complete, observing and planning included,
// in the two kernel planes. Sabotage: one change an Apply, as a program without batches.
func fullSync(ctx context.Context, sabotage bool) ([]Result, error) {
	const limit = 120.0
	var ms, used []float64
	for range rounds {
		err := withRig(ctx, func(r *rig) error {
			if err := r.planes(ctx, many, hub.OwnershipPlain); err != nil {
				return err
			}
			want, _, _ := hub.Decide(r.in.Policy, r.in.Topology, hub.Remembered{})
			runtime.GC() // of what the bench itself has left lying about
			start, before := time.Now(), cpu()
			planes := []hub.Plane{r.kroute, r.masq}
			for _, p := range planes {
				if err := bring(ctx, p, want, sabotage); err != nil {
					return err
				}
			}
			ms, used = append(ms, milliseconds(time.Since(start))), append(used, milliseconds(cpu()-before))
			for _, p := range planes {
				if err := complete(ctx, p, want); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if sabotage {
			break // it takes long, and once shows it
		}
	}
	r := Result{Name: "full sync of 10,000 prefixes", Bar: "<= 120 ms in kroute and masq together", Unit: "ms",
		Measured: median(ms), Spread: spread(ms), Samples: len(ms), Note: fmt.Sprintf("processor time %.0f ms", median(used))}
	return []Result{below(r, r.Measured, limit).unlessBusy(median(used), limit)}, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// complete checks that a plane has all that is wanted.
func complete(ctx context.Context, p hub.Plane, want hub.Desired) error {
	view, err := p.Observe(ctx)
	if err != nil {
		return err
	}
	if left := view.Plan(want); len(left) > 0 {
		return fmt.Errorf("%s still wants %d changes, the first: %+v", p.Name(), len(left), left[0])
	}
	return nil
}

// bring makes a plane have what is wanted.
func bring(ctx context.Context, p hub.Plane, want hub.Desired, oneByOne bool) error {
	view, err := p.Observe(ctx)
	if err != nil {
		return err
	}
	changes := view.Plan(want)
	if oneByOne {
		tables := func(c hub.Change) int { // they hold the rest
			if strings.HasPrefix(c.Object, "table ") {
				return 0
			}
			return 1
		}
		slices.SortStableFunc(changes, func(a, b hub.Change) int { return tables(a) - tables(b) })
		for _, c := range changes {
			if view, err = p.Apply(ctx, view, []hub.Change{c}); err != nil {
				return err
			}
		}
		return nil
	}
	_, err = p.Apply(ctx, view, changes)
	return err
}

// oneChange adds and removes one prefix while 10,000 stand. Sabotage: the planes start
// from nothing for each change, as a program that rewrites its ruleset.
func oneChange(ctx context.Context, sabotage bool) ([]Result, error) {
	const limit = 1.0
	var apply, used, plan []float64
	err := withRig(ctx, func(r *rig) error {
		if err := r.planes(ctx, many+1, hub.OwnershipPlain); err != nil {
			return err
		}
		more, _, mem := hub.Decide(r.in.Policy, r.in.Topology, hub.Remembered{})
		fewer, _, _ := hub.Decide(r.in.Policy, topology(many), mem)
		planes := []hub.Plane{r.kroute, r.masq}
		watch, stop := context.WithCancel(ctx)
		defer stop()
		for _, p := range planes {
			if err := errors.Join(bring(ctx, p, more, false), complete(ctx, p, more)); err != nil {
				return err
			}
			go func() { _ = p.Watch(watch, func() {}) }() // as hubd does: who watches need not read everything again
		}
		samples := 400
		if sabotage {
			samples = 3
		}
		for i := range samples {
			want := fewer
			if i%2 == 1 {
				want = more
			}
			var applied, planned, spent time.Duration
			for _, p := range planes {
				if sabotage {
					if err := r.forget(ctx, p); err != nil {
						return err
					}
				}
				view, err := p.Observe(ctx)
				if err != nil {
					return err
				}
				start := time.Now()
				changes := view.Plan(want)
				planned += time.Since(start)
				start, before := time.Now(), cpu()
				if _, err = p.Apply(ctx, view, changes); err != nil {
					return err
				}
				applied += time.Since(start)
				spent += cpu() - before
			}
			apply, used, plan = append(apply, milliseconds(applied)), append(used, milliseconds(spent)), append(plan, milliseconds(planned))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := Result{Name: "one change among 10,000 prefixes, p99", Bar: "<= 1 ms of writing in kroute and masq together", Unit: "ms",
		Measured: quantile(apply, 0.99), Spread: spread(apply), Samples: len(apply),
		Note: fmt.Sprintf("p50 %.3f ms; processor time p50 %.3f ms, p99 %.3f ms; comparing 10,000 wanted and present things before it: p50 %.1f ms",
			median(apply), median(used), quantile(used, 0.99), median(plan))}
	return []Result{below(r, r.Measured, limit).unlessBusy(quantile(used, 0.99), limit)}, nil
}

// forget empties a plane's place.
func (r *rig) forget(ctx context.Context, p hub.Plane) error {
	if p.Name() == hub.PlaneMasq {
		return r.masq.Cleanup(ctx)
	}
	return r.kroute.Cleanup(ctx)
}

// idle is the CPU that the kernel planes take when nothing changed, at 125 spokes with 4
// prefixes each. Sabotage: what the planes know is thrown away each time.
func idle(ctx context.Context, sabotage bool) ([]Result, error) {
	const limit, spokes = 1.0, 500
	var ms []float64
	err := withRig(ctx, func(r *rig) error {
		if err := r.planes(ctx, spokes, hub.OwnershipPlain); err != nil {
			return err
		}
		want, _, _ := hub.Decide(r.in.Policy, r.in.Topology, hub.Remembered{})
		planes := []hub.Plane{r.kroute, r.masq}
		watch, stop := context.WithCancel(ctx)
		defer stop()
		for _, p := range planes {
			if err := bring(ctx, p, want, false); err != nil {
				return err
			}
			go func() { _ = p.Watch(watch, func() {}) }()
		}
		writes, err := countWrites(ctx, r.hub, func() error {
			for range 200 {
				start := cpu()
				for _, p := range planes {
					if sabotage {
						if err := r.forget(ctx, p); err != nil {
							return err
						}
					}
					if err := bring(ctx, p, want, false); err != nil {
						return err
					}
				}
				ms = append(ms, milliseconds(cpu()-start))
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !sabotage && writes > 0 {
			return fmt.Errorf("200 idle passes wrote %d times to the kernel", writes)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := Result{Name: "idle pass of the kernel planes, 500 prefixes", Bar: "< 1 ms CPU and 0 kernel writes (nft monitor, ip monitor)", Unit: "ms",
		Measured: median(ms), Spread: spread(ms), Samples: len(ms)}
	return []Result{below(r, r.Measured, limit)}, nil
}

// cpu is what this process has used of the processor, kernel time included.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
