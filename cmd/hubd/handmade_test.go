package main

import (
	"net/netip"
	"os/exec"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"peerhub/hub"
)

// Routes into spokes and rules about pools that a person made are named, in every table; their
// near twins (ours, the kernel's, DHCP's, those of other networks) are not.
func TestWaysMadeByHandAreNamed(t *testing.T) {
	p := netip.MustParsePrefix
	want := hub.Desired{
		Base: hub.Base{HubPrefix: []netip.Prefix{p("10.100.0.0/16")},
			Tunnels: []hub.Tunnel{{Name: "tun0", Origins: []netip.Prefix{p("172.27.240.0/22")}}}},
		Reaches: []hub.Reach{{Prefix: p("10.110.0.0/16"), Real: p("10.110.0.0/16")}, {Prefix: p("10.100.0.0/16"), Real: p("10.100.0.0/16")}},
	}
	type answer struct {
		objects []string
		err     error
	}
	got := make(chan answer)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread and its namespace end with this
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			got <- answer{err: err}
			return
		}
		made := exec.Command("sh", "-ec", `
			ip link add eth0 type veth peer name far; ip link set far up; ip link set eth0 up; ip addr add 10.100.0.10/24 dev eth0
			ip route add default via 10.100.0.1
			ip route add 10.110.0.0/16 via 10.100.0.1
			ip route add 10.110.7.0/24 via 10.100.0.1 table 77
			ip route add default via 10.100.0.1 table 77
			ip rule add pref 100 from 172.27.240.0/24 lookup 77
			ip rule add pref 101 to 172.27.240.0/22 lookup 77
			ip route add 10.111.0.0/16 via 10.100.0.1
			ip route add 10.100.9.0/24 via 10.100.0.1
			ip route add 10.110.8.0/24 via 10.100.0.1 proto dhcp
			ip route add 10.110.0.0/16 via 10.100.0.1 table 26741 proto 104
			ip rule add pref 102 from 172.31.0.0/24 lookup 77
			ip rule add pref 26740 from 172.27.240.0/22 lookup 26741 protocol 104`)
		if out, err := made.CombinedOutput(); err != nil {
			t.Errorf("%s", out)
			got <- answer{err: err}
			return
		}
		list, err := otherWays(want)
		a := answer{err: err}
		for _, h := range list {
			if h.Line != "" {
				t.Errorf("%s: a line to remove what may serve something else: %s", h.Object, h.Line)
			}
			a.objects = append(a.objects, h.What+" "+h.Object)
		}
		got <- a
	}()
	a := <-got
	if a.err != nil {
		t.Fatal(a.err)
	}
	if diff := cmp.Diff([]string{
		"route 10.110.0.0/16 table 254 via 10.100.0.1 dev eth0",
		"route 10.110.7.0/24 table 77 via 10.100.0.1 dev eth0",
		"rule pref 100 from 172.27.240.0/24 lookup 77",
		"rule pref 101 from all to 172.27.240.0/22 lookup 77",
	}, a.objects, cmp.Transformer("sorted", func(s []string) map[string]bool {
		m := map[string]bool{}
		for _, x := range s {
			m[x] = true
		}
		return m
	})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
