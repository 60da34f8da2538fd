package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"peerhub/hub"
	"peerhub/test/fabric"
)

const (
	flushCalm   = 150 * time.Millisecond // of undisturbed traffic before a flush, and after the repair
	flushTimer  = 5 * time.Second        // what a program without notifications may look at the kernel
	flushRounds = rounds
)

// flushed is what one foreign flush did.
type flushed struct {
	gap  time.Duration // the longest time in which no new flow got through
	calm time.Duration // the same before the flush: this machine's own hiccups
	lost int           // packets of the running UDP flow without an answer
	dead []string      // running flows that did not live on
}

// flush is a foreign `nft flush ruleset` under traffic: a download over TCP, a UDP flow,
// and new flows one after the other. The plane is watched and repaired as hubd does it.
// Sabotage: nobody watches, a timer of 5 s repairs; the table is not owned in persist
// mode; and the second table, which keeps established flows, goes too.
func flush(ctx context.Context, sabotage bool) ([]Result, error) {
	var results []Result
	for _, c := range []struct {
		own      hub.Ownership
		prefixes int
		limit    float64 // ms
	}{
		{hub.OwnershipPersist, 500, 0},
		{hub.OwnershipPlain, 500, 50},
		{hub.OwnershipPlain, many, 300},
	} {
		own := c.own
		if sabotage {
			own = hub.OwnershipPlain
		}
		seen, err := flushes(ctx, own, c.prefixes, sabotage)
		if err != nil {
			return nil, err
		}
		var gaps, calm []float64
		lost, dead := 0, []string{}
		for _, f := range seen {
			gaps = append(gaps, float64(f.gap.Microseconds())/1000)
			calm = append(calm, float64(f.calm.Microseconds())/1000)
			lost += f.lost
			dead = append(dead, f.dead...)
		}
		if c.own == hub.OwnershipPersist {
			r := Result{Name: "flush, persist: lost packets of a running flow", Bar: "0", Unit: "packets", Measured: float64(lost), Samples: len(seen),
				Note: fmt.Sprintf("new flows wait %.1f ms at most, without a flush %.1f ms", quantile(gaps, 1), quantile(calm, 1))}
			results = append(results, below(r, r.Measured, 0))
			continue
		}
		r := Result{Name: fmt.Sprintf("flush, plain, %d prefixes: flows that died", c.prefixes), Bar: "0 of a TCP download and a UDP flow in each round",
			Unit: "flows", Measured: float64(len(dead)), Samples: 2 * len(seen)}
		if len(dead) > 0 {
			r.Note = "the first: " + dead[0]
		}
		results = append(results, below(r, r.Measured, 0))
		g := Result{Name: fmt.Sprintf("flush, plain, %d prefixes: new flows wait", c.prefixes), Bar: fmt.Sprintf("<= %.0f ms", c.limit),
			Unit: "ms", Measured: median(gaps), Spread: spread(gaps), Samples: len(gaps),
			Note: fmt.Sprintf("the longest %.1f ms; without a flush, median %.1f ms and longest %.1f ms", quantile(gaps, 1), median(calm), quantile(calm, 1))}
		results = append(results, below(g, g.Measured, c.limit))
	}
	return results, nil
}

// flushes makes one rig and flushes its hub several times.
func flushes(ctx context.Context, own hub.Ownership, prefixes int, sabotage bool) (out []flushed, err error) {
	err = withRig(ctx, func(r *rig) error {
		if err := r.planes(ctx, prefixes, own); err != nil {
			return err
		}
		if _, err := r.pass(ctx); err != nil {
			return err
		}
		n := flushRounds
		if sabotage {
			n = 2 // of 5 s each
		} else {
			stop := r.repairs(ctx)
			defer stop()
		}
		t := &traffic{rig: r, to: target(prefixes)}
		for range n {
			f, err := t.flushOnce(ctx, sabotage)
			if err != nil {
				return err
			}
			out = append(out, f)
		}
		return nil
	})
	return out, err
}

// repairs watches the nftables plane and repairs it, until the returned function is called.
func (r *rig) repairs(ctx context.Context) func() {
	ctx, cancel := context.WithCancel(ctx)
	hit, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		_ = r.masq.Watch(ctx, func() {
			select {
			case hit <- struct{}{}:
			default:
			}
		})
	}()
	go func() {
		defer close(done)
		for {
			select {
			case <-hit:
				_ = r.loop.Repair(ctx, hub.PlaneMasq) // what it could not mend shows in the traffic
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-done }
}

// flushOnce starts traffic, lets somebody flush, waits until new flows get through again
// and tells what happened.
func (t *traffic) flushOnce(ctx context.Context, sabotage bool) (f flushed, err error) {
	if err := t.start(ctx); err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	if err := t.flowing(ctx, flushCalm); err != nil {
		return f, err
	}
	f.calm = t.gap(time.Time{})
	began := time.Now()
	if sabotage {
		if err := t.rig.masq.Cleanup(ctx); err != nil {
			return f, err
		}
		timer := time.NewTimer(flushTimer)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return f, ctx.Err()
		}
		if rep := t.rig.loop.Repair(ctx, hub.PlaneMasq); rep.Error != "" {
			return f, fmt.Errorf("repair: %s", rep.Error)
		}
	} else if _, err := fabric.Exec(ctx, t.rig.hub, "nft", "flush", "ruleset"); err != nil {
		return f, err
	}
	if err := t.flowing(ctx, flushCalm); err != nil {
		return f, err
	}
	f.gap, f.lost = t.gap(began), int(t.lost.Load())
	f.dead = t.dead(ctx)
	return f, nil
}
