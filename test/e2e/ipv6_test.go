package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"peerhub/hub"
	"peerhub/test/lab"
)

// TestIPv6FromTunnelIsClosed gives a client IPv6 through its tunnel, by hand, and has the
// hub forward IPv6 as a host with other business may. Neither the hub nor what is behind
// it can be reached. The controls take one defence away after the other.
func TestIPv6FromTunnelIsClosed(t *testing.T) {
	t.Parallel()
	r := start(t, "six", nil)
	const client, end, beyond = "fd00:6::2", "fd00:6::1", "2001:db8:77::1"
	own := fmt.Sprintf("iroute-ipv6 fd00:6::/64\nconfig %s\n", filepath.Join(r.VPN.ClientDir, "peerhub.routes"))
	r.must(os.WriteFile(filepath.Join(r.VPN.ClientDir, lab.HostLaptop1), []byte(own), 0o644))
	r.must(r.RestartUnit(t.Context(), lab.UnitLaptop1))
	r.settled()
	r.sh(lab.HostLaptop1, "ip address add "+client+"/64 dev tun0 nodad && ip route add "+beyond+"/128 dev tun0")
	r.sh(lab.HostHub, "sysctl -qw net.ipv6.conf.all.forwarding=1 && ip address add "+end+"/64 dev "+r.Spec.Tunnel+" nodad && "+
		"ip route add "+beyond+"/128 via fe80::fa:b0ff:fe00:1 dev "+r.Spec.HubInterface)
	ping := func(to string) bool { return r.try(lab.HostLaptop1, "ping", "-6", "-c1", "-W2", to).code == 0 }
	seen := r.capture()
	left := func() int { return len(seen.from(r, client)) }

	t.Run("closed", func(t *testing.T) {
		r := r.in(t)
		for _, to := range []string{end, beyond} {
			before := r.guard()["drop_ipv6"]
			if ping(to) {
				t.Errorf("%s answered", to)
			}
			if now := r.guard()["drop_ipv6"]; now <= before {
				t.Errorf("to %s: drop_ipv6 stays at %d", to, now)
			}
		}
		if n := left(); n > 0 {
			t.Errorf("%d packets left the hub", n)
		}
		r.reaches([]string{lab.HostLaptop1}, []string{"svc1"}) // the near twin: IPv4 of the same client
	})
	t.Run("control: without the firewall the hub answers, and still nothing gets behind it", func(t *testing.T) {
		r := r.in(t)
		r.must(r.KillUnit(lab.UnitHubd))
		r.sh(lab.HostHub, "nft flush ruleset")
		if !ping(end) {
			t.Error("the hub's end of the tunnel does not answer: the test above shows nothing")
		}
		if ping(beyond); left() > 0 {
			t.Error("packets left the hub in spite of its rules")
		}
	})
	t.Run("control: without the rules it does", func(t *testing.T) {
		r := r.in(t)
		r.sh(lab.HostHub, "ip -6 rule del pref 26799")
		if ping(beyond); left() == 0 {
			t.Error("nothing left the hub: the tests above show nothing")
		}
	})
}

// TestHubKeepsItsIPv6 switches IPv6 forwarding on, which makes a kernel forget its router
// and ignore its advertisements. hubd mends that. The control only reports it.
func TestHubKeepsItsIPv6(t *testing.T) {
	t.Parallel()
	r := start(t, "ra", nil)
	dev := r.Spec.HubInterface
	r.settled() // a router is there, learned from its advertisement
	router := func() string { return r.sh(lab.HostHub, "ip -6 route show default dev "+dev+" proto ra") }
	acceptRA := func() string {
		return strings.TrimSpace(r.sh(lab.HostHub, "sysctl -n net.ipv6.conf."+dev+".accept_ra"))
	}
	// The fabric's router advertises when asked; a kernel asks when IPv6 comes up.
	ask := func() {
		r.sh(lab.HostHub, "sysctl -qw net.ipv6.conf."+dev+".disable_ipv6=1 && sysctl -qw net.ipv6.conf."+dev+".disable_ipv6=0")
	}

	t.Run("control: only checked", func(t *testing.T) {
		r := r.in(t)
		r.configure(replacing("sysctls: set", "sysctls: check"))
		r.must(r.RestartUnit(t.Context(), lab.UnitHubd))
		r.sh(lab.HostHub, "sysctl -qw net.ipv6.conf.all.forwarding=1")
		eventually(t, "status says so", func() error { return r.hasProblem(hub.SysctlWrong, "accept_ra") })
		ask()
		eventually(t, "the interface is up again", func() error { return none(r.sh(lab.HostHub, "ip -6 address show tentative dev "+dev)) })
		if out := router(); out != "" || acceptRA() != "1" {
			t.Errorf("accept_ra is %s and there is a router: %q", acceptRA(), out)
		}
	})
	t.Run("set", func(t *testing.T) {
		r := r.in(t)
		r.configure(replacing("sysctls: check", "sysctls: set"))
		r.must(r.RestartUnit(t.Context(), lab.UnitHubd))
		eventually(t, "hubd has set accept_ra", func() error { return same("2", acceptRA()) })
		ask()
		eventually(t, "the hub has a router again", func() error {
			if router() == "" {
				return fmt.Errorf("none")
			}
			return nil
		})
		if out := r.sh(lab.HostHub, "ping -6 -c1 -W5 fe80::fa:b0ff:fe00:1%"+dev+" || ip -6 neigh show dev "+dev); !strings.Contains(out, "fe80::fa:b0ff:fe00:1") {
			t.Errorf("the router is not a neighbour: %s", out)
		}
	})
}

// none is content with an empty text.
func none(s string) error {
	if s != "" {
		return fmt.Errorf("there is %q", s)
	}
	return nil
}
