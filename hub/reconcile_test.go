package hub_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

// rig is a reconciler over fake planes, and what a daemon would keep between passes.
type rig struct {
	t      *testing.T
	place  *place
	planes map[hub.PlaneName]*fakePlane
	rec    *hub.Reconciler
	in     hub.Input
	survey uint64
	rep    hub.Report
	saves  int
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, place: newPlace(), planes: make(map[hub.PlaneName]*fakePlane)}
	r.in.Policy = policy()
	r.in.Save = func(context.Context, hub.Remembered, hub.Desired) error { r.saves++; return nil }
	r.start()
	return r
}

// start is hubd starting: the places and what was saved are as before.
func (r *rig) start() {
	var planes []hub.Plane
	for _, name := range hub.Planes {
		r.planes[name] = &fakePlane{name: name, place: r.place}
		planes = append(planes, r.planes[name])
	}
	r.rec = hub.NewReconciler(planes...)
}

func (r *rig) next(ps ...hub.Peering) *rig {
	r.survey++
	r.in.Topology = survey(topology(ps...), r.survey)
	return r.again()
}

func (r *rig) again() *rig {
	var mem hub.Remembered
	r.rep, mem = r.rec.Pass(context.Background(), r.in)
	if !r.in.DryRun {
		want := r.rep.Desired
		r.in.Remembered, r.in.Prev = mem, &want
	}
	return r
}

func (r *rig) wrote(want ...string) *rig {
	r.t.Helper()
	if diff := cmp.Diff(want, r.place.written(), values); diff != "" {
		r.t.Errorf("written (-want +got):\n%s", diff)
	}
	return r
}

// has says which planes have an object whose key contains text.
func (r *rig) has(text string, want ...hub.PlaneName) *rig {
	r.t.Helper()
	var got []hub.PlaneName
	for _, name := range hub.Planes {
		if slices.ContainsFunc(r.place.keys(name), func(k string) bool { return strings.Contains(k, text) }) {
			got = append(got, name)
		}
	}
	if diff := cmp.Diff(want, got, values); diff != "" {
		r.t.Errorf("%s is in (-want +got):\n%s", text, diff)
	}
	return r
}

func (r *rig) problem(codes ...hub.Code) *rig {
	r.t.Helper()
	slices.Sort(codes)
	if diff := cmp.Diff(codes, spokeProblems(r.rep.Problems), values); diff != "" {
		r.t.Errorf("problems (-want +got):\n%s\n%v", diff, r.rep.Problems)
	}
	return r
}

const (
	k = hub.PlaneKRoute
	m = hub.PlaneMasq
	v = hub.PlaneVPCRoute
	o = hub.PlaneVPNConf
)

func TestAdditionsGoAlongThePathAndRemovalsBack(t *testing.T) {
	r := newRig(t).next(two)
	r.wrote("kroute add base", "kroute add egress eth0", "kroute add reach 10.100.0.0/16", "kroute add reach 10.120.0.0/16",
		"masq add base", "masq add egress eth0", "masq add reach 10.100.0.0/16", "masq add reach 10.120.0.0/16",
		"vpcroute add rtb-hub 10.120.0.0/16",
		"vpnconf add base", "vpnconf add egress eth0", "vpnconf add reach 10.100.0.0/16", "vpnconf add reach 10.120.0.0/16")
	r.next(two).wrote() // a second pass changes nothing
	if r.rep.Changes() != 0 || r.rep.Pending() != 0 {
		t.Errorf("%d changes, %d pending", r.rep.Changes(), r.rep.Pending())
	}
	r.next(one, withState(two, hub.PeeringDeleted)).problem(hub.PeeringEnded)
	r.wrote("kroute add reach 10.110.0.0/16", "masq add reach 10.110.0.0/16", "vpcroute add rtb-hub 10.110.0.0/16", "vpnconf add reach 10.110.0.0/16",
		"vpnconf remove reach 10.120.0.0/16", "vpcroute remove rtb-hub 10.120.0.0/16", "masq remove reach 10.120.0.0/16", "kroute remove reach 10.120.0.0/16")
	if r.rep.Changes() != 8 {
		t.Errorf("%d changes told", r.rep.Changes())
	}
	r.next(one).problem().wrote()
}

