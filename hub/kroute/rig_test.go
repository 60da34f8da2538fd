package kroute

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"peerhub/hub"
)

// ns is a network namespace of one test.
type ns struct {
	t    *testing.T
	name string
	file *os.File
}

var spaces int

// newNS makes a namespace that ends with the test.
func newNS(t *testing.T, role string) *ns {
	t.Helper()
	spaces++
	n := &ns{t: t, name: fmt.Sprintf("kroute%d-%d%s", os.Getpid(), spaces, role)}
	run(t, "ip", "netns", "add", n.name)
	t.Cleanup(func() { run(t, "ip", "netns", "del", n.name) })
	f, err := os.Open("/run/netns/" + n.name)
	if err != nil {
		t.Fatal(err)
	}
	n.file = f
	t.Cleanup(func() { f.Close() })
	// Without duplicate address detection the namespace is in its final state at once.
	n.run("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
	n.run("ip", "link", "set", "lo", "up")
	return n
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// run executes a program in the namespace and returns what it printed.
func (n *ns) run(args ...string) string {
	n.t.Helper()
	return run(n.t, "ip", append([]string{"netns", "exec", n.name}, args...)...)
}

// sh runs shell lines in the namespace.
func (n *ns) sh(script string) string {
	n.t.Helper()
	return n.run("sh", "-euc", script)
}

// try runs a program that may fail.
func (n *ns) try(args ...string) (string, error) {
	out, err := exec.Command("ip", append([]string{"netns", "exec", n.name}, args...)...).CombinedOutput()
	return string(out), err
}

// plane opens the plane in the namespace.
func (n *ns) plane() *Plane {
	n.t.Helper()
	p, err := Open(Options{NetNS: int(n.file.Fd())})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { p.Close() })
	return p
}

// pass observes, plans and applies, and returns the changes made.
func pass(t *testing.T, p *Plane, d hub.Desired) []hub.Change {
	t.Helper()
	ctx := context.Background()
	v, err := p.Observe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	changes := v.Plan(d)
	after, err := p.Apply(ctx, v, changes)
	if err != nil {
		t.Fatal(err)
	}
	if rest := after.Plan(d); len(rest) > 0 {
		t.Fatalf("after the pass there is still to do: %v", rest)
	}
	return changes
}

// eventually waits for a condition that events bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// twoWays is a hub with two ways out and two tunnels.
func twoWays() hub.Desired {
	return hub.Desired{
		Base: hub.Base{
			Egresses: []hub.Egress{
				{ID: "eth0", Class: 1, Address: netip.MustParseAddr("10.100.0.10"), Gateway: netip.MustParseAddr("10.100.0.1"), Subnet: netip.MustParsePrefix("10.100.0.0/24")},
				{ID: "eth1", Class: 2, Address: netip.MustParseAddr("10.100.1.10"), Gateway: netip.MustParseAddr("10.100.1.1"), Subnet: netip.MustParsePrefix("10.100.1.0/24")},
			},
			Tunnels: []hub.Tunnel{
				{Name: "tun0", Origins: prefixes("172.27.240.0/22", "172.168.0.0/24"), Sites: prefixes("172.168.0.0/24")},
				{Name: "tun1", Origins: prefixes("172.27.244.0/22"), Other: hub.OtherLeave},
			},
		},
		Reaches: []hub.Reach{
			reach("vpc-a", "10.110.0.0/16", "eth0", 1),
			reach("vpc-b", "10.120.0.0/16", "eth1", 2),
		},
	}
}

func reach(spoke, prefix, egress string, class uint32) hub.Reach {
	p := netip.MustParsePrefix(prefix)
	return hub.Reach{Spoke: hub.SpokeID(spoke), Name: spoke, Prefix: p, Real: p, Egress: hub.EgressID(egress), Mark: class<<24 | 7}
}

// hubNS is a namespace with the interfaces of twoWays; the far ends are in it too.
func hubNS(t *testing.T) *ns {
	n := newNS(t, "h")
	n.sh(`
		ip link add eth0 type veth peer name far0
		ip link add eth1 type veth peer name far1
		ip tuntap add tun0 mode tun
		ip tuntap add tun1 mode tun
		ip addr add 10.100.0.10/24 dev eth0
		ip addr add 10.100.1.10/24 dev eth1
		for l in eth0 far0 eth1 far1 tun0 tun1; do ip link set $l up; done
		ip addr add 172.27.240.1/22 dev tun0
		ip addr add 172.27.244.1/22 dev tun1
		ip route add default via 10.100.0.1
		sysctl -qw net.ipv4.ip_forward=1`)
	return n
}
