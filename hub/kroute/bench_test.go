package kroute

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"peerhub/hub"
)

// benchPlane is a plane in a namespace with one way out, one tunnel, and n prefixes wanted.
func benchPlane(b *testing.B, n int) (*Plane, hub.Desired) {
	b.Helper()
	name := fmt.Sprintf("kroute%db", os.Getpid())
	ip := func(args ...string) {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			b.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
	ip("netns", "add", name)
	b.Cleanup(func() { ip("netns", "del", name) })
	ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
	ip("-n", name, "addr", "add", "10.100.0.10/24", "dev", "eth0")
	ip("-n", name, "link", "set", "eth0", "up")
	ip("-n", name, "link", "set", "far0", "up")
	f, err := os.Open("/run/netns/" + name)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	p, err := Open(Options{NetNS: int(f.Fd())})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.Close() })
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Watch(ctx, func() {}) }()
	b.Cleanup(func() { stop(); <-ended })
	d := twoWays()
	d.Base.Egresses, d.Base.Tunnels, d.Reaches = d.Base.Egresses[:1], []hub.Tunnel{{Name: "tun0"}}, nil
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, byte(64 + i>>12), byte(i >> 4), byte(i << 4)})
		d.Reaches = append(d.Reaches, reach(fmt.Sprintf("vpc-%d", i/50), a.String()+"/28", "eth0", 1))
	}
	return p, d
}

func benchPass(b *testing.B, p *Plane, d hub.Desired) int {
	v, err := p.Observe(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	changes := v.Plan(d)
	if _, err := p.Apply(context.Background(), v, changes); err != nil {
		b.Fatal(err)
	}
	return len(changes)
}

// From nothing to ten thousand routes: observe, plan and apply.
func BenchmarkFill10000(b *testing.B) {
	p, d := benchPlane(b, 10000)
	empty := d
	empty.Reaches = nil
	for b.Loop() {
		benchPass(b, p, d)
		b.StopTimer()
		benchPass(b, p, empty)
		b.StartTimer()
	}
}

// One route more or less among ten thousand: a whole pass, and the plan of an idle one.
func BenchmarkOneOf10000(b *testing.B) {
	p, d := benchPlane(b, 10000)
	less := d
	less.Reaches = d.Reaches[1:]
	benchPass(b, p, d)
	turn := false
	b.Run("pass", func(b *testing.B) {
		for b.Loop() {
			turn = !turn
			if turn {
				benchPass(b, p, less)
			} else {
				benchPass(b, p, d)
			}
		}
	})
	benchPass(b, p, d)
	b.Run("apply", func(b *testing.B) {
		v, err := p.Observe(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		off := v.Plan(less)
		on := []hub.Change{{Verb: hub.VerbAdd, Object: off[0].Object, Detail: off[0].Detail}}
		for b.Loop() {
			if v, err = p.Apply(context.Background(), v, off); err != nil {
				b.Fatal(err)
			}
			if v, err = p.Apply(context.Background(), v, on); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("idle", func(b *testing.B) {
		for b.Loop() {
			if n := benchPass(b, p, d); n != 0 {
				b.Fatalf("%d changes", n)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := p.conn.read(p.in); err != nil {
				b.Fatal(err)
			}
		}
	})
}
