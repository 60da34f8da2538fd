package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// adopted starts a lab whose hub works by hand: iptables, ip, aws and OpenVPN's own files.
func adopted(t *testing.T, name string) *rig {
	t.Helper()
	r := start(t, name, func(_ *lab.Spec, o *lab.Options) { o.WithoutHubd = true })
	runner := r.Runner()
	runner.AWS = "/usr/bin/aws"
	for _, line := range r.Spec.Recipe(r.Dir) {
		r.must(runner.Do(t.Context(), line))
	}
	r.reaches(everybody, r.Spec.Targets())
	return r
}

// TestAdoption brings hubd to a bastion that works by hand, with people on it: the first
// start writes nothing, plan says what would change and whose flows a sync would end,
// and after the way that docs/install.md shows no packet of a running flow is lost.
func TestAdoption(t *testing.T) {
	t.Parallel()
	r := adopted(t, "d")
	r.settled()
	traffic := r.everyKind("svc1", lab.HostLaptop1, lab.HostOffice)
	before := r.byHand()
	w := r.watch()

	r.must(r.StartUnit(t.Context(), lab.UnitHubd))
	r.afterPolls(2)
	var s struct {
		Mode string
		Note *string `json:"mode_note"`
	}
	r.hubctlJSON(&s, "status")
	if s.Mode != "observe" || s.Note == nil || !strings.Contains(*s.Note, r.Spec.Tunnel) {
		t.Errorf("mode %q, note %v; want observe, and why", s.Mode, s.Note)
	}
	var p struct {
		Changes []change
		Cuts    []struct{ Source, Target, Protocol string }
	}
	if a := r.hubctlJSON(&p, "plan"); a.code != 2 || len(p.Changes) == 0 {
		t.Errorf("plan: exit %d, %d changes; want 2 and some", a.code, len(p.Changes))
	}
	for _, c := range p.Changes {
		if c.Plane == "vpcroute" && c.Verb != "add" {
			t.Errorf("plan would change a route that stands: %v", c)
		}
	}
	target := r.addr("svc1") + ":7"
	for _, f := range traffic {
		found := false
		for _, c := range p.Cuts {
			found = found || c.Target == target && strings.HasSuffix(f.conn.LocalAddr().String(), c.Source[strings.LastIndex(c.Source, ":"):])
		}
		if !found {
			t.Errorf("plan does not name %s from %s among the flows that a sync would end: %v", f.name, f.conn.LocalAddr(), p.Cuts)
		}
	}
	w.silent(r)
	if err := same(before, r.byHand()); err != nil {
		t.Errorf("the first start changed something: %v", err)
	}
	traffic.more(r, 100)

	// The way without loss: what runs is other traffic to hubd, and is left alone first.
	r.configure(replacing("to_hub: [icmp]", "to_hub: [icmp]\n    other_traffic: leave"))
	r.must(r.hangup())
	r.afterPolls(2)
	r.sync()
	eventually(t, "nothing is left to do", func() error {
		if a := r.hubctl("plan"); a.code != 0 {
			return fmt.Errorf("exit %d: %s", a.code, a.out)
		}
		return nil
	})
	traffic.more(r, 200)
	r.reaches(everybody, r.Spec.Targets())
	traffic.unharmed(r)

	// New flows are hubd's: with the hand's two rules gone they arrive, translated.
	for _, l := range r.Spec.Recipe(r.Dir) {
		if strings.Contains(l.Shell, "MASQUERADE") {
			r.sh(l.Where, l.Undo)
		}
	}
	r.reaches(everybody, r.Spec.Targets())
	r.configure(replacing("other_traffic: leave", "other_traffic: drop"))
	r.must(r.hangup())
	eventually(t, "other traffic is closed", func() error {
		if r.refusedByGuard("svc3") == 0 {
			return errors.New("drop_other does not count it")
		}
		return nil
	})
	r.reaches(everybody, r.Spec.Targets())
}

// byHand is what a hand has made: rules, routes, OpenVPN's files, VPC routes.
func (r *rig) byHand() string {
	r.t.Helper()
	var sb strings.Builder
	for _, line := range []string{"nft -s -a list ruleset", "ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all"} {
		fmt.Fprintf(&sb, "# %s\n%s", line, passing.ReplaceAllString(r.sh(lab.HostHub, line), ""))
	}
	files, err := filepath.Glob(filepath.Join(r.VPN.ClientDir, "*"))
	r.must(err)
	for _, f := range files {
		b, err := os.ReadFile(f)
		r.must(err)
		fmt.Fprintf(&sb, "# %s\n%s", f, b)
	}
	for _, t := range r.Sim.Network().Tables {
		fmt.Fprintf(&sb, "# %s\n%s\n", t.ID, strings.Join(r.routesOf(t.ID), "\n"))
	}
	return sb.String()
}

// TestAdoptionEndsWhatPlanNames is the control: a sync at once, by the config this time,
// ends the flows that plan named, and new ones are well.
func TestAdoptionEndsWhatPlanNames(t *testing.T) {
	t.Parallel()
	r := adopted(t, "e")
	f := r.udp(lab.HostLaptop1, "svc1")
	r.configure(replacing("mode: sync", "mode: observe"))
	r.must(r.StartUnit(t.Context(), lab.UnitHubd))
	eventually(t, "hubd knows what to do", func() error {
		if a := r.hubctl("plan"); a.code != 2 {
			return fmt.Errorf("plan: exit %d", a.code)
		}
		return nil
	})
	f.more(r, 100)
	r.configure(replacing("mode: observe", "mode: sync"))
	r.must(r.hangup())
	f.stalls(r)
	if r.dropped(lab.HostHub, fabric.ReasonSourceCheck) > 0 {
		t.Error("packets left untranslated")
	}
	r.reaches(everybody, r.Spec.Targets())
}
