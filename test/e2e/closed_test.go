package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// bothModes runs f in a lab of each ownership mode.
func bothModes(t *testing.T, name string, f func(*rig)) {
	t.Helper()
	for _, mode := range []string{"persist", "plain"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			f(start(t, name+mode[:2], func(_ *lab.Spec, o *lab.Options) {
				o.HubdEdit = func(text string) string {
					return strings.Replace(text, "kernel:", "masq: {ownership: "+mode+"}\nkernel:", 1)
				}
			}))
		})
	}
}

// clientSources are how the addresses of clients begin.
var clientSources = []string{"172.27.240.", "172.168.0."}

// setReversePath sets the check of sources to 0, 1 (strict) or 2 (loose) on the whole hub.
func (r *rig) setReversePath(value int) {
	r.t.Helper()
	for _, where := range []string{"all", "default", r.Spec.HubInterface, r.Spec.Tunnel} {
		r.sh(lab.HostHub, fmt.Sprintf("sysctl -qw net.ipv4.conf.%s.rp_filter=%d", where, value))
	}
}

// TestFailsClosed kills hubd and takes its firewall away, in both ways that people do and
// with each value of rp_filter: nothing leaves the hub untranslated, because nothing leaves
// it. The control takes the routing rules away too: then the packets of clients leave with
// their own addresses.
func TestFailsClosed(t *testing.T) {
	t.Parallel()
	bothModes(t, "f", func(r *rig) {
		const flush = "nft flush ruleset"
		for i, away := range []string{flush, flush, flush, "nft delete table inet hubd"} {
			value := i % 3
			r.t.Run(fmt.Sprintf("%s, rp_filter %d", away, value), func(t *testing.T) {
				r := r.in(t)
				r.setReversePath(value)
				r.reaches(everybody, r.Spec.Targets())
				seen := r.capture()
				flows := load{r.udp(lab.HostLaptop1, "svc1"), r.udp(lab.HostOffice, "svc2")}
				r.must(r.KillUnit(lab.UnitHubd))
				flows.more(r, 100) // they do not need hubd, only its firewall
				r.sh(lab.HostHub, away)
				for _, f := range flows {
					f.stalls(r)
				}
				if out := seen.from(r, clientSources...); len(out) > 0 {
					t.Errorf("packets left untranslated: %q", out)
				}
				if n := r.dropped(lab.HostHub, fabric.ReasonSourceCheck); n > 0 {
					t.Errorf("%d packets with foreign sources came to the hub's interface", n)
				}
				r.must(r.StartUnit(t.Context(), lab.UnitHubd))
				flows.more(r, 100) // the same flows
				r.reaches(everybody, r.Spec.Targets())
			})
		}
		r.t.Run("control: without the rules they do leave", func(t *testing.T) {
			r := r.in(t)
			r.setReversePath(2)
			seen := r.capture()
			r.udp(lab.HostLaptop1, "svc1")
			r.udp(lab.HostOffice, "svc2")
			r.must(r.KillUnit(lab.UnitHubd))
			r.sh(lab.HostHub, "nft delete table inet hubd; ip rule del pref 26740; ip rule del pref 26799")
			eventually(t, "packets leave untranslated", func() error {
				if n := r.dropped(lab.HostHub, fabric.ReasonSourceCheck); n < 100 {
					return fmt.Errorf("%d were dropped by the interface", n)
				}
				return nil
			})
			for _, b := range clientSources {
				if len(seen.from(r, b)) == 0 {
					t.Errorf("tcpdump saw none of %s", b)
				}
			}
		})
	})
}

// TestColdBoot boots the hub's services again, OpenVPN long before hubd: from what
// `hubd --fail-closed` set up before any tunnel until hubd comes, no packet out of the tunnel
// gets to the hub's interface, with each value of rp_filter. The control boots without that.
func TestColdBoot(t *testing.T) {
	t.Parallel()
	bothModes(t, "b", func(r *rig) {
		for value := range 3 {
			r.t.Run(fmt.Sprintf("rp_filter %d", value), func(t *testing.T) {
				r := r.in(t)
				seen := r.bootUntilVPN(value, true)
				r.sendsThroughTunnel(40)
				if out := seen.from(r, append(clientSources, r.Spec.HubAddress().String()+" > "+r.addr("svc1"))...); len(out) > 0 {
					t.Errorf("packets out of the tunnel got to the hub's interface: %q", out)
				}
				if n := r.dropped(lab.HostHub, fabric.ReasonSourceCheck); n > 0 {
					t.Errorf("%d packets with foreign sources came to the hub's interface", n)
				}
				r.must(r.StartUnit(t.Context(), lab.UnitHubd))
				r.reaches([]string{lab.HostLaptop1}, r.Spec.Targets())
			})
		}
		r.t.Run("control: without hubd --fail-closed they do", func(t *testing.T) {
			r := r.in(t)
			seen := r.bootUntilVPN(2, false)
			r.sendsThroughTunnel(40)
			if len(seen.from(r, clientSources...)) == 0 || r.dropped(lab.HostHub, fabric.ReasonSourceCheck) == 0 {
				t.Error("none got to the hub's interface")
			}
		})
	})
}

