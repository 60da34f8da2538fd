package fabric_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"peerhub/test/fabric"
)

// serveHTTP answers on a host with what answer says of the caller's address.
func (r *rig) serveHTTP(role, addr string, answer func(netip.AddrPort) string) {
	r.t.Helper()
	var l net.Listener
	r.must(fabric.InNS(r.ns[role], func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	}))
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprint(w, answer(netip.MustParseAddrPort(q.RemoteAddr)))
	})}
	go srv.Serve(l)
	r.t.Cleanup(func() { srv.Close() })
}

// whoAsks is an answer: the caller's address.
func whoAsks(from netip.AddrPort) string { return from.Addr().String() }

// serveUDP answers every datagram on a host with the sender's address and the
// datagram's length.
func (r *rig) serveUDP(role, addr string) {
	r.t.Helper()
	var c net.PacketConn
	r.must(fabric.InNS(r.ns[role], func() (err error) {
		c, err = net.ListenPacket("udp4", addr)
		return err
	}))
	r.t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				fmt.Fprintf(packetTo{c, from}, "%s %d", from, n)
			}
		}
	}()
}

type packetTo struct {
	net.PacketConn
	to net.Addr
}

func (p packetTo) Write(b []byte) (int, error) { return p.WriteTo(b, p.to) }

// dialUDP opens a socket on a host; local "" leaves the source to the kernel.
func (r *rig) dialUDP(role, local, remote string) net.Conn {
	r.t.Helper()
	var conn net.Conn
	r.must(fabric.InNS(r.ns[role], func() (err error) {
		d := net.Dialer{}
		if local != "" {
			d.LocalAddr = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local))
		}
		conn, err = d.Dial("udp4", remote)
		return err
	}))
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

// ask sends a datagram and waits for the answer.
func ask(conn net.Conn, question string) (string, error) {
	if _, err := conn.Write([]byte(question)); err != nil {
		return "", err
	}
	return answer(conn)
}

func answer(conn net.Conn) (string, error) {
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	buf := make([]byte, 1<<16)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

// curl fetches a URL from a host.
func (r *rig) curl(role, url string, more ...string) (string, error) {
	out, err := r.exec(role, append([]string{"curl", "-sS", "-m", "5", url}, more...)...)
	return strings.TrimSpace(out), err
}

// fetches demands an answer that contains want.
func (r *rig) fetches(role, url, want string) {
	r.t.Helper()
	got, err := r.curl(role, url)
	if err != nil || got != want {
		r.t.Errorf("%s from %s: got %q, %v; want %q\ndrops: %s", url, role, got, err, want, r.drops())
	}
}

// cut demands that a fetch fails and that this place counts it for this reason.
func (r *rig) cut(place, reason, role, url string) {
	r.t.Helper()
	before := r.count(place, reason)
	if got, err := r.curl(role, url, "-m", "0.5"); err == nil {
		r.t.Errorf("%s from %s answered %q, want %s at %s", url, role, got, reason, place)
	}
	if got := r.count(place, reason); got == before {
		r.t.Errorf("%s from %s: %s at %s did not rise\ndrops: %s", url, role, reason, place, r.drops())
	}
}

// noChecksum makes a socket send UDP without checksums, as some tunnels do.
func noChecksum(t testing.TB, conn net.Conn) {
	t.Helper()
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var set error
	if err := raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
	}); err != nil || set != nil {
		t.Fatal(err, set)
	}
}
