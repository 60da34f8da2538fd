package masq

import (
	"net/netip"
	"testing"

	"peerhub/hub"

	"github.com/google/go-cmp/cmp"
)

// What an earlier hubd left tells the next one which prefix had which mark.
func TestMarksAreRecalled(t *testing.T) {
	t.Parallel()
	for _, mode := range bothModes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			n := newNS(t, "hub")
			p := open(t, n, mode)
			recalls := func(p *Plane, want map[netip.Prefix]uint32) {
				t.Helper()
				got, err := p.Recall(ctx)
				if d := cmp.Diff(want, got, cmp.Comparer(samePrefix)); d != "" || err != nil {
					t.Errorf("%v (-want +got):\n%s", err, d)
				}
			}
			recalls(p, map[netip.Prefix]uint32{})
			syncTo(t, p, sample())
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			want := map[netip.Prefix]uint32{}
			for _, r := range sample().Reaches {
				want[r.Prefix] = r.Mark
			}
			recalls(open(t, n, hub.OwnershipPlain), want)
		})
	}
}
