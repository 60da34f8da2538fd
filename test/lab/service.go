package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"peerhub/test/fabric"
)

// services are listeners of this process inside the namespaces of hosts.
type services struct {
	wg      sync.WaitGroup
	mu      sync.Mutex
	closed  bool
	closers map[io.Closer]string // with the namespace of each
}

func newServices() *services { return &services{closers: map[io.Closer]string{}} }

// keep remembers what close and closeIn must close; false when it is too late.
func (s *services) keep(ns string, c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	s.closers[c] = ns
	return true
}

func (s *services) drop(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.closers, c)
	c.Close()
}

// closeIn ends the listeners and connections of one namespace.
func (s *services) closeIn(ns string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, in := range s.closers {
		if in == ns {
			delete(s.closers, c)
			c.Close()
		}
	}
}

// close ends every listener and connection and waits for their goroutines.
func (s *services) close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.closers {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// company starts what a host of a VPC answers with: HTTP on 80, echo on 7 and an
// ssh banner on 22, each with the name of its VPC.
func (s *services) company(ns, host, vpc string) error {
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			client = r.RemoteAddr
		}
		fmt.Fprintf(w, "vpc=%s host=%s client=%s\n", vpc, host, client)
	})
	return errors.Join(
		s.http(ns, ":80", page),
		s.tcp(ns, ":7", func(c net.Conn) { echoLines(c, vpc) }),
		s.udp(ns, ":7", vpc),
		s.ssh(ns, host))
}

// ssh starts a stand-in that says what an ssh server says first, and hangs up.
func (s *services) ssh(ns, host string) error {
	return s.tcp(ns, ":22", func(c net.Conn) { fmt.Fprintf(c, "SSH-2.0-lab %s\r\n", host) })
}

// http serves a handler inside a namespace.
func (s *services) http(ns, addr string, h http.Handler) error {
	l, err := listen(ns, addr)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	if !s.keep(ns, srv) {
		return nil
	}
	s.wg.Go(func() { _ = srv.Serve(l) }) // ends with close, which is no error
	return nil
}

// tcp serves connections inside a namespace, each by a goroutine of its own.
func (s *services) tcp(ns, addr string, serve func(net.Conn)) error {
	l, err := listen(ns, addr)
	if err != nil {
		return err
	}
	if !s.keep(ns, l) {
		return nil
	}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			if !s.keep(ns, c) {
				return
			}
			s.wg.Go(func() {
				defer s.drop(c)
				serve(c)
			})
		}
	})
	return nil
}

// udp echoes datagrams, each with the VPC's name before it.
func (s *services) udp(ns, addr, vpc string) error {
	var pc net.PacketConn
	err := fabric.InNS(ns, func() (err error) {
		if pc, err = net.ListenPacket("udp4", addr); err != nil {
			return err
		}
		return fabric.Patient(pc.(*net.UDPConn))
	})
	if err != nil {
		return fmt.Errorf("listen on udp %s in %s: %w", addr, ns, err)
	}
	if !s.keep(ns, pc) {
		return nil
	}
	s.wg.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := pc.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _ = pc.WriteTo(append([]byte(vpc+": "), buf[:n]...), from) // a lost answer is UDP's right
			}
		}
	})
	return nil
}

// echoLines answers every line with the VPC's name before it.
func echoLines(c net.Conn, vpc string) {
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			if _, err := io.WriteString(c, vpc+": "+line); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func listen(ns, addr string) (net.Listener, error) {
	var l net.Listener
	err := fabric.InNS(ns, func() (err error) {
		l, err = net.Listen("tcp4", addr)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on tcp %s in %s: %w", addr, ns, err)
	}
	return l, nil
}