func TestASecondPrefixThatMeetsAQuotaLeavesTheFirstWorking(t *testing.T) {
	r := newRig(t)
	r.planes[v].refuses = "10.111.0.0/16"
	r.next(pcx(1, billing, "10.110.0.0/16", "10.111.0.0/16"))
	r.has("10.110.0.0/16", k, m, v, o).has("10.111.0.0/16", k, m).problem(hub.PlaneFailed)
	if h := r.rep.Held; len(h) != 1 || h[0].Reason != "vpcroute lacks it" || !strings.Contains(h[0].Unit, "10.111.0.0/16") {
		t.Errorf("held: %v", h)
	}
	s := r.rep.Spokes[0]
	if s.Name != "billing" || s.HubSide != (hub.Count{OK: 1, Total: 2}) || s.Planes[m] != hub.HealthOK || s.Planes[v] != hub.HealthLacking || s.Planes[o] != hub.HealthHeld {
		t.Errorf("told: %+v", s)
	}
	r.planes[v].set(func(f *fakePlane) { f.refuses = "" })
	r.again().has("10.111.0.0/16", k, m, v, o).problem()
	if s := r.rep.Spokes[0]; s.HubSide != (hub.Count{OK: 2, Total: 2}) || s.Planes[o] != hub.HealthOK {
		t.Errorf("told: %+v", s)
	}
}

func TestASpokesOwnTablesThatRefuseHoldThatSpokeOnly(t *testing.T) {
	r := newRig(t)
	r.planes[v].refuses = "rtb-a"
	r.in.Topology = seeing(topology(one, two), one, "rtb-a")
	r.again().has("10.110.0.0/16", k, m, v).has("10.120.0.0/16", k, m, v, o)
	if s := r.rep.Spokes[0]; s.Spoke != (hub.Count{OK: 0, Total: 1}) || s.OneSided {
		t.Errorf("told: %+v", s)
	}
	if s := r.rep.Spokes[2]; s.Name != "web" || !s.OneSided {
		t.Errorf("told: %+v", s)
	}
}

func TestWhatAPlaneKnowsItCannotBringAboutIsHeldBehindIt(t *testing.T) {
	r := newRig(t)
	r.planes[v].lacks = hub.Units{{Kind: hub.UnitPrefix, Spoke: "vpc-1", Prefix: pfx("10.110.0.0/16")}: {}}
	r.next(one, two).has("reach 10.110.0.0/16", k, m).has("reach 10.120.0.0/16", k, m, o)
	r.planes[v].set(func(f *fakePlane) { f.lacks = nil })
	r.again().has("reach 10.110.0.0/16", k, m, o)
}

func TestAPlaneThatCannotBeReadIsFrozenAndHoldsThoseBehindIt(t *testing.T) {
	r := newRig(t).next(two)
	r.place.written()
	r.planes[m].set(func(f *fakePlane) { f.readErr = errors.New("no netlink") })
	r.next(one, two).wrote("kroute add reach 10.110.0.0/16").problem(hub.PlaneFailed)
	if p := r.rep.Planes[1]; !p.Unread || !strings.Contains(p.Error, "no netlink") {
		t.Errorf("told: %+v", p)
	}
	// Removals are never gated: only the frozen plane keeps it.
	r.next(one, withState(two, hub.PeeringDeleted)).has("10.120.0.0/16", m)
	r.place.written()
	r.planes[m].set(func(f *fakePlane) { f.readErr = nil })
	r.next(one).has("10.120.0.0/16").has("10.110.0.0/16", k, m, v, o).problem()
}

