package hub_test

import (
	"testing"

	"peerhub/hub"
)

// TestAnUndoRemovesOnlyWhatThePassMade: what stood comes back, what came otherwise stays, and a pause
// or an empty topology has no say.
func TestAnUndoRemovesOnlyWhatThePassMade(t *testing.T) {
	r := newRig(t)
	first, second, late := pcx(1, "222222222222", "10.1.0.0/16"), pcx(2, "333333333333", "10.2.0.0/16"), pcx(3, "444444444444", "10.3.0.0/16")
	r.next(first)
	before, memory := r.rep.Desired, r.in.Remembered
	made := map[hub.PlaneName]map[string]bool{}
	r.next(withState(first, hub.PeeringDeleted), second)
	r.in.AllowRemovals = true
	r.again()
	for _, name := range hub.Planes {
		made[name] = map[string]bool{}
		for _, key := range r.place.keys(name) {
			made[name][key] = true
		}
	}
	r.in.AllowRemovals = false
	r.next(second, late)
	r.has("10.1.0.0/16").has("10.2.0.0/16", hub.Planes[:]...).has("10.3.0.0/16", hub.Planes[:]...)

	r.in.Undo, r.in.Remembered, r.in.Topology = &hub.Undo{Want: before, Made: made}, memory, hub.Topology{}
	r.again()
	r.has("10.1.0.0/16", hub.Planes[:]...).has("10.2.0.0/16").has("10.3.0.0/16", hub.Planes[:]...)
	if n := r.rep.Pending(); n != 0 {
		t.Errorf("%d left", n)
	}
	r.again() // twice changes nothing
	if n := r.rep.Changes(); n != 0 {
		t.Errorf("%d changes the second time", n)
	}
}
