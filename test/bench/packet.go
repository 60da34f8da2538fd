package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"peerhub/hub"
	"peerhub/test/fabric"

	"golang.org/x/sys/unix"
)

const (
	echoPort  = 7
	blastPort = 9999
	blastSize = 22 // bytes of payload: 64 on the wire
)

var sinkCount = regexp.MustCompile(`packets (\d+)`)

// echo answers datagrams to one address and port of the namespace until the context ends, on a thread of its own
// with plain system calls: Go's poller would be measured too.
func echo(ctx context.Context, ns string, at netip.Addr, port int) error {
	ready := make(chan error, 1)
	go func() {
		err := fabric.InNS(ns, func() error {
			fd, err := udp(at, port)
			ready <- err
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			buf := make([]byte, 2048)
			for ctx.Err() == nil {
				n, from, err := receive(fd, buf)
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

// receive waits for a datagram. Go interrupts threads to share them out, and the kernel
// does not go on waiting by itself on a socket with a timeout.
func receive(fd int, buf []byte) (n int, from unix.Sockaddr, err error) {
	for {
		if n, from, err = unix.Recvfrom(fd, buf, 0); !errors.Is(err, unix.EINTR) {
			return n, from, err
		}
	}
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
				_, _, err = receive(fd, buf)
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
					if err := echo(ctx, x.rig.beyond, x.to, echoPort); err != nil {
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

// perPacket compares the processor time a packet takes through the hub, veth to veth,
// with two rules by hand. One thread sends datagrams of 64 bytes in an established flow;
// veth carries a packet to its end on the sender's time, so that thread's time a packet is
// its whole cost, whatever else the machine does. A second rig with the two rules shows
// how much one rig differs from another, a third what our kernel routes alone cost: the
// ip rules that keep tunnel traffic in. Sabotage: 200 more rules stand in the way of every
// packet.
func perPacket(ctx context.Context, sabotage bool) ([]Result, error) {
	const limit, packets, turns = 1.10, 20_000, 3 * rounds
	ours := func(n int) func(*rig) error {
		return func(r *rig) error {
			if err := r.planes(ctx, n, hub.OwnershipPlain); err != nil {
				return err
			}
			if _, err := r.pass(ctx); err != nil || !sabotage {
				return err
			}
			return r.obstruct(ctx, 200)
		}
	}
	byHand := func(r *rig) error { return r.byHand(ctx) }
	steered := func(r *rig) error { return r.steeredByHand(ctx) }
	// The order of what follows: the baseline, the same again, with our routes, 1 prefix, 10,000.
	prepare := []func(*rig) error{byHand, byHand, steered, ours(1), ours(many)}
	to := []netip.Addr{target(many), target(many), target(1), target(1), target(many)}
	us := make([][]float64, len(prepare))
	err := withRigs(ctx, len(prepare), func(rigs []*rig) error {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		for i, r := range rigs {
			if err := errors.Join(prepare[i](r), r.sink(ctx), echo(ctx, r.beyond, to[i], blastPort)); err != nil {
				return err
			}
		}
		for turn := range turns {
			for i := range rigs {
				i = (i + turn) % len(rigs) // nobody is always first
				took, err := blast(ctx, rigs[i], to[i], packets)
				if err != nil {
					return err
				}
				us[i] = append(us[i], took)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	same, routed := ratios(us[1], us[0]), ratios(us[2], us[0])
	var results []Result
	for i, name := range map[int]string{3: "1 prefix", 4: "10,000 prefixes"} {
		ratio := ratios(us[i], us[0])
		r := Result{Name: "CPU a packet, " + name + " / two rules by hand", Bar: "<= 1.10, flat from 1 to 10,000", Unit: "us", Measured: median(us[i]),
			Spread: spread(ratio), Baseline: median(us[0]), Ratio: median(ratio), Samples: turns * packets,
			Note: fmt.Sprintf("another rig with two rules by hand: ratio %.3f ±%.3f; they and one that marks, behind our ip rules: %.3f ±%.3f",
				median(same), spread(same), median(routed), spread(routed))}
		results = append(results, below(r, r.Ratio, limit))
	}
	slices.SortFunc(results, func(a, b Result) int { return strings.Compare(b.Name, a.Name) })
	return results, nil
}

// obstruct adds rules that every forwarded packet walks through.
func (r *rig) obstruct(ctx context.Context, rules int) error {
	_, err := fabric.Exec(ctx, r.hub, "sh", "-ec", fmt.Sprintf(`for i in $(seq %d); do echo "-A FORWARD -s 198.18.0.0/32 -j ACCEPT"; done |
		{ echo '*filter'; cat; echo COMMIT; } | iptables-restore -n`, rules))
	return err
}

// sink has the far side count the packets of a blast and drop them before a socket sees
// them, the same in every rig.
func (r *rig) sink(ctx context.Context) error {
	_, err := fabric.Exec(ctx, r.beyond, "sh", "-ec", fmt.Sprintf(`nft -f - <<'X'
table ip sink {
	counter got { }
	chain c {
		type filter hook prerouting priority -300
		udp dport %d udp length %d counter name got drop
	}
}
X`, blastPort, 8+blastSize))
	return err
}

// blast sends packets in one flow that was answered once, and returns microseconds of its
// thread's time a packet. What came through is counted.
func blast(ctx context.Context, r *rig, to netip.Addr, packets int) (float64, error) {
	if _, err := fabric.Exec(ctx, r.beyond, "nft", "reset", "counter", "ip", "sink", "got"); err != nil {
		return 0, err
	}
	var took time.Duration
	err := fabric.InNS(r.client, func() error {
		fd, err := udp(netip.IPv4Unspecified(), 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: blastPort, Addr: to.As4()}); err != nil {
			return fmt.Errorf("connect to %s: %w", to, err)
		}
		buf := make([]byte, blastSize)
		_, err = unix.Write(fd, buf[:1]) // not of the sink's size: it is answered
		if err == nil {
			_, _, err = receive(fd, make([]byte, blastSize))
		}
		if err != nil {
			return fmt.Errorf("open a flow to %s: %w", to, err)
		}
		took, err = sendTime(fd, buf, packets)
		return err
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

// sendTime is what this thread needs for packets, after some more to warm up.
func sendTime(fd int, buf []byte, packets int) (time.Duration, error) {
	var start time.Duration
	for i := -1000; i < packets; i++ {
		if i == 0 {
			var err error
			if start, err = threadTime(); err != nil {
				return 0, err
			}
		}
		if _, err := unix.Write(fd, buf); err != nil {
			return 0, fmt.Errorf("send: %w", err)
		}
	}
	end, err := threadTime()
	return end - start, err
}

// threadTime is what the present thread, which must be locked, has used of the processor.
func threadTime() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0, fmt.Errorf("read the thread's clock: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}
