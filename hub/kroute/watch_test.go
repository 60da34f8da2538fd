package kroute

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

// watched runs Watch until the test ends and counts its calls.
func watched(t *testing.T, p *Plane, changed func()) *atomic.Int64 {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var calls atomic.Int64
	ended := make(chan error, 1)
	go func() {
		ended <- p.Watch(ctx, func() {
			calls.Add(1)
			if changed != nil {
				changed()
			}
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Watch ended with %v", err)
		}
	})
	eventually(t, "Watch listens", func() bool { return p.watching.Load() == 1 })
	return &calls
}

func TestARecreatedTunnelGetsItsSiteRoutesBack(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	d := twoWays()
	pass(t, p, d)
	has := func() bool { return strings.Contains(n.run("ip", "route"), "172.168.0.0/24 dev tun0 proto 104") }
	if !has() {
		t.Fatal("no site route to begin with")
	}
	poke := make(chan struct{}, 1)
	watched(t, p, func() {
		select {
		case poke <- struct{}{}:
		default:
		}
	})
	n.run("ip", "tuntap", "del", "tun0", "mode", "tun")
	if has() {
		t.Fatal("control: the kernel kept the route of a tunnel that is gone")
	}
	<-poke
	v, err := p.Observe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Plan(d); len(got) > 0 {
		t.Errorf("a tunnel that is not there is no reason for changes: %v", got)
	}
	want := []hub.Problem{{Code: hub.TunnelAbsent, Subject: "tun0",
		Detail: "there is no interface tun0; its site networks [172.168.0.0/24] have no route",
		Mend:   "start its OpenVPN server; the routes follow by themselves"}}
	if diff := cmp.Diff(want, v.(hub.Troubled).Problems(d)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	n.sh("ip tuntap add tun0 mode tun; ip link set tun0 up")
	eventually(t, "the site route is back", func() bool {
		select {
		case <-poke:
			pass(t, p, d)
		default:
		}
		return has()
	})
	if rules := n.run("ip", "rule"); strings.Contains(rules, "detached") {
		t.Errorf("rules are still detached:\n%s", rules)
	}
}

func TestALinkThatWentDownAndUpGetsItsRoutesBack(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	pass(t, p, twoWays())
	calls := watched(t, p, nil)
	n.sh("ip link set eth1 down; ip link set eth1 up")
	eventually(t, "an event", func() bool { return calls.Load() > 0 })
	if strings.Contains(n.run("ip", "route", "show", "table", "26742"), "10.120.0.0/16") {
		t.Fatal("control: the kernel kept the routes")
	}
	if got := pass(t, p, twoWays()); len(got) != 2 {
		t.Errorf("want the reach and the subnet put back, got %v", got)
	}
}

// The kernel drops every route of an interface that loses its last address.
func TestAnAddressThatGoesAndComesBringsItsRoutesBack(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	pass(t, p, twoWays())
	before := n.run("ip", "route", "show", "table", "26741")
	calls := watched(t, p, nil)
	n.run("ip", "addr", "del", "10.100.0.10/24", "dev", "eth0")
	eventually(t, "an event", func() bool { return calls.Load() > 0 })
	if before == n.run("ip", "route", "show", "table", "26741") {
		t.Fatal("control: the kernel kept the routes")
	}
	pass(t, p, twoWays())
	n.run("ip", "addr", "add", "10.100.0.10/24", "dev", "eth0")
	pass(t, p, twoWays())
	if diff := cmp.Diff(before, n.run("ip", "route", "show", "table", "26741")); diff != "" {
		t.Errorf("table 26741 (-before +after):\n%s", diff)
	}
}

func TestOnlyForeignEventsThatMatterWakeUs(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	pass(t, p, twoWays())
	calls := watched(t, p, nil)
	ctx := context.Background()
	first, err := p.Observe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	d := twoWays()
	d.Reaches = append(d.Reaches, reach("vpc-c", "10.130.0.0/16", "eth0", 1))
	pass(t, p, d)
	n.run("ip", "route", "add", "192.0.2.0/24", "dev", "lo", "table", "77")
	n.run("ip", "rule", "add", "pref", "100", "fwmark", "0x9", "lookup", "77")
	again, err := p.Observe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if first == again {
		t.Error("our own change is not in the view")
	}
	if third, _ := p.Observe(ctx); third != again {
		t.Error("the kernel was read again although nothing changed")
	}
	// Events come in order, so when this one is heard the earlier ones have been, too.
	n.run("ip", "route", "del", "10.130.0.0/16", "table", "26741")
	eventually(t, "a call", func() bool { return calls.Load() > 0 })
	if got := calls.Load(); got != 1 {
		t.Errorf("%d calls, want 1: for the one change that was not ours and matters", got)
	}
	if got := pass(t, p, d); len(got) != 1 {
		t.Errorf("want the route put back, got %v", got)
	}
}

// A restart of systemd-networkd does this to whatever it does not know.
func TestFlushedRulesAndRoutesComeBack(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	pass(t, p, twoWays())
	state := func() string { return n.sh("ip rule; ip route show table 26740; ip route show table 26741") }
	before := state()
	calls := watched(t, p, nil)
	n.sh("ip rule flush; ip rule add pref 32766 lookup main; ip rule add pref 32767 lookup default; ip route flush table 26741; ip route flush table 26740")
	if before == state() {
		t.Fatal("control: nothing was flushed")
	}
	eventually(t, "an event", func() bool { return calls.Load() > 0 })
	eventually(t, "all is back", func() bool { pass(t, p, twoWays()); return state() == before })
}

func TestLostEventsLeadToOneFullRead(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	pass(t, p, twoWays())
	busy, free := make(chan struct{}), make(chan struct{})
	var once sync.Once
	calls := watched(t, p, func() {
		once.Do(func() { close(busy); <-free })
	})
	n.run("ip", "route", "add", "192.0.2.0/24", "dev", "eth0")
	<-busy // the listener is stuck while more happens than its buffer holds
	var batch strings.Builder
	for i := range 40000 {
		fmt.Fprintf(&batch, "route add 10.%d.%d.%d/32 dev eth0\n", 1+i>>16, i>>8&255, i&255)
	}
	batch.WriteString("route del 10.110.0.0/16 table 26741\n")
	file := filepath.Join(t.TempDir(), "batch")
	if err := os.WriteFile(file, []byte(batch.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	n.run("ip", "-batch", file)
	close(free)
	eventually(t, "the route that went unheard is back", func() bool {
		pass(t, p, twoWays())
		return strings.Contains(n.run("ip", "route", "show", "table", "26741"), "10.110.0.0/16")
	})
	n.run("ip", "route", "del", "192.0.2.0/24")
	heard := calls.Load()
	eventually(t, "events are heard again", func() bool {
		n.sh("ip route add 192.0.2.0/24 dev eth0; ip route del 192.0.2.0/24")
		return calls.Load() > heard
	})
}
