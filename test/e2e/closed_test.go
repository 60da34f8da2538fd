package e2e

import (
	"fmt"
	"testing"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// TestFailsClosed kills hubd and takes its firewall away, in both ways that people do:
// nothing leaves the hub untranslated, because nothing leaves it. The control takes the
// routing rules away too: then the packets of clients leave with their own addresses.
func TestFailsClosed(t *testing.T) {
	t.Parallel()
	r := start(t, "f", nil)
	for _, away := range []string{"nft delete table inet hubd", "nft flush ruleset"} {
		t.Run(away, func(t *testing.T) {
			r := r.in(t)
			r.reaches(everybody, r.Spec.Targets())
			seen := r.capture()
			flows := load{r.udp(lab.HostLaptop1, "svc1"), r.udp(lab.HostOffice, "svc2")}
			r.must(r.KillUnit(lab.UnitHubd))
			flows.more(r, 100) // they do not need hubd, only its firewall
			r.sh(lab.HostHub, away)
			for _, f := range flows {
				f.stalls(r)
			}
			if out := seen.from(r, "172.27.240.", "172.168.0."); len(out) > 0 {
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
	t.Run("control: without the rules they do leave", func(t *testing.T) {
		r := r.in(t)
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
		for _, b := range []string{"172.27.240.", "172.168.0."} {
			if len(seen.from(r, b)) == 0 {
				t.Errorf("tcpdump saw none of %s", b)
			}
		}
	})
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
