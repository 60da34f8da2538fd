package masq

import (
	"testing"

	"peerhub/hub"
)

// A process that ends after its pass wants nothing that ends with it: the next one finds
// nothing to do, and can change what is there. The control is one that stays: it wants more.
func TestOncePlansNothingTheSecondTime(t *testing.T) {
	t.Parallel()
	for _, mode := range bothModes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			n := newNS(t, "hub")
			once := func() *Plane {
				t.Helper()
				p, err := Open(ctx, Options{NetNS: n.fd(), Ownership: mode, Once: true})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = p.Close() })
				return p
			}
			ends := func(p *Plane) {
				t.Helper()
				if err := p.Close(); err != nil {
					t.Fatal(err)
				}
			}
			first := once()
			if len(syncTo(t, first, sample())) == 0 {
				t.Fatal("the first one had nothing to do")
			}
			ends(first)
			second := once()
			if _, changes := plan(t, second, sample()); len(changes) > 0 {
				t.Errorf("the second one plans %+v", changes)
			}
			smaller := without(func(r hub.Reach) bool { return r.Mark == billing })
			syncTo(t, second, smaller)
			ends(second)
			third := once()
			if _, changes := plan(t, third, smaller); len(changes) > 0 {
				t.Errorf("the third one plans %+v", changes)
			}
			ends(third)
			stays := open(t, n, mode)
			if _, changes := plan(t, stays, smaller); len(changes) != 1 {
				t.Errorf("one that stays plans %+v, want the one thing that is bound to it", changes)
			}
		})
	}
}
