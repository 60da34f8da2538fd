package masq

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"peerhub/hub"

	"golang.org/x/sys/unix"
)

// rig is a client behind tun0, another one behind tun1 (other traffic: leave), the hub, and
// a namespace that is everything beyond the hub's interface: spokes with one address each,
// an unpeered VPC, instance metadata. Beyond has routes back to the clients, so what the
// hub forwards without translation is answered: a defence that is off is seen.
type rig struct {
	client, client2, hub, beyond *ns
	p                            *Plane
}

// beyondHosts are the addresses that serve.
var beyondHosts = []string{billingHost, billingHost2, dataHost, unpeeredHost}

const (
	billingHost  = "10.110.0.5"
	billingHost2 = "10.111.0.5"
	dataHost     = "10.120.0.5"
	unpeeredHost = "10.130.0.5"
	metadataHost = "169.254.169.254"
	clientHost   = "172.27.240.2"
	client2Host  = "172.28.0.2"
)

func newRig(t *testing.T, mode hub.Ownership) *rig {
	t.Helper()
	r := &rig{client: newNS(t, "client"), client2: newNS(t, "client2"), hub: newNS(t, "hub"), beyond: newNS(t, "beyond")}
	link(t, r.hub, "tun0", "172.27.240.1/22", r.client, "eth0", clientHost+"/22")
	link(t, r.hub, "tun1", "172.28.0.1/24", r.client2, "eth0", client2Host+"/24")
	link(t, r.hub, "eth0", "10.100.0.10/24", r.beyond, "eth0", "10.100.0.1/24")
	r.hub.run(t, `sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
		ip route add default via 10.100.0.1
		ip route add 192.168.9.9 via 172.27.240.2
		ip -6 addr add fd00:1::1/64 dev tun0 nodad; ip -6 addr add fd00:2::10/64 dev eth0 nodad`)
	r.client.run(t, `ip route add default via 172.27.240.1; ip addr add 192.168.9.9 dev lo
		ip -6 addr add fd00:1::2/64 dev eth0 nodad; ip -6 route add default via fd00:1::1`)
	r.client2.run(t, `ip route add default via 172.28.0.1`)
	r.beyond.run(t, `for a in 10.110.0.5 10.111.0.5 10.120.0.5 10.130.0.5 169.254.169.254; do ip addr add $a dev lo; done
		ip route add 172.27.240.0/22 via 10.100.0.10; ip route add 172.28.0.0/24 via 10.100.0.10; ip route add 192.168.9.9 via 10.100.0.10
		ip -6 addr add fd00:2::1/64 dev eth0 nodad; ip -6 route add default via fd00:2::10`)
	// A tunnel has no neighbour discovery; here it would be dropped as IPv6.
	neighbour := func(from *ns, addr, dev string, on *ns, onDev string) {
		mac := strings.Fields(on.run(t, "ip -br link show "+onDev))[2]
		from.run(t, "ip -6 neigh replace "+addr+" lladdr "+mac+" dev "+dev)
	}
	neighbour(r.client, "fd00:1::1", "eth0", r.hub, "tun0")
	neighbour(r.hub, "fd00:1::2", "tun0", r.client, "eth0")
	r.p = open(t, r.hub, mode)
	return r
}

// serve answers every datagram to one of addrs from the address it came to, and greets
// every connection to the port, with the address and port of the client as seen here.
func (n *ns) serve(t *testing.T, port int, addrs ...string) {
	t.Helper()
	n.inside(t, func() error {
		for _, a := range addrs {
			c, err := net.ListenPacket("udp4", fmt.Sprintf("%s:%d", a, port))
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = c.Close() })
			go answer(c)
		}
		l, err := net.Listen("tcp4", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = l.Close() })
		go greet(l)
		return nil
	})
}

func seen(from net.Addr) string { return "from " + strings.Replace(from.String(), ":", " ", 1) + " " }

func answer(c net.PacketConn) {
	b := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = c.WriteTo([]byte(seen(from)+string(b[:n])), from)
		}
	}
}

func greet(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = c.Close() }()
			_, _ = fmt.Fprintln(c, seen(c.RemoteAddr()))
			_, _ = io.Copy(c, c)
		}()
	}
}

// udpFlow is a running UDP flow.
type udpFlow struct {
	net.Conn
	buffer
}

func (n *ns) udp(t *testing.T, addr string) *udpFlow {
	t.Helper()
	f := &udpFlow{}
	n.inside(t, func() (err error) {
		f.Conn, err = net.Dial("udp4", addr)
		return err
	})
	t.Cleanup(func() { _ = f.Close() })
	go func() { _, _ = io.Copy(&f.buffer, f.Conn) }()
	return f
}

func (f *udpFlow) send(t *testing.T, line string) {
	t.Helper()
	if _, err := f.Conn.Write([]byte(line + "\n")); err != nil {
		t.Fatalf("write to a running flow: %v", err)
	}
}

// talk sends a line and waits for the answer to it.
func (f *udpFlow) talk(t *testing.T, line, want string) {
	t.Helper()
	f.send(t, line)
	await(t, fmt.Sprintf("%q in the answers of %s", want, f.RemoteAddr()), func() bool { return strings.Contains(f.output(), want) })
}

// talk writes a line to a process and waits for something it prints.
func (p *process) talk(t *testing.T, line, want string) {
	t.Helper()
	p.send(t, line)
	p.await(t, want)
}

func (p *process) send(t *testing.T, line string) {
	t.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		t.Fatalf("write to %s: %v", p.cmd.Args[len(p.cmd.Args)-1], err)
	}
}

func (r *rig) drops(t *testing.T) map[string]Counter {
	t.Helper()
	d, err := r.p.Drops(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// inside runs f on a thread in the namespace.
func (n *ns) inside(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here
		err := unix.Setns(n.fd(), unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("%s: %v", n.name, err)
	}
}

// sendTCP sends one TCP segment with any flags from a raw socket.
func (n *ns) sendTCP(t *testing.T, src, dst string, sport, dport uint16, flags byte) {
	t.Helper()
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	seg := make([]byte, 20)
	binary.BigEndian.PutUint16(seg, sport)
	binary.BigEndian.PutUint16(seg[2:], dport)
	binary.BigEndian.PutUint32(seg[4:], 1000)
	seg[12], seg[13] = 5<<4, flags
	binary.BigEndian.PutUint16(seg[14:], 1024)
	pseudo := append(append(append([]byte{}, s[:]...), d[:]...), 0, unix.IPPROTO_TCP, 0, 20)
	sum := uint32(0)
	for b := append(pseudo, seg...); len(b) > 0; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(seg[16:], ^uint16(sum))
	n.inside(t, func() error {
		c, err := net.Dial("ip4:tcp", dst)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_, err = c.Write(seg)
		return err
	})
}
