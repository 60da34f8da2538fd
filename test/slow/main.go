// Slow is many clients of a unix socket that want nothing: every second one stays silent, the
// others send a request's header byte by byte. Whoever is hung up on calls again.
//
//	slow CLIENTS SOCKET
//
// It prints "CALLS HUNGUP" ten times a second, until TERM.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: slow CLIENTS SOCKET")
		os.Exit(64)
	}
	n, err := strconv.Atoi(os.Args[1])
	if err != nil || n < 1 {
		fmt.Fprintln(os.Stderr, "slow: want a number of clients, not", os.Args[1])
		os.Exit(64)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	var calls, hungup atomic.Int64
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for ctx.Err() == nil {
				if call(ctx, os.Args[2], i%2 == 0, &calls) {
					hungup.Add(1)
				}
			}
		})
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			fmt.Println(calls.Load(), hungup.Load())
		}
	}
	all.Wait()
}

// call is one connection, until the other side hangs up.
func call(ctx context.Context, socket string, silent bool, calls *atomic.Int64) (hungup bool) {
	pause(ctx, time.Second) // the socket's queue is full, or we were hung up on: not at once
	c, err := net.DialTimeout("unix", socket, 5*time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	calls.Add(1)
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if !silent {
		go func() {
			for _, b := range []byte("GET /v1/status HTTP/1.1\r\nHost: hubd\r\nX-Patience: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				pause(ctx, time.Second)
			}
		}()
	}
	_, err = c.Read(make([]byte, 512))
	return err != nil && ctx.Err() == nil
}

func pause(ctx context.Context, t time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(t):
	}
}
