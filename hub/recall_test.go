package hub_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

// A hub whose memory is lost gives every spoke the number that running flows carry, in
// whichever order they came, and a newcomer none of those.
func TestNumbersSurviveTheLossOfTheMemory(t *testing.T) {
	late, early := pcx(1, billing, "10.110.0.0/16"), pcx(2, "333333333333", "10.112.0.0/16", "10.113.0.0/16")
	for _, c := range []struct {
		name  string
		fault error
		same  bool
	}{{"the firewall tells", nil, true}, {"the firewall cannot be read", errors.New("no netlink"), false}} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t).next(early).next(early, late)
			before := r.in.Remembered.Numbers
			r.start()
			r.in.Remembered, r.in.Prev, r.in.Doubt = hub.Remembered{}, nil, "state.db was missing"
			r.planes[hub.PlaneMasq].readErr = c.fault
			r.place.written()
			r.next(pcx(0, "888888888888", "10.115.0.0/16"), late, early)
			after := r.in.Remembered.Numbers
			delete(after, "vpc-0")
			if diff := cmp.Diff(before, after); (diff == "") != c.same {
				t.Errorf("numbers (-before +after):\n%s", diff)
			}
		})
	}
}
