package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"peerhub/hub"
	"peerhub/hub/kroute"
	"peerhub/masq"
	"peerhub/test/fabric"
)

// tenThousand is what a hub wants whose 200 spokes have 50 prefixes each.
func tenThousand() hub.Desired {
	p := netip.MustParsePrefix
	want := hub.Desired{Base: hub.Base{
		MaxFlows: 8192,
		Egresses: []hub.Egress{{ID: "eth0", Class: 1, Address: netip.MustParseAddr("10.100.0.10"), Gateway: netip.MustParseAddr("10.100.0.1"), Subnet: p("10.100.0.0/24")}},
		Tunnels:  []hub.Tunnel{{Name: "tun0", Origins: []netip.Prefix{p("172.27.240.0/22")}, ToHub: []hub.Service{{Protocol: "icmp"}}, Other: hub.OtherDrop}},
	}}
	for i := range 10_000 {
		at := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(i%3) << 4}), 28)
		want.Reaches = append(want.Reaches, hub.Reach{Spoke: hub.SpokeID(fmt.Sprintf("vpc-%d", i/50)), Name: fmt.Sprintf("spoke-%d", i/50),
			Prefix: at, Real: at, Egress: "eth0", Mark: 1<<24 | uint32(i/50+1)})
	}
	return want
}

// TestRestartWithTenThousandPrefixes ends the planes and opens new ones, as a restart of hubd
// does: nothing is written but what is bound to the process, and everything is there as it
// was, with its handles. The control is one prefix less.
func TestRestartWithTenThousandPrefixes(t *testing.T) {
	t.Parallel()
	for _, mode := range []hub.Ownership{hub.OwnershipPlain, hub.OwnershipPersist} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			ns := fmt.Sprintf("emany%s%d", mode[:2], os.Getpid())
			if err := fabric.NewNS(ns); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := fabric.Delete(ns); err != nil {
					t.Error(err)
				}
			})
			sh := func(line string) string {
				t.Helper()
				out, err := fabric.Exec(t.Context(), ns, "sh", "-euc", line)
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			sh("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0; ip link add eth0 type veth peer name far0; ip addr add 10.100.0.10/24 dev eth0; ip link set eth0 up; ip link set far0 up")
			stands := func() string {
				return sh("nft -a list table inet hubd | grep -v '^table'; ip route show table all; ip rule; ip -6 rule")
			}
			want := tenThousand()
			if n := restarted(t, ns, mode, want); n < 20_000 {
				t.Fatalf("%d changes from nothing: that is no hub of 10,000 prefixes", n)
			}
			before := stands()
			if n := strings.Count(before, "10."); n < 20_000 {
				t.Fatalf("%d addresses are listed", n)
			}
			if n := restarted(t, ns, mode, want); n != 1 {
				t.Errorf("the second start made %d changes, want the one thing that is bound to the process", n)
			}
			if err := same(before, stands()); err != nil {
				t.Error(err)
			}
			less := want
			less.Reaches = want.Reaches[1:]
			if n := restarted(t, ns, mode, less); n != 3 {
				t.Errorf("one prefix less: %d changes, want its element, its route and the thing of the process", n)
			}
			if same(before, stands()) == nil {
				t.Error("one prefix less, and nobody sees a difference")
			}
		})
	}
}

// restarted is one life of the kernel planes, and how many changes it made.
func restarted(t *testing.T, ns string, mode hub.Ownership, want hub.Desired) (changes int) {
	t.Helper()
	f, err := os.Open("/run/netns/" + ns)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	routes, err := kroute.Open(kroute.Options{NetNS: int(f.Fd())})
	if err != nil {
		t.Fatal(err)
	}
	defer routes.Close()
	rules, err := masq.Open(t.Context(), masq.Options{NetNS: int(f.Fd()), Ownership: mode})
	if err != nil {
		t.Fatal(err)
	}
	defer rules.Close()
	for _, p := range []hub.Plane{routes, rules} {
		view, err := p.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		plan := view.Plan(want)
		if view, err = p.Apply(t.Context(), view, plan); err != nil {
			t.Fatal(err)
		}
		if left := view.Plan(want); len(left) > 0 {
			t.Fatalf("%s: %d left to do, the first %+v", p.Name(), len(left), left[0])
		}
		if changes += len(plan); len(plan) < 4 {
			t.Logf("%s: %+v", p.Name(), plan)
		}
	}
	return changes
}
