// Probe sends numbered packets to an echo service and tells which came back. It is a
// process of its own, so that what it counts does not depend on the test that runs it.
//
//	probe [-every 20ms] tcp|udp HOST:PORT
//
// While it runs it prints "SENT BACK" ten times a second. At SIGTERM it stops sending,
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
	Lost  []int   `json:"lost"`   // numbers, in order
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
	flag.Parse()
	if flag.NArg() != 2 || *every <= 0 {
		fmt.Fprintln(os.Stderr, "usage: probe [-every D] tcp|udp HOST:PORT")
		os.Exit(64)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Arg(0), flag.Arg(1), *every); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, network, address string, every time.Duration) error {
	conn, err := net.DialTimeout(network, address, 20*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	p := &probe{conn: conn, tcp: network == "tcp", every: every, back: map[int]bool{}, last: time.Now()}
	if c, ok := conn.(*net.UDPConn); ok {
		if err := roomy(c); err != nil {
			return err
		}
	}
	var reading sync.WaitGroup
	reading.Go(p.read)
	p.send(ctx)
	p.await()
	conn.Close()
	reading.Wait()
	return json.NewEncoder(os.Stdout).Encode(p.result())
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
	tick, tell := time.NewTicker(p.every), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	defer tell.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tell.C:
			p.mu.Lock()
			fmt.Println(p.sent, len(p.back))
			p.mu.Unlock()
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