func TestARemovalThatFailsKeepsNobodyElse(t *testing.T) {
	r := newRig(t).next(one, two)
	r.planes[o].set(func(f *fakePlane) { f.keeps = "10.120.0.0/16" })
	r.next(one, withState(two, hub.PeeringDeleted)).has("10.120.0.0/16", o).problem(hub.PeeringEnded, hub.PlaneFailed)
	if r.rep.Pending() != 1 {
		t.Errorf("%d pending", r.rep.Pending())
	}
	r.planes[o].set(func(f *fakePlane) { f.keeps = "" })
	r.next(one).has("10.120.0.0/16").problem()
}

func TestModesGoAsFarAsTheirNames(t *testing.T) {
	r := newRig(t)
	r.in.Mode = hub.ModeObserve
	r.next(two).wrote()
	if r.rep.Pending() != 13 {
		t.Errorf("observe shows %d changes, want the whole plan of 13", r.rep.Pending())
	}
	r.in.Mode = hub.ModeAdd
	r.next(two).has("10.120.0.0/16", k, m, v, o)
	r.next(one, withState(two, hub.PeeringDeleted)).has("10.110.0.0/16", k, m, v, o).has("10.120.0.0/16", k, m, v, o)
	if r.rep.Pending() != 4 {
		t.Errorf("%d pending, want the 4 removals", r.rep.Pending())
	}
	r.in.Mode = "" // the policy's
	r.next(one).has("10.120.0.0/16")
}

func TestADryRunIsAPassWithoutEffect(t *testing.T) {
	r := newRig(t).next(two)
	r.place.written()
	saves, mem := r.saves, r.in.Remembered
	in := r.in
	in.Topology = survey(topology(one, withState(two, hub.PeeringDeleted)), 7)
	rep := r.rec.Plan(context.Background(), in)
	r.wrote()
	var plan []string
	for _, p := range rep.Planes {
		for _, c := range p.Pending {
			plan = append(plan, string(p.Plane)+" "+string(c.Verb)+" "+c.Object)
		}
	}
	if diff := cmp.Diff([]string{"kroute add reach 10.110.0.0/16", "kroute remove reach 10.120.0.0/16", "masq add reach 10.110.0.0/16", "masq remove reach 10.120.0.0/16",
		"vpcroute add rtb-hub 10.110.0.0/16", "vpcroute remove rtb-hub 10.120.0.0/16", "vpnconf add reach 10.110.0.0/16", "vpnconf remove reach 10.120.0.0/16"}, plan); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	if r.saves != saves || !r.in.Remembered.Equal(mem) {
		t.Error("it was saved")
	}
	// Repair goes on as if nobody had asked.
	delete(r.place.have[m], "reach 10.120.0.0/16")
	r.rec.Repair(context.Background(), m)
	r.wrote("masq add reach 10.120.0.0/16")
}

func TestAPausedPlaneIsLeftAloneAndHoldsThoseBehindIt(t *testing.T) {
	r := newRig(t).next(two)
	r.place.written()
	r.in.Paused = map[hub.PlaneName]bool{m: true}
	r.next(one, two).wrote("kroute add reach 10.110.0.0/16").problem(hub.Paused)
	delete(r.place.have[m], "reach 10.120.0.0/16") // the operator works on it
	if rep := r.rec.Repair(context.Background(), m); len(rep.Applied) != 0 {
		t.Errorf("repaired while paused: %v", rep.Applied)
	}
	r.next(one, withState(two, hub.PeeringDeleted)).problem(hub.Paused, hub.PeeringEnded).
		wrote("vpnconf remove reach 10.120.0.0/16", "vpcroute remove rtb-hub 10.120.0.0/16", "kroute remove reach 10.120.0.0/16")
	r.place.have[m]["reach 10.120.0.0/16"] = hub.Object{Key: "reach 10.120.0.0/16"}
	r.next(one).wrote() // nor is anything taken from it
	r.in.Paused = nil
	r.again().wrote("masq add reach 10.110.0.0/16", "vpcroute add rtb-hub 10.110.0.0/16", "vpnconf add reach 10.110.0.0/16",
		"masq remove reach 10.120.0.0/16").problem()
}

