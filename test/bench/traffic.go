package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"peerhub/test/fabric"

	"golang.org/x/sys/unix"
)

const (
	trafficPort     = 9000
	newFlowWait     = 8 * time.Millisecond // then the next flow is tried
	runningWait     = 300 * time.Millisecond
	trafficPatience = 20 * time.Second // how long new flows may stay away before the bench gives up
)

// traffic is what runs from a rig's client through its hub: a download over TCP, a UDP
// flow, and new UDP flows one after the other.
type traffic struct {
	rig *rig
	to  netip.Addr

	ending  atomic.Bool
	flows   sync.WaitGroup
	closers []io.Closer
	bytes   atomic.Int64 // downloaded
	answers atomic.Int64 // of the running UDP flow
	lost    atomic.Int64
	mapped  atomic.Bool // the running flow came from another port: it is not the same flow any more

	mu      sync.Mutex
	through []time.Time // when new flows were answered
	mark    progress    // of the running flows, when new flows got through again
	failed  error
}

// progress is how far the running flows have come.
type progress struct{ bytes, answers int64 }

func (t *traffic) progress() progress { return progress{t.bytes.Load(), t.answers.Load()} }

// start opens the servers beyond the hub and the flows toward them.
func (t *traffic) start(ctx context.Context) error {
	t.ending.Store(false)
	t.closers, t.through, t.failed = nil, nil, nil
	t.bytes.Store(0)
	t.answers.Store(0)
	t.lost.Store(0)
	t.mapped.Store(false)
	at := netip.AddrPortFrom(t.to, trafficPort)
	if err := fabric.InNS(t.rig.beyond, func() error { return t.serve(at) }); err != nil {
		return errors.Join(err, t.stop())
	}
	err := fabric.InNS(t.rig.client, func() error {
		c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp4", at.String())
		if err != nil {
			return fmt.Errorf("start the download: %w", err)
		}
		t.closers = append(t.closers, c)
		t.flows.Go(func() { t.download(c) })
		return nil
	})
	if err != nil {
		return errors.Join(err, t.stop())
	}
	for _, f := range []func() error{t.running, t.newFlows} {
		t.flows.Go(func() {
			if err := fabric.InNS(t.rig.client, f); err != nil {
				t.mu.Lock()
				t.failed = errors.Join(t.failed, err)
				t.mu.Unlock()
			}
		})
	}
	return nil
}

// stop ends everything that start began.
func (t *traffic) stop() error {
	t.ending.Store(true)
	for _, c := range t.closers {
		_ = c.Close()
	}
	t.flows.Wait()
	return t.failed
}

// serve answers datagrams with the address they came from, and connections with bytes.
func (t *traffic) serve(at netip.AddrPort) error {
	pc, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return fmt.Errorf("listen on udp %s: %w", at, err)
	}
	t.closers = append(t.closers, pc)
	t.flows.Go(func() {
		buf := make([]byte, 256)
		for {
			_, from, err := pc.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = pc.WriteToUDPAddrPort([]byte(from.String()), from)
			}
		}
	})
	l, err := net.Listen("tcp4", at.String())
	if err != nil {
		return fmt.Errorf("listen on tcp %s: %w", at, err)
	}
	t.closers = append(t.closers, l)
	t.flows.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		tick := time.NewTicker(time.Millisecond) // it speaks all the time, into a gap too
		defer tick.Stop()
		for !t.ending.Load() {
			<-tick.C
			if _, err := c.Write(make([]byte, 512)); err != nil {
				return
			}
		}
	})
	return nil
}

func (t *traffic) download(c net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		t.bytes.Add(int64(n))
		if err != nil {
			return // reset, or closed
		}
	}
}

// running is one UDP flow: ask, wait for the answer, ask again.
func (t *traffic) running() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	fd, err := udpWaiting(runningWait)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	dst := &unix.SockaddrInet4{Port: trafficPort, Addr: t.to.As4()}
	buf, first := make([]byte, 64), ""
	for !t.ending.Load() {
		if err := unix.Sendto(fd, []byte("x"), 0, dst); err != nil {
			t.lost.Add(1)
			continue
		}
		n, _, err := receive(fd, buf)
		switch {
		case t.ending.Load():
		case err != nil:
			t.lost.Add(1)
		case first == "":
			first = string(buf[:n])
			t.answers.Add(1)
		default:
			t.answers.Add(1)
			if string(buf[:n]) != first {
				t.mapped.Store(true)
			}
		}
	}
	return nil
}

// newFlows opens one flow after the other and notes when each was answered.
func (t *traffic) newFlows() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dst := &unix.SockaddrInet4{Port: trafficPort, Addr: t.to.As4()}
	buf := make([]byte, 64)
	for !t.ending.Load() {
		fd, err := udpWaiting(newFlowWait)
		if err != nil {
			return err
		}
		if err = unix.Sendto(fd, []byte("x"), 0, dst); err == nil {
			_, _, err = receive(fd, buf)
		}
		if err == nil {
			t.mu.Lock()
			t.through = append(t.through, time.Now())
			t.mu.Unlock()
		}
		if err := unix.Close(fd); err != nil {
			return fmt.Errorf("close a socket: %w", err)
		}
	}
	return nil
}

// udpWaiting opens a blocking socket that waits so long for an answer.
func udpWaiting(d time.Duration) (int, error) {
	fd, err := udp(netip.IPv4Unspecified(), 0)
	if err != nil {
		return -1, err
	}
	tv := unix.NsecToTimeval(d.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return -1, errors.Join(fmt.Errorf("prepare a socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// flowing waits until new flows have got through for a while from now on, and notes how
// far the running ones had come when they began to.
func (t *traffic) flowing(ctx context.Context, calm time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, trafficPatience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	since := time.Now()
	begun := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("no new flow gets through %s: %w", t.to, ctx.Err())
		}
		first, last, ok := t.after(since)
		if ok && !begun {
			begun, t.mark = true, t.progress()
		}
		if ok && last.Sub(first) >= calm {
			return nil
		}
	}
}

// after is when the first and the last new flow got through since then.
func (t *traffic) after(since time.Time) (first, last time.Time, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, at := range t.through {
		if at.After(since) {
			if !ok {
				first, ok = at, true
			}
			last = at
		}
	}
	return first, last, ok
}

// gap is the longest time since then in which no new flow got through.
func (t *traffic) gap(since time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var longest time.Duration
	for i := 1; i < len(t.through); i++ {
		if t.through[i].After(since) {
			longest = max(longest, t.through[i].Sub(t.through[i-1]))
		}
	}
	return longest
}

// dead waits for the running flows to move on from where they were when new ones got
// through again, and names those that do not.
func (t *traffic) dead(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, 3*runningWait)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		now := t.progress()
		download, flow := now.bytes > t.mark.bytes, now.answers > t.mark.answers
		if download && flow && !t.mapped.Load() {
			return nil
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		var out []string
		if !download {
			out = append(out, "the download over TCP")
		}
		if !flow {
			out = append(out, "the UDP flow")
		} else if t.mapped.Load() {
			out = append(out, "the UDP flow, which came back from another port")
		}
		return out
	}
}
