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
// start writes nothing, plan says what would change, and hubctl adopt, followed by the lines
// that it prints, costs no packet of a running flow.
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
	if len(p.Cuts) > 0 {
		t.Errorf("plan says that flows would end which the hand's rule translates: %v", p.Cuts)
	}
	w.silent(r)
	if err := same(before, r.byHand()); err != nil {
		t.Errorf("the first start changed something: %v", err)
	}
	traffic.more(r, 100)

	// Taking over: the routes by the ledger, the flows by their marks.
	var taken adoption
	routes := r.vpcRoutes()
	if a := r.hubctlJSON(&taken, "adopt", "--yes"); a.code != 0 || len(taken.Routes) == 0 || len(taken.Superfluous) != 3 {
		t.Fatalf("adopt: exit %d: %s%s", a.code, a.out, a.talk)
	}
	stand := r.vpcRoutes()
	for route := range strings.Lines(routes) {
		if !strings.Contains(stand, route) {
			t.Errorf("adoption changed the route %s", route)
		}
	}
	traffic.more(r, 200)
	r.reaches(everybody, r.Spec.Targets())

	// Each line removes one thing, and nobody notices.
	for left := len(taken.Superfluous); left > 0; left-- {
		if a := r.hubctl("adopt", "--check"); a.code != 2 {
			t.Errorf("adopt --check while %d things stand: exit %d", left, a.code)
		}
		r.sh(lab.HostHub, taken.Superfluous[left-1].Line)
		var now adoption
		r.hubctlJSON(&now, "adopt", "--check")
		if len(now.Superfluous) != left-1 {
			t.Errorf("after %q: %d things stand, want %d: %v", taken.Superfluous[left-1].Line, len(now.Superfluous), left-1, now.Superfluous)
		}
		traffic.more(r, 50)
		r.reaches(everybody, r.Spec.Targets())
	}
	if a := r.hubctl("adopt", "--check"); a.code != 0 {
		t.Errorf("adopt --check at the end: exit %d: %s", a.code, a.out)
	}
	traffic.unharmed(r)

	// What was adopted goes as if it were ours.
	r.aws(r.Spec.HubAccount, "ec2", "delete-vpc-peering-connection", "--region", r.Spec.Region, "--vpc-peering-connection-id", r.Spec.ID("pcx", "svc2"))
	eventually(t, "no route of the removed spoke stands", func() error {
		if text := r.vpcRoutes(); strings.Contains(text, r.Spec.ID("pcx", "svc2")) {
			return errors.New(text)
		}
		return nil
	})
	r.reaches(everybody, []string{"svc1"})
}

// adoption is what hubctl adopt says.
type adoption struct {
	Routes      []struct{ Table, Destination string }
	Superfluous []struct{ What, Object, Line string }
}

// vpcRoutes are all VPC routes.
func (r *rig) vpcRoutes() string {
	var sb strings.Builder
	for _, t := range r.Sim.Network().Tables {
		fmt.Fprintf(&sb, "# %s\n%s\n", t.ID, strings.Join(r.routesOf(t.ID), "\n"))
	}
	return sb.String()
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
	sb.WriteString(r.vpcRoutes())
	return sb.String()
}

// TestAdoptionByConfigEndsFlows is the control: a mode set in the config takes nothing over and
// ends running flows; new ones are well.
func TestAdoptionByConfigEndsFlows(t *testing.T) {
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
