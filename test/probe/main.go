// Probe sends numbered packets to an echo service and tells which came back. It is a
// process of its own, so that what it counts does not depend on the test that runs it.
//
//	probe [-every 20ms] [-flows 1] tcp|udp HOST:PORT
//
// Each flow is a connection of its own; what is counted is of all together. While it runs it prints "SENT BACK" ten times a second. At SIGTERM it stops sending,
// waits two seconds for the last answers and prints one JSON object.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Result is what was counted.
type Result struct {
	Sent  int     `json:"sent"`
	Back  int     `json:"back"`
	Lost  []int   `json:"lost"`   // numbers, in order, flow by flow
	GapMS float64 `json:"gap_ms"` // the longest time without an answer while packets were sent
	Ended string  `json:"ended"`  // why the connection ended by itself, "" when it did not
}

// linger is how long an answer to the last packet may take.
const linger = 2 * time.Second

type probe struct {
	conn  net.Conn
	tcp   bool
	every time.Duration

	mu    sync.Mutex
	sent  int
	back  map[int]bool
	last  time.Time // when something came back
	gap   time.Duration
	ended string
}

func main() {
	every := flag.Duration("every", 20*time.Millisecond, "time between two packets")
	flows := flag.Int("flows", 1, "connections")
	flag.Parse()
	if flag.NArg() != 2 || *every <= 0 || *flows < 1 {
		fmt.Fprintln(os.Stderr, "usage: probe [-every D] [-flows N] tcp|udp HOST:PORT")
		os.Exit(64)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Arg(0), flag.Arg(1), *every, *flows); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, network, address string, every time.Duration, flows int) error {
	var all []*probe
	defer func() {
		for _, p := range all {
			p.conn.Close()
		}
	}()
	for range flows {
		p, err := dial(network, address, every)
		if err != nil {
			return err
		}
		all = append(all, p)
	}
	var reading, sending sync.WaitGroup
	for _, p := range all {
		reading.Go(p.read)
		sending.Go(func() {
			p.send(ctx)
			p.await()
		})
	}
	tell(ctx, all)
	sending.Wait()
	for _, p := range all {
		p.conn.Close()
	}
	reading.Wait()
	return json.NewEncoder(os.Stdout).Encode(sum(all))
}

func dial(network, address string, every time.Duration) (*probe, error) {
	conn, err := net.DialTimeout(network, address, 20*time.Second)
	if err != nil {
		return nil, err
	}
	p := &probe{conn: conn, tcp: network == "tcp", every: every, back: map[int]bool{}, last: time.Now()}
	if c, ok := conn.(*net.UDPConn); ok {
		if err := roomy(c); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return p, nil
}

// tell prints the counts until the context ends.
func tell(ctx context.Context, all []*probe) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			sent, back := 0, 0
			for _, p := range all {
				p.mu.Lock()
				sent, back = sent+p.sent, back+len(p.back)
				p.mu.Unlock()
			}
			fmt.Println(sent, back)
		}
	}
}

// sum is the result of all flows.
func sum(all []*probe) Result {
	r := Result{Lost: []int{}}
	for _, p := range all {
		one := p.result()
		r.Sent, r.Back, r.Lost = r.Sent+one.Sent, r.Back+one.Back, append(r.Lost, one.Lost...)
		r.GapMS = max(r.GapMS, one.GapMS)
		if r.Ended == "" {
			r.Ended = one.Ended
		}
	}
	return r
}

// roomy gives a socket a buffer that a burst after a pause does not overflow.
func roomy(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 4<<20)
	})
	return errors.Join(cerr, err)
}

// send sends until the context ends or the connection does.
func (p *probe) send(ctx context.Context) {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.mu.Lock()
			n, over := p.sent, p.ended != ""
			if !over {
				p.sent++
			}
			p.mu.Unlock()
			if over {
				<-ctx.Done()
				return
			}
			if _, err := fmt.Fprintf(p.conn, "%d\n", n); err != nil && p.tcp {
				p.end(err.Error())
			} // a datagram that the own kernel refuses is one that does not come back
		}
	}
}

// await waits until all is back, or for linger.
func (p *probe) await() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(linger); time.Now().Before(end); <-tick.C {
		p.mu.Lock()
		whole := len(p.back) >= p.sent || p.ended != ""
		p.mu.Unlock()
		if whole {
			return
		}
	}
}

func (p *probe) read() {
	if p.tcp {
		in := bufio.NewScanner(p.conn)
		for in.Scan() {
			p.note(in.Text())
		}
		why := "the other side hung up"
		if err := in.Err(); err != nil {
			why = err.Error()
		}
		if !errors.Is(in.Err(), net.ErrClosed) {
			p.end(why)
		}
		return
	}
	buf := make([]byte, 2048)
	for {
		n, err := p.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil { // an ICMP error is not the end of UDP
			p.note(string(buf[:n]))
		}
	}
}

// note reads an answer: who answered, a colon, the number.
func (p *probe) note(text string) {
	_, number, _ := strings.Cut(text, ": ")
	n, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gap = max(p.gap, time.Since(p.last))
	p.last, p.back[n] = time.Now(), true
}

func (p *probe) end(why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended == "" {
		p.ended = why
	}
}

func (p *probe) result() Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := Result{Sent: p.sent, Back: len(p.back), Lost: []int{}, GapMS: float64(p.gap.Microseconds()) / 1000, Ended: p.ended}
	for n := range p.sent {
		if !p.back[n] {
			r.Lost = append(r.Lost, n)
		}
	}
	return r
}
