package masq

import (
	"slices"
	"strings"
	"testing"

	"peerhub/hub"
)

// Somebody commits between our look and our batch. The batch is whole all the same, and the
// view that comes back is the truth: it has what they wrote, and one more step mends it. The
// control is the same without them: nothing is read again.
func TestSomebodyCommitsInBetween(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"nobody":             "",
		"an element added":   "nft add element inet hubd tunnels '{ tun7 }'",
		"an element deleted": "nft delete element inet hubd spokes4 '{ 10.110.0.0/16 }'",
		"what is to go":      "nft delete element inet hubd spokes4 '{ 10.111.0.0/16 }'", // ENOENT
		"what is to come":    "nft add element inet hubd spokes4 '{ 10.140.0.0/16 : 0x01000009 }'",
		"a nested prefix":    "nft add element inet hubd spokes4 '{ 10.140.7.0/24 : 0x01000009 }'", // EEXIST
		"the whole table":    "nft delete table inet hubd",                                         // ENOENT for all
		"another table":      "nft add table inet theirs",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNS(t, "hub")
			p := open(t, n, hub.OwnershipPlain)
			syncTo(t, p, sample())
			want := sample()
			want.Reaches = slices.DeleteFunc(want.Reaches, func(r hub.Reach) bool { return r.Prefix == prefix("10.111.0.0/16") })
			for i, to := range []string{"10.140.0.0/16", "10.150.0.0/16"} {
				want.Reaches = append(want.Reaches, hub.Reach{Spoke: "vpc-9", Name: "new", Prefix: prefix(to), Real: prefix(to), Egress: "eth0", Mark: 1<<24 | uint32(9+i)})
			}
			v, changes := plan(t, p, want)
			if script != "" {
				n.run(t, script)
			}
			after, err := p.Apply(ctx, v, changes)
			reread, rerr := p.observe()
			if rerr != nil {
				t.Fatal(rerr)
			}
			left, truth := after.Plan(want), p.view(reread).Plan(want)
			if !slices.Equal(left, truth) {
				t.Errorf("the view after it wants %+v, the kernel %+v (%v)", left, truth, err)
			}
			if clean := script == "" || name == "another table" || name == "what is to go"; clean != (len(left) == 0) {
				t.Errorf("left to do: %+v, %v", left, err)
			}
			if out := n.run(t, "nft list ruleset"); script == "" && strings.Count(out, "0x01000009") != 3 {
				t.Errorf("a prefix and its two marks are not there:\n%s", out)
			}
			syncTo(t, p, want) // one step mends what they did
		})
	}
}
