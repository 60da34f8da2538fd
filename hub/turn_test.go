package hub_test

import (
	"context"
	"testing"

	"peerhub/hub"
)

// plans returns how often each plane was asked for a plan since the last time.
func (r *rig) plans() map[hub.PlaneName]int32 {
	out := make(map[hub.PlaneName]int32)
	for name, p := range r.planes {
		out[name] = p.asked.Swap(0)
	}
	return out
}

// meddle writes to a plane's place as a stranger would.
func (r *rig) meddle(plane hub.PlaneName, do func(map[string]hub.Object)) {
	r.place.mu.Lock()
	defer r.place.mu.Unlock()
	do(r.place.have[plane])
}

func stray(have map[string]hub.Object) { have["stray"] = hub.Object{Key: "stray"} }

func TestAnIdlePassAsksEachPlaneOnce(t *testing.T) {
	r := newRig(t).next(two)
	r.place.written()
	r.plans()
	r.next(two).wrote()
	for name, n := range r.plans() {
		if n != 1 {
			t.Errorf("%s was asked for %d plans in a pass without changes", name, n)
		}
	}
	r.planes[k].set(func(f *fakePlane) { f.refuses = ".130." })
	r.next(two, pcx(3, billing, "10.130.0.0/16"))
	if n := r.plans()[m]; n != 2 {
		t.Errorf("control: %s is behind a plane that lacks something: what it may add and what it may remove are two plans, not %d", m, n)
	}
}

// Whatever somebody does between two passes, the next one plans from what is there then.
func TestAPlanIsNeverOfAnEarlierPass(t *testing.T) {
	r := newRig(t).next(two)
	r.place.written()
	r.meddle(m, func(have map[string]hub.Object) { delete(have, "reach 10.120.0.0/16") })
	r.again().wrote("masq add reach 10.120.0.0/16")
	r.meddle(k, stray)
	r.again().wrote("kroute remove stray")

	r.in.Policy.Protect = pfxs("10.120.0.0/16") // the config alone changes
	r.again().wrote("vpnconf remove reach 10.120.0.0/16", "vpcroute remove rtb-hub 10.120.0.0/16",
		"masq remove reach 10.120.0.0/16", "kroute remove reach 10.120.0.0/16")
	r.in.Policy.Protect = nil
	r.in.Paused = map[hub.PlaneName]bool{m: true}
	r.again().wrote("kroute add reach 10.120.0.0/16")
	r.in.Paused = nil
	r.again().wrote("masq add reach 10.120.0.0/16", "vpcroute add rtb-hub 10.120.0.0/16", "vpnconf add reach 10.120.0.0/16")
	r.next(one).wrote("kroute add reach 10.110.0.0/16", "masq add reach 10.110.0.0/16", "vpcroute add rtb-hub 10.110.0.0/16",
		"vpnconf add reach 10.110.0.0/16") // AWS alone changes; what is merely absent is held
}

// Between a plane's turn on the way out and the one on the way back others write to its
// place: a repair tells the pass, and it plans anew.
func TestAPlanIsNeverOfBeforeARepair(t *testing.T) {
	r := newRig(t).next()
	r.place.written()
	r.planes[v].applying = func() {
		r.meddle(k, stray)
		r.meddle(k, func(have map[string]hub.Object) { delete(have, "reach 10.120.0.0/16") })
		r.rec.Repair(context.Background(), k)
	}
	r.next(two).wrote("kroute add reach 10.120.0.0/16", "masq add reach 10.120.0.0/16",
		"kroute add reach 10.120.0.0/16", // the repair, which removes nothing yet
		"vpcroute add rtb-hub 10.120.0.0/16", "vpnconf add reach 10.120.0.0/16",
		"kroute remove stray")
}