func TestWhatMustBeRememberedIsSavedBeforeAnythingIsApplied(t *testing.T) {
	r := newRig(t)
	var before []string
	r.in.Save = func(_ context.Context, mem hub.Remembered, want hub.Desired) error {
		before = append(before, r.place.written()...)
		if mem.Numbers["vpc-2"] == 0 || len(want.Reaches) != 2 {
			t.Errorf("saved: %+v", mem)
		}
		r.saves++
		return nil
	}
	r.next(two)
	if r.saves != 1 || len(before) != 0 {
		t.Errorf("%d saves, written before: %v", r.saves, before)
	}
	r.next(two).next(two)
	if r.saves != 1 {
		t.Errorf("an idle pass saves: %d", r.saves)
	}
}

func TestWhenItCannotBeSavedNothingIsAppliedAndWhatStandsStays(t *testing.T) {
	r := newRig(t).next(two)
	r.place.written()
	r.in.Save = func(context.Context, hub.Remembered, hub.Desired) error { return errors.New("disk full") }
	in := r.in
	in.Topology = survey(topology(one, two), 5)
	rep, _ := r.rec.Pass(context.Background(), in)
	r.wrote()
	if !slices.Contains(codesOf(rep.Problems), hub.StateFailed) {
		t.Errorf("problems: %v", rep.Problems)
	}
	delete(r.place.have[m], "reach 10.120.0.0/16")
	r.rec.Repair(context.Background(), m)
	r.wrote("masq add reach 10.120.0.0/16") // repair still knows the old want

	// The caller carries on with what was not saved; it still has to be saved first.
	r.next(one, two).problem(hub.StateFailed)
	r.again().problem(hub.StateFailed).wrote()
	r.in.Save = func(context.Context, hub.Remembered, hub.Desired) error { r.saves++; return nil }
	saves := r.saves
	if r.again().problem().has("10.110.0.0/16", k, m, v, o); r.saves != saves+1 {
		t.Errorf("applied after %d saves", r.saves-saves)
	}
}

func TestRepairBringsOnePlaneBackAndNothingElse(t *testing.T) {
	r := newRig(t)
	if rep := r.rec.Repair(context.Background(), m); rep.Error != "" || len(rep.Applied) != 0 {
		t.Errorf("before the first pass: %+v", rep)
	}
	r.next(one, two)
	r.place.written()
	clear(r.place.have[m]) // a foreign flush
	r.place.have[m]["reach 10.66.0.0/16"] = hub.Object{Key: "reach 10.66.0.0/16"}
	delete(r.place.have[k], "base")
	rep := r.rec.Repair(context.Background(), m)
	r.wrote("masq add base", "masq add egress eth0", "masq add reach 10.100.0.0/16", "masq add reach 10.110.0.0/16", "masq add reach 10.120.0.0/16",
		"masq remove reach 10.66.0.0/16")
	if len(rep.Applied) != 6 || len(rep.Pending) != 0 || rep.Error != "" {
		t.Errorf("told: %+v", rep)
	}
	if rep := r.rec.Repair(context.Background(), "nowhere"); rep.Error == "" {
		t.Error("a plane that is not there was repaired")
	}
	r.planes[m].set(func(f *fakePlane) { f.readErr = errors.New("no netlink") })
	if rep := r.rec.Repair(context.Background(), m); !rep.Unread || !strings.Contains(rep.Error, "no netlink") {
		t.Errorf("told: %+v", rep)
	}
}

