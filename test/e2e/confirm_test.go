package e2e

import (
	"fmt"
	"strings"
	"testing"

	"peerhub/hub/control"
	"peerhub/test/lab"
)

// TestSyncConfirm excludes a spoke that clients use. With --confirm the packets flow again by
// themselves, VPC routes included, and hubd pauses; without it, in the same lab, they stay away.
func TestSyncConfirm(t *testing.T) {
	t.Parallel()
	r := start(t, "cf", nil)
	from, to := []string{lab.HostLaptop1}, []string{"svc1"}
	r.sync()
	r.must(r.RestartUnit(t.Context(), lab.UnitLaptop1))
	r.reaches(from, to)
	svc1 := r.service("svc1")
	tables := []string{r.Spec.ID("rtb", "hub-public"), r.Spec.ID("rtb", "svc1")}
	routes := func() string { return strings.Join(append(r.routesOf(tables[0]), r.routesOf(tables[1])...), "\n") }
	before := routes()
	entry := fmt.Sprintf("%q: {", svc1.Account)
	out, in := replacing(entry, entry+fmt.Sprintf("exclude: [%s], ", svc1.VPC)), replacing(fmt.Sprintf("exclude: [%s], ", svc1.VPC), "")

	r.configure(out)
	if a := r.hubctl("sync", "--yes", "--confirm", "15s"); a.code == 1 || !strings.Contains(a.out, "unless: hubctl confirm") {
		t.Fatalf("sync --confirm: exit %d: %s%s", a.code, a.out, a.talk)
	}
	r.refused(lab.HostLaptop1, "svc1")
	if routes() == before {
		t.Error("the exclusion removed no VPC route: there is nothing to put back")
	}
	r.reaches(from, to) // by itself
	eventually(t, "hubd is paused, and says why", func() error {
		var s control.Status
		r.hubctlJSON(&s, "status", "-o", "json")
		if s.Paused == nil || s.Paused.Why == nil || !strings.Contains(*s.Paused.Why, "was not confirmed") {
			return fmt.Errorf("paused: %+v", s.Paused)
		}
		return nil
	})
	r.must(same(before, routes()))
	if a := r.hubctl("history", "-n", "3"); a.code != 0 || !strings.Contains(a.out, "undo by ") || !strings.Contains(a.out, "sync by ") {
		t.Errorf("history: exit %d: %s%s", a.code, a.out, a.talk)
	}

	// As the pause says: the change is taken back, then hubd goes on, and nothing moves.
	r.configure(in)
	r.must(r.hangup())
	r.afterPolls(1)
	if a := r.hubctl("resume"); a.code != 0 {
		t.Fatalf("resume: exit %d: %s", a.code, a.talk)
	}
	r.reaches(from, to)
	r.must(same(before, routes()))

	// The control: the same change without --confirm stays.
	r.configure(out)
	r.must(r.hangup())
	r.hubctl("sync", "--yes")
	r.refused(lab.HostLaptop1, "svc1")
	r.afterPolls(20)
	r.refused(lab.HostLaptop1, "svc1")
}
