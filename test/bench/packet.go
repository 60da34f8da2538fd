package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"runtime"
	"time"

	"peerhub/hub"
	"peerhub/test/fabric"

	"golang.org/x/sys/unix"
)

const echoPort = 7

var sinkCount = regexp.MustCompile(`packets (\d+)`)

// echo answers datagrams to one address of the namespace until the context ends, on a thread of its own
// with plain system calls: Go's poller would be measured too.
func echo(ctx context.Context, ns string, at netip.Addr) error {
	ready := make(chan error, 1)
	go func() {
		err := fabric.InNS(ns, func() error {
			fd, err := udp(at, echoPort)
			ready <- err
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			buf := make([]byte, 2048)
			for ctx.Err() == nil {
				n, from, err := unix.Recvfrom(fd, buf, 0)
				if err != nil {
					continue // the timeout of the socket: is it time to end?
				}
				_ = unix.Sendto(fd, buf[:n], 0, from)
			}
			return nil
		})
		if err != nil {
			select {
			case ready <- err:
			default:
			}
		}
	}()
	return <-ready
}

// udp opens a blocking socket with a timeout of 300 ms, bound to an address and a port (0: any).
func udp(at netip.Addr, port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open a socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 300_000}),
		unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: at.As4()}))
	if err != nil {
		return -1, errors.Join(fmt.Errorf("prepare a socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// firstPackets sends the first packet of n new flows to a target, one after the other, and
// returns the round trips in microseconds.
func firstPackets(ns string, to netip.Addr, n int) ([]float64, error) {
	var out []float64
	err := fabric.InNS(ns, func() error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		dst := &unix.SockaddrInet4{Port: echoPort, Addr: to.As4()}
		buf := make([]byte, 64)
		for range n {
			fd, err := udp(netip.IPv4Unspecified(), 0)
			if err != nil {
				return err
			}
			start := time.Now()
			err = unix.Sendto(fd, buf, 0, dst)
			if err == nil {
				_, _, err = unix.Recvfrom(fd, buf, 0)
			}
			took := time.Since(start)
			if err := errors.Join(err, unix.Close(fd)); err != nil {
				return fmt.Errorf("first packet to %s: %w", to, err)
			}
			out = append(out, float64(took.Nanoseconds())/1000)
		}
		return nil
	})
	return out, err
}

// latency compares the first packet's p99 with 10,000 prefixes and with one. The same rig
// is measured twice (A/A) to know this machine's own spread; the recipe with one iptables
// rule for each prefix stands beside. Sabotage: that recipe is measured instead of ours.
func latency(ctx context.Context, sabotage bool) ([]Result, error) {
	const limit, flows = 1.10, 500
	var results []Result
	err := withRig(ctx, func(one *rig) error {
		return withRig(ctx, func(all *rig) error {
			return withRig(ctx, func(linear *rig) error {
				ctx, stop := context.WithCancel(ctx)
				defer stop()
				if err := errors.Join(one.planes(ctx, 1, hub.OwnershipPlain), all.planes(ctx, many, hub.OwnershipPlain), linear.onePerSpoke(ctx, many)); err != nil {
					return err
				}
				for _, r := range []*rig{one, all} {
					if _, err := r.pass(ctx); err != nil {
						return err
					}
				}
				type contender struct {
					rig *rig
					to  netip.Addr
					p99 []float64
				}
				a, again := &contender{rig: one, to: target(1)}, &contender{rig: one, to: target(1)}
				b, c := &contender{rig: all, to: target(many)}, &contender{rig: linear, to: target(many)}
				for _, x := range []*contender{a, b, c} {
					if err := echo(ctx, x.rig.beyond, x.to); err != nil {
						return err
					}
				}
				for range rounds {
					for _, x := range []*contender{a, b, c, again} {
						us, err := firstPackets(x.rig.client, x.to, flows)
						if err != nil {
							return err
						}
						x.p99 = append(x.p99, quantile(us, 0.99))
					}
				}
				measured, name := b, "first packet p99, 10,000 prefixes / one"
				if sabotage {
					measured = c
				}
				ratio, aa := ratios(measured.p99, a.p99), ratios(again.p99, a.p99)
				r := Result{Name: name, Bar: "within 10 % of one prefix, or within the A/A spread", Unit: "us",
					Measured: median(measured.p99), Spread: spread(measured.p99), Baseline: median(a.p99), Ratio: median(ratio), Samples: rounds * flows,
					Note: fmt.Sprintf("A/A ratio %.2f, its spread %.2f; one iptables rule for each prefix: p99 %.0f us", median(aa), spread(aa), median(c.p99))}
				const tooNoisy = 0.3 // then the A/A spread excuses nothing
				r.OK = r.Ratio <= limit || spread(aa) < tooNoisy && r.Ratio <= 1+spread(aa)
				if !r.OK && spread(aa) >= tooNoisy {
					r.Note = join(r.Note, "not resolved: this machine differs from itself by more")
				}
				results = append(results, r)
				return nil
			})
		})
	})
	return results, err
}

// perPacket compares the time a packet takes through the hub, veth to veth, with two rules
// by hand. One thread sends datagrams of 64 bytes in an established flow; veth carries a
// packet to its end on the sender's processor, so wall time a packet is its whole cost.
// Sabotage: 200 more rules stand in the way of every packet.
func perPacket(ctx context.Context, sabotage bool) ([]Result, error) {
	const limit, packets = 1.10, 60_000
	var results []Result
	err := withRig(ctx, func(hand *rig) error {
		return withRig(ctx, func(one *rig) error {
			return withRig(ctx, func(all *rig) error {
				if err := errors.Join(hand.byHand(ctx), one.planes(ctx, 1, hub.OwnershipPlain), all.planes(ctx, many, hub.OwnershipPlain)); err != nil {
					return err
				}
				for _, r := range []*rig{one, all} {
					if _, err := r.pass(ctx); err != nil {
						return err
					}
					if sabotage {
						if err := r.obstruct(ctx, 200); err != nil {
							return err
						}
					}
				}
				us := map[*rig][]float64{}
				for range rounds {
					for _, r := range []*rig{hand, one, all} {
						to := target(many)
						if r == one {
							to = target(1)
						}
						took, err := blast(ctx, r, to, packets)
						if err != nil {
							return err
						}
						us[r] = append(us[r], took)
					}
				}
				for _, c := range []struct {
					name string
					r    *rig
				}{{"CPU a packet, 1 prefix / two rules by hand", one}, {"CPU a packet, 10,000 prefixes / two rules by hand", all}} {
					ratio := ratios(us[c.r], us[hand])
					r := Result{Name: c.name, Bar: "<= 1.10, flat from 1 to 10,000", Unit: "us", Measured: median(us[c.r]), Spread: spread(ratio),
						Baseline: median(us[hand]), Ratio: median(ratio), Samples: rounds * packets}
					results = append(results, below(r, r.Ratio, limit))
				}
				return nil
			})
		})
	})
	return results, err
}

// obstruct adds rules that every forwarded packet walks through.
func (r *rig) obstruct(ctx context.Context, rules int) error {
	_, err := fabric.Exec(ctx, r.hub, "sh", "-ec", fmt.Sprintf(`for i in $(seq %d); do echo "-A FORWARD -s 198.18.0.0/32 -j ACCEPT"; done |
		{ echo '*filter'; cat; echo COMMIT; } | iptables-restore -n`, rules))
	return err
}

// blast sends packets in one flow and returns microseconds a packet. The far side drops
// them before a socket sees them, the same in every rig; they are counted to show that
// they came through.
func blast(ctx context.Context, r *rig, to netip.Addr, packets int) (float64, error) {
	if _, err := fabric.Exec(ctx, r.beyond, "sh", "-ec", `nft list table ip sink >/dev/null 2>&1 || nft -f - <<'X'
table ip sink {
	counter got { }
	chain c {
		type filter hook prerouting priority -300
		udp dport 9999 counter name got drop
	}
}
X
nft reset counter ip sink got >/dev/null`); err != nil {
		return 0, err
	}
	var took time.Duration
	err := fabric.InNS(r.client, func() error {
		fd, err := udp(netip.IPv4Unspecified(), 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		dst := &unix.SockaddrInet4{Port: 9999, Addr: to.As4()}
		if err := unix.Connect(fd, dst); err != nil {
			return fmt.Errorf("connect to %s: %w", to, err)
		}
		buf := make([]byte, 22) // 64 bytes on the wire
		for range 1000 {        // the flow is known and everything is warm
			_, _ = unix.Write(fd, buf)
		}
		start := time.Now()
		for range packets {
			if _, err := unix.Write(fd, buf); err != nil {
				return fmt.Errorf("send to %s: %w", to, err)
			}
		}
		took = time.Since(start)
		return nil
	})
	if err != nil {
		return 0, err
	}
	out, err := fabric.Exec(ctx, r.beyond, "nft", "list", "counter", "ip", "sink", "got")
	if err != nil {
		return 0, err
	}
	var got int
	if m := sinkCount.FindStringSubmatch(out); m != nil {
		_, _ = fmt.Sscan(m[1], &got)
	}
	if got < packets {
		return 0, fmt.Errorf("only %d of %d packets came through the hub", got, packets)
	}
	return float64(took.Nanoseconds()) / 1000 / float64(packets), nil
}