// bootUntilVPN takes away all that a reboot does, then starts what boots before hubd: with
// closed hubd-fail-closed.service, then OpenVPN. It returns what watches the hub's interface
// since before there was a tunnel.
func (r *rig) bootUntilVPN(reversePath int, closed bool) *capture {
	r.t.Helper()
	r.must(r.KillUnit(lab.UnitHubd))
	r.must(errors.Join(r.StopUnit(lab.UnitLaptop1), r.StopUnit(lab.UnitServer)))
	r.sh(lab.HostHub, "nft flush ruleset; ip route flush table all proto 104 2>/dev/null; ip -6 route flush table all proto 104 2>/dev/null; "+
		"for f in -4 -6; do ip $f rule | sed -n 's/^\\(267[0-9]*\\):.*/\\1/p' | while read p; do ip $f rule del pref $p; done; done; sysctl -qw net.ipv4.ip_forward=0")
	for _, where := range []string{"all", "default", r.Spec.HubInterface} {
		r.sh(lab.HostHub, fmt.Sprintf("sysctl -qw net.ipv4.conf.%s.rp_filter=%d", where, reversePath))
	}
	seen := r.capture()
	if closed {
		r.exec(lab.HostHub, filepath.Join(bin, "hubd"), "--config", filepath.Join(r.HubdDir(), "hubd.yaml"), "--fail-closed")
	} else {
		r.sh(lab.HostHub, "sysctl -qw net.ipv4.ip_forward=1")
	}
	r.must(errors.Join(r.StartUnit(r.t.Context(), lab.UnitServer), r.StartUnit(r.t.Context(), lab.UnitLaptop1)))
	r.sh(lab.HostHub, fmt.Sprintf("sysctl -qw net.ipv4.conf.%s.rp_filter=%d", r.Spec.Tunnel, reversePath))
	return seen
}

// sendsThroughTunnel has a laptop send to a service and waits until that many packets more
// have come out of the tunnel on the hub, which forwards.
func (r *rig) sendsThroughTunnel(n int) {
	r.t.Helper()
	came := func() (count int) {
		r.must(scan(r.sh(lab.HostHub, "ip -s link show "+r.Spec.Tunnel+" | sed -n '/RX:/{n;p}' | awk '{print $2}'"), &count))
		return count
	}
	if on := strings.TrimSpace(r.sh(lab.HostHub, "sysctl -n net.ipv4.ip_forward")); on != "1" {
		r.t.Fatalf("the hub does not forward: ip_forward is %s", on)
	}
	before := came()
	eventually(r.t, fmt.Sprintf("%d packets came out of the tunnel", n), func() error {
		r.try(lab.HostLaptop1, "ping", "-n", "-c10", "-i0.01", "-W1", r.addr("svc1"))
		if now := came(); now < before+n {
			return fmt.Errorf("%d", now-before)
		}
		return nil
	})
}

func scan(text string, into *int) error {
	_, err := fmt.Sscan(text, into)
	return err
}

// TestHubdRepairs flushes the firewall under a living hubd: in the mode that does not
// own its table, established flows live and new ones are let in again at once.
func TestHubdRepairs(t *testing.T) {
	t.Parallel()
	r := start(t, "w", nil)
	r.reaches(everybody, r.Spec.Targets())
	r.settled()
	before := r.standing()
	streams := load{r.tcp(lab.HostLaptop1, "svc1"), r.tcp(lab.HostOffice, "svc2")}
	for _, harm := range []string{
		"nft flush ruleset",
		"nft delete table inet hubd",
		"ip rule del pref 26740; ip rule del pref 26799; ip -6 rule del pref 26799",
		"ip route flush table 26741; ip route del " + r.Spec.OfficeLAN.String(),
	} {
		t.Run(harm, func(t *testing.T) {
			r := r.in(t)
			r.sh(lab.HostHub, harm)
			eventually(t, "everything is back", func() error {
				return same(handles.ReplaceAllString(before, ""), handles.ReplaceAllString(r.standing(), ""))
			})
			streams.more(r, 50)
			r.reaches(everybody, r.Spec.Targets())
		})
	}
	streams.unharmed(r)
}
