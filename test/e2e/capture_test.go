package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// capture is tcpdump on an interface of the hub.
type capture struct {
	mu   sync.Mutex
	text strings.Builder
	stop func()
}

func (c *capture) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(b)
}

func (c *capture) lines() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Split(c.text.String(), "\n")
}

// capture starts tcpdump on the hub's interface toward its VPC, without what OpenVPN
// sends and receives there; it listens when this returns.
func (r *rig) capture() *capture { return r.captureOf("not udp port 1194") }

// captureOf is capture with a filter of its own.
func (r *rig) captureOf(filter string) *capture {
	r.t.Helper()
	c := &capture{}
	ctx, cancel := context.WithCancel(r.t.Context())
	cmd := fabric.Command(ctx, r.ns(lab.HostHub), "tcpdump", "-n", "-l", "--immediate-mode", "-i", r.Spec.HubInterface, filter)
	cmd.Stdout, cmd.Stderr = c, c
	r.must(cmd.Start())
	c.stop = func() { cancel(); _ = cmd.Wait() } // it was killed: no news
	r.t.Cleanup(c.stop)
	eventually(r.t, "tcpdump listens", func() error {
		if !slices.ContainsFunc(c.lines(), func(l string) bool { return strings.HasPrefix(l, "listening on") }) {
			return fmt.Errorf("it said %q", c.lines())
		}
		return nil
	})
	return c
}

// from lists the packets from any of these beginnings of addresses, all that left
// until now: a ping of the hub's own, sent last, must be in the capture.
func (c *capture) from(r *rig, beginnings ...string) []string {
	r.t.Helper()
	mark := len(c.lines())
	eventually(r.t, "tcpdump shows the hub's own ping", func() error {
		r.try(lab.HostHub, "ping", "-c1", "-W1", r.addr(lab.HostInfra))
		if !slices.ContainsFunc(c.lines()[mark-1:], func(l string) bool { return strings.Contains(l, "> "+r.addr(lab.HostInfra)+": ICMP echo request") }) {
			return fmt.Errorf("not seen")
		}
		return nil
	})
	var out []string
	for _, l := range c.lines() {
		for _, b := range beginnings {
			if strings.Contains(l, " IP "+b) || strings.Contains(l, " IP6 "+b) {
				out = append(out, l)
			}
		}
	}
	return out
}
