package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"peerhub/test/ec2sim"
	"peerhub/test/fabric"
	"peerhub/test/lab"
)

const (
	goodPoll     = time.Second // of hubd, and what the bar is computed with
	sabotagePoll = 4 * goodPoll
	arrivalSlack = 100 * time.Millisecond
)

// arrival is the time from a peering that becomes active in the API to the first packet
// that a connected client gets answered from there. One and ten at once are made right
// after hubd has listed the peerings, so that each waits for a whole interval; 125 at once
// have AWS's token buckets on. Sabotage: hubd polls four times more slowly.
func arrival(ctx context.Context, sabotage bool) ([]Result, error) {
	o, turns := companyOptions{throttle: true, poll: goodPoll}, rounds
	if sabotage {
		o.poll, turns = sabotagePoll, 3 // it takes long, and three times show it
	}
	var results []Result
	o.spokes = turns + 10*turns
	err := withCompany(ctx, o, func(c *company) error {
		rest := c.spokes
		for _, atOnce := range []int{1, 10} {
			var all, last []float64
			for range turns {
				took, err := c.arrivals(ctx, rest[:atOnce], 5*time.Millisecond)
				if err != nil {
					return err
				}
				rest = rest[atOnce:]
				all, last = append(all, took...), append(last, slices.Max(took))
			}
			limit := goodPoll + arrivalSlack
			r := Result{Name: fmt.Sprintf("peering active -> first packet, %d at once", atOnce), Unit: "s",
				Bar:      fmt.Sprintf("the last of them within poll (%s) + %s", goodPoll, arrivalSlack),
				Measured: median(last), Spread: spread(last), Samples: len(last),
				Note: fmt.Sprintf("median of all %d spokes %.3f s, slowest of all %.3f s; always the worst moment, right after a survey",
					len(all), median(all), slices.Max(all))}
			results = append(results, below(r, r.Measured, limit.Seconds()))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	o.spokes = 125
	err = withCompany(ctx, o, func(c *company) error {
		r, err := c.flood(ctx)
		results = append(results, r)
		return err
	})
	return results, err
}

// flood makes all peerings at once. AWS grants 50 routes to a hub's table at once and five
// a second from then on, so the k-th spoke may be that late.
func (c *company) flood(ctx context.Context) (Result, error) {
	seconds, err := c.arrivals(ctx, c.spokes, 25*time.Millisecond)
	if err != nil {
		return Result{}, err
	}
	slices.Sort(seconds)
	worst, at, missed := -1e9, 0, 0
	for i, s := range seconds {
		late := s - (goodPoll.Seconds() + float64(max(0, i+1-50))/5 + 1)
		if late > worst {
			worst, at = late, i+1
		}
		if late > 0 {
			missed++
		}
	}
	throttled := map[string]int{}
	for _, r := range c.requests() {
		if r.Code == "RequestLimitExceeded" {
			throttled[r.Action]++
		}
	}
	r := Result{Name: "peering active -> first packet, 125 at once", Unit: "s",
		Bar:      "the k-th within poll (1s) + max(0, k-50)/5 s + 1 s, no throttling error",
		Measured: seconds[len(seconds)-1], Samples: len(seconds), OK: missed == 0 && len(throttled) == 0,
		Note: fmt.Sprintf("the last of them measured; nearest to its limit: number %d, by %.2f s; %d too late; throttled: %v; number 1 after %.2f s, number 50 after %.2f s",
			at, -worst, missed, strings.TrimPrefix(fmt.Sprint(throttled), "map"), seconds[0], seconds[min(49, len(seconds)-1)])}
	return r, nil
}

// arrivalPatience is how long the last of the spokes may take before the bench gives up.
const arrivalPatience = 2 * time.Minute

// arrivals makes the peerings of spokes at once and returns the seconds until each has
// answered laptop1.
func (c *company) arrivals(ctx context.Context, spokes []lab.Service, every time.Duration) ([]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, arrivalPatience)
	defer cancel()
	p, err := newProber(c.Spec.Prefix+lab.HostLaptop1, spokes)
	if err != nil {
		return nil, err
	}
	defer p.close()
	// The client is connected and has the route; nothing but the peerings is missing.
	if n := len(p.answers()); n > 0 {
		return nil, fmt.Errorf("%d spokes answered before their peering was made", n)
	}
	if err := c.surveyed(ctx, 1); err != nil {
		return nil, err
	}
	began := map[netip.Addr]time.Time{}
	for _, s := range spokes {
		began[s.Address()] = time.Now()
		if _, err := c.Sim.AddPeering(ec2sim.PeeringSpec{ID: c.Spec.ID("pcx", s.Host), Requester: c.Spec.ID("vpc", lab.HostHub),
			Accepter: c.Spec.ID("vpc", s.Host)}); err != nil {
			return nil, fmt.Errorf("peer %s: %w", s.Host, err)
		}
	}
	answered, err := p.run(ctx, every)
	if err != nil {
		return nil, err
	}
	var out []float64
	for a, t := range answered {
		out = append(out, t.Sub(began[a]).Seconds())
	}
	return out, nil
}

// prober sends datagrams from one socket of a client to hosts until each has answered.
type prober struct {
	conn    net.PacketConn
	targets []netip.Addr
	done    chan struct{} // closed when the reader has ended
	all     chan struct{} // closed when everybody has answered

	mu   sync.Mutex
	seen map[netip.Addr]time.Time
}

func newProber(ns string, spokes []lab.Service) (*prober, error) {
	p := &prober{seen: map[netip.Addr]time.Time{}, done: make(chan struct{}), all: make(chan struct{})}
	for _, s := range spokes {
		p.targets = append(p.targets, s.Address())
	}
	err := fabric.InNS(ns, func() (err error) {
		p.conn, err = net.ListenPacket("udp4", ":0")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a socket in %s: %w", ns, err)
	}
	go p.read()
	return p, nil
}

func (p *prober) read() {
	defer close(p.done)
	buf := make([]byte, 256)
	for {
		_, from, err := p.conn.ReadFrom(buf)
		if err != nil {
			return // closed
		}
		now, a := time.Now(), from.(*net.UDPAddr).AddrPort().Addr().Unmap()
		p.mu.Lock()
		if _, known := p.seen[a]; !known {
			p.seen[a] = now
			if len(p.seen) == len(p.targets) {
				close(p.all)
			}
		}
		p.mu.Unlock()
	}
}

// answers are the times of the first answers so far.
func (p *prober) answers() map[netip.Addr]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[netip.Addr]time.Time{}
	for a, t := range p.seen {
		out[a] = t
	}
	return out
}

// run sends to everybody who has not answered yet, again and again.
func (p *prober) run(ctx context.Context, every time.Duration) (map[netip.Addr]time.Time, error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		seen := p.answers()
		for _, t := range p.targets {
			if _, known := seen[t]; !known {
				// What is refused on the way is what we wait out.
				_, _ = p.conn.WriteTo([]byte("bench\n"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(t, echoPort)))
			}
		}
		select {
		case <-p.all:
			return p.answers(), nil
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d spokes have not answered: %w", len(p.targets)-len(seen), len(p.targets), ctx.Err())
		case <-tick.C:
		}
	}
}

func (p *prober) close() {
	_ = p.conn.Close()
	<-p.done
}