// A slow plane, such as VPC routes, must not keep a flushed nftables table waiting.
func TestRepairWorksWhileAPassIsInAnotherPlane(t *testing.T) {
	r := newRig(t).next(two)
	r.place.written()
	var during []string
	r.planes[v].applying = func() {
		r.place.mu.Lock()
		clear(r.place.have[m])
		r.place.mu.Unlock()
		r.rec.Repair(context.Background(), m)
		during = r.place.written()
	}
	r.next(one, withState(two, hub.PeeringDeleted))
	// Already with the new spoke; the removal of the old one waits for the way back, and
	// what was flushed of it needs none.
	if diff := cmp.Diff([]string{"kroute add reach 10.110.0.0/16", "masq add reach 10.110.0.0/16",
		"masq add base", "masq add egress eth0", "masq add reach 10.100.0.0/16", "masq add reach 10.110.0.0/16"}, during); diff != "" {
		t.Errorf("during the pass (-want +got):\n%s", diff)
	}
	r.has("10.120.0.0/16").has("10.110.0.0/16", k, m, v, o).problem(hub.PeeringEnded)
	r.next(one).wrote("vpcroute add rtb-hub 10.110.0.0/16", "vpnconf add reach 10.110.0.0/16",
		"vpnconf remove reach 10.120.0.0/16", "vpcroute remove rtb-hub 10.120.0.0/16", "kroute remove reach 10.120.0.0/16")
}

func TestAfterARestartNothingChanges(t *testing.T) {
	r := newRig(t).next(one, two)
	r.place.written()
	r.start()
	r.next(one, two).wrote()
	// Also when AWS is away: what is known is as of before.
	r.start()
	r.in.Topology.Sources[0].Fresh = false
	r.again().wrote().problem(hub.SourceStale)
	r.start()
	r.in.Topology = hub.Topology{}
	r.again().wrote().problem(hub.NoTopology)
	clear(r.place.have[m]) // the machine was booted meanwhile
	r.again().has("10.110.0.0/16", k, m, v, o)
}

func TestALostStateRemovesNothingBeforeAFreshAnswer(t *testing.T) {
	stale := topology(two) // from a cache, without the other one
	stale.Sources[0].Fresh = false
	for _, tt := range []struct {
		name  string
		doubt string
		topo  hub.Topology
		codes []hub.Code
	}{
		{"lost", "", stale, []hub.Code{hub.LedgerDoubt, hub.SourceStale}},
		{"broken", "state.db was broken", stale, []hub.Code{hub.LedgerDoubt, hub.SourceStale}},
		{"lost, and AWS is away", "", hub.Topology{}, []hub.Code{hub.LedgerDoubt, hub.NoTopology}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t).next(one, two)
			r.start()
			r.in.Prev, r.in.Remembered, r.in.Doubt = nil, hub.Remembered{}, tt.doubt
			r.in.Topology = tt.topo
			for range 3 { // also when the pass itself has become an earlier pass
				r.again().has("10.110.0.0/16", k, m, v, o).has("10.120.0.0/16", k, m, v, o).problem(tt.codes...)
			}
			r.next(two).has("10.110.0.0/16").has("10.120.0.0/16", k, m, v, o).problem() // the twin: a fresh answer
		})
	}
}

func TestAnEmptyAnswerForHoursCutsNobody(t *testing.T) {
	r := newRig(t).next(one, two)
	r.place.written()
	for range 20 {
		r.next()
	}
	r.wrote().problem(hub.RemovalHeld)
	if s := r.rep.Spokes[0]; s.Name != "billing" || !s.Hold || s.Planes[m] != hub.HealthHeld || s.State != "" {
		t.Errorf("told: %+v", s)
	}
	r.next(one, two).wrote().problem()
	r.in.AllowRemovals = true
	r.next().has("10.110.0.0/16") // the operator may
}

func TestNobodyWaitsForATopologyOfAnotherAccount(t *testing.T) {
	r := newRig(t)
	r.in.Topology = seeing(topology(one, two), one, "rtb-a")
	r.in.Topology.Sources[1] = hub.Source{Scope: one.Peer.Scope, Code: hub.RoleDenied, Error: "AssumeRole refused"}
	r.again().has("10.110.0.0/16", k, m, v, o).has("10.120.0.0/16", k, m, v, o).problem(hub.RoleDenied)
}
