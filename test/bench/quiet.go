package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"peerhub/test/ec2sim"
	"peerhub/test/fabric"
	"peerhub/test/lab"
)

const quietPolls = 12 // of a whole hubd in which nothing changes

// window is what a hubd did in some polls in which nothing changed.
type window struct {
	spokes   int
	polls    int     // surveys that began
	writes   int     // to the kernel, as nft monitor and ip monitor tell
	mutating int     // API calls
	perPoll  float64 // API calls with the hub account's keys, median of the whole polls
}

// quiet is what a whole hubd does while nothing changes, with 3 spokes and with 20: kernel
// writes, mutating calls, and calls on the hub's side. Sabotage: in each poll a route of
// ours is deleted and hubd started again, so that it knows nothing.
func quiet(ctx context.Context, sabotage bool) ([]Result, error) {
	few, err := quietWindow(ctx, 3, sabotage)
	if err != nil {
		return nil, err
	}
	more, err := quietWindow(ctx, 20, sabotage)
	if err != nil {
		return nil, err
	}
	var results []Result
	for _, c := range []struct {
		what string
		of   func(window) int
	}{
		{"kernel writes", func(w window) int { return w.writes }},
		{"mutating API calls", func(w window) int { return w.mutating }},
	} {
		r := Result{Name: c.what + " of an idle hubd, 3 and 20 spokes", Bar: fmt.Sprintf("0 in %d polls each", quietPolls), Unit: "writes",
			Measured: float64(c.of(few) + c.of(more)), Samples: few.polls + more.polls,
			Note: fmt.Sprintf("%d with 3 spokes, %d with 20", c.of(few), c.of(more))}
		results = append(results, below(r, r.Measured, 0))
	}
	r := Result{Name: "hub-side API calls a poll, 20 spokes / 3", Bar: "<= 1: they do not grow with spokes", Unit: "calls",
		Measured: more.perPoll, Baseline: few.perPoll, Ratio: more.perPoll / few.perPoll, Samples: few.polls + more.polls}
	return append(results, below(r, r.Ratio, 1)), nil
}

// quietWindow watches a hubd for some polls, after it has done everything there is to do.
func quietWindow(ctx context.Context, spokes int, sabotage bool) (window, error) {
	w := window{spokes: spokes}
	err := withCompany(ctx, companyOptions{spokes: spokes, peered: true, poll: goodPoll}, func(c *company) error {
		if err := c.settled(ctx); err != nil {
			return err
		}
		var before []ec2sim.Request
		writes, err := countWrites(ctx, c.Spec.Prefix+lab.HostHub, func() error {
			if err := c.surveyed(ctx, 1); err != nil { // begin where a survey begins
				return err
			}
			before = c.requests()
			for range quietPolls {
				if sabotage {
					if err := c.disturb(ctx); err != nil {
						return err
					}
				}
				if err := c.surveyed(ctx, 1); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		w.writes = writes
		during := ofHubd(c.requests()[len(before):])
		w.polls = surveys(during)
		for _, r := range during {
			if r.Mutating {
				w.mutating++
			}
		}
		w.perPoll = callsPerPoll(during, c.Spec.HubAccount)
		return nil
	})
	return w, err
}

// callsPerPoll is the median of an account's calls from one listing of the peerings to the
// next. What comes before the first and after the last is part of a poll only.
func callsPerPoll(asked []ec2sim.Request, account string) float64 {
	var counts []float64
	n, begun := 0.0, false
	for _, r := range asked {
		if r.Account != account {
			continue
		}
		if r.Action == "DescribeVpcPeeringConnections" {
			if begun {
				counts = append(counts, n)
			}
			n, begun = 0, true
		}
		n++
	}
	return median(counts)
}

// ofHubd leaves out what was asked with an administrator's keys.
func ofHubd(asked []ec2sim.Request) []ec2sim.Request {
	return slices.DeleteFunc(asked, func(r ec2sim.Request) bool { return !strings.Contains(r.Principal, ":assumed-role/") })
}

// settledPolls is how many polls without a mutating call show that everything is done.
const settledPolls = 3

// settled waits until hubd has nothing left to do.
func (c *company) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		n := len(c.requests())
		if err := c.surveyed(ctx, settledPolls); err != nil {
			return err
		}
		calm := true
		for _, r := range c.requests()[n:] {
			calm = calm && !r.Mutating
		}
		if calm {
			return nil
		}
	}
}

// disturb takes a VPC route of ours and a kernel route of ours away, and what hubd knows.
func (c *company) disturb(ctx context.Context) error {
	lost := c.spokes[0].VPC.String()
	_, err := fabric.Exec(ctx, c.Spec.Prefix+lab.HostHub, "ip", "route", "del", lost, "table", "26741")
	err = errors.Join(err, c.Runner().Do(ctx, lab.Line{Where: c.Spec.HubAccount,
		Shell: fmt.Sprintf("aws ec2 delete-route --route-table-id %s --destination-cidr-block %s", c.Spec.ID("rtb", "hub-public"), lost)}))
	if err != nil {
		return fmt.Errorf("disturb hubd: %w", err)
	}
	return c.RestartUnit(ctx, lab.UnitHubd)
}
