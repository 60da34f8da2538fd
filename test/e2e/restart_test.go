package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/test/lab"
)

// TestHubdGoesAndComes stops hubd, and kills it, while datagrams are counted and TCP
// streams run: the data path does not need it. Its return writes nothing.
func TestHubdGoesAndComes(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"plain", "persist"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			r := start(t, "g"+mode[:2], nil)
			r.configure(replacing("kernel:", "masq: {ownership: "+mode+"}\nkernel:", "poll: 2s", "poll: 1s"))
			r.must(r.RestartUnit(t.Context(), lab.UnitHubd))
			r.reaches(everybody, r.Spec.Targets())
			r.settled()
			for name, end := range map[string]func(string) error{"stopped": r.StopUnit, "killed": r.KillUnit} {
				t.Run(name, func(t *testing.T) { r.in(t).goesAndComes(end) })
			}
			t.Run("control: what is lost is counted", func(t *testing.T) {
				r := r.in(t)
				f := r.udp(lab.HostLaptop1, "svc1")
				r.must(r.SetFault("loss", "30"))
				eventually(t, "some are lost", func() error { return wantSome(f.lost(f.last())) })
				r.must(r.SetFault("loss", "off"))
			})
		})
	}
}

func (r *rig) goesAndComes(end func(string) error) {
	r.afterPolls(1)
	before := r.standing()
	w := r.watch()
	traffic := r.everyKind("svc1", lab.HostLaptop1, lab.HostOffice)
	ping := r.ping(lab.HostLaptop2, "svc2")

	at := func(what string) { // for who has to find out when something was lost
		sent, _, _ := traffic[0].state()
		r.t.Logf("at number %d of %s: %s", sent, traffic[0].name, what)
	}
	at("hubd ends")
	r.must(end(lab.UnitHubd))
	at("hubd has ended")
	traffic.more(r, 200)
	if d := cmp.Diff(before, r.standing()); d != "" {
		r.t.Errorf("hubd's end changed something (-before +after):\n%s", d)
	}
	w.silent(r)

	at("hubd starts")
	r.must(r.StartUnit(r.t.Context(), lab.UnitHubd))
	r.afterPolls(1)
	at("hubd has asked")
	for range 2 {
		if c := r.sync(); len(c) > 0 {
			r.t.Errorf("a further pass changed %v", c)
		}
	}
	traffic.more(r, 200)
	if d := cmp.Diff(before, r.standing()); d != "" {
		r.t.Errorf("hubd's return changed something (-before +after):\n%s", d)
	}
	w.silent(r)
	ping.unharmed()
	traffic.unharmed(r)

	// A control for the watch: what a hand does is seen, and so is its mending.
	r.sh(lab.HostHub, "nft flush set inet hubd origins4; ip route del "+r.Spec.OfficeLAN.String())
	if len(w.writes(r)) == 0 {
		r.t.Error("the watch sees nothing at all")
	}
	r.reaches(everybody, []string{"svc1"})
	eventually(r.t, "everything is back", func() error { return same(before, r.standing()) })
}
