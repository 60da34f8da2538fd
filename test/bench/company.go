package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"peerhub/test/ec2sim"
	"peerhub/test/lab"
)

// company is a lab with a real hubd and OpenVPN, and services in accounts of their own.
type company struct {
	*lab.Lab
	spokes []lab.Service

	mu    sync.Mutex
	asked []ec2sim.Request
	more  chan struct{} // closed at the next request
}

// companyOptions say what differs from the lab's own ways.
type companyOptions struct {
	spokes   int
	peered   bool // the spokes are peered from the start
	throttle bool // AWS's token buckets
	poll     time.Duration
	status   string // a status file that hubd reads instead of OpenVPN's socket
}

// hubdBinary is what `make build` makes.
const hubdBinary = "bin/hubd"

// companyPrefix is that of the names of the namespaces. It is always the same, so that a
// new bench removes what a killed one left.
const companyPrefix = "bench-"

// companyPatience is how long a lab of 125 services may take to come up.
const companyPatience = 3 * time.Minute

// withCompany runs f in a lab that is removed afterwards.
func withCompany(ctx context.Context, o companyOptions, f func(*company) error) (err error) {
	hubd, err := filepath.Abs(hubdBinary)
	if err != nil {
		return fmt.Errorf("find hubd: %w", err)
	}
	spec := lab.DefaultSpec()
	spec.Prefix, spec.Services = companyPrefix, services(o)
	start, cancel := context.WithTimeout(ctx, companyPatience)
	defer cancel()
	l, err := lab.Start(start, spec, lab.Options{Hubd: hubd, Sim: ec2sim.Options{Throttle: o.throttle}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	c := &company{Lab: l, spokes: spec.Services, more: make(chan struct{})}
	l.Sim.OnRequest(c.hear)
	if err := c.configure(start, o); err != nil {
		return err
	}
	return f(c)
}

// services are spokes of one /20 each, all inside the aggregate that clients have.
func services(o companyOptions) []lab.Service {
	out := make([]lab.Service, o.spokes)
	for i := range out {
		a := uint32(10)<<24 | uint32(101)<<16 + uint32(i)<<12
		out[i] = lab.Service{
			Host: fmt.Sprintf("spoke%d", i+1), Account: fmt.Sprintf("%012d", 600000000001+i), Peering: lab.PeeringNone,
			VPC: netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), 20),
		}
		if o.peered {
			out[i].Peering = lab.PeeringActive
		}
	}
	return out
}

var (
	pollLine   = regexp.MustCompile(`(?m)^poll: .*$`)
	statusLine = regexp.MustCompile(`(?m)^    status: .*$`)
)

// configure changes what hubd's config says and starts hubd again with it.
func (c *company) configure(ctx context.Context, o companyOptions) error {
	path := filepath.Join(c.HubdDir(), "hubd.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read hubd's config: %w", err)
	}
	text = pollLine.ReplaceAllLiteral(text, fmt.Appendf(nil, "poll: %s", o.poll))
	if o.status != "" {
		text = statusLine.ReplaceAllLiteral(text, fmt.Appendf(nil, "    status: %s", o.status))
	}
	if err := os.WriteFile(path, text, 0o640); err != nil {
		return fmt.Errorf("write hubd's config: %w", err)
	}
	return c.RestartUnit(ctx, lab.UnitHubd)
}

// requests lists what hubd asked AWS since it was started, the oldest first.
func (c *company) requests() []ec2sim.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

// hear keeps a request and wakes who waits for one.
func (c *company) hear(r ec2sim.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, r)
	close(c.more)
	c.more = make(chan struct{})
}

// surveys counts hubd's lists of peerings: one begins each survey.
func surveys(asked []ec2sim.Request) int {
	n := 0
	for _, r := range asked {
		if r.Action == "DescribeVpcPeeringConnections" && r.Params.Get("NextToken") == "" && r.Code == "" {
			n++
		}
	}
	return n
}

// surveyed waits until hubd has got n more lists of peerings. Whatever happens right after
// one has to wait for a whole interval, which is the worst moment.
func (c *company) surveyed(ctx context.Context, n int) error {
	goal := surveys(c.requests()) + n
	for {
		c.mu.Lock()
		now, more := surveys(c.asked), c.more
		c.mu.Unlock()
		if now >= goal {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("wait for a survey of hubd: %w", ctx.Err())
		}
	}
}
