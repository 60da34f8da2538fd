package masq

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"peerhub/hub"

	"github.com/google/go-cmp/cmp"
)

var (
	ctx       = context.Background()
	prefix    = netip.MustParsePrefix
	bothModes = []hub.Ownership{hub.OwnershipPlain, hub.OwnershipPersist}
)

const (
	billing = uint32(1)<<24 | 7
	data    = uint32(1)<<24 | 8
)

// sample is a want with everything in it.
func sample() hub.Desired {
	return hub.Desired{
		Base: hub.Base{
			MaxFlows: 8192,
			Egresses: []hub.Egress{{ID: "eth0", Class: 1, Address: netip.MustParseAddr("10.100.0.10")}},
			Tunnels: []hub.Tunnel{
				{Name: "tun0", Origins: []netip.Prefix{prefix("172.27.240.0/22"), prefix("172.168.0.0/24")},
					ToHub: []hub.Service{{Protocol: "icmp"}, {Protocol: "udp", Port: 53}, {Protocol: "tcp", Port: 8080}}, Other: hub.OtherDrop},
				{Name: "tun1", Origins: []netip.Prefix{prefix("172.28.0.0/24")}, Other: hub.OtherLeave},
			},
		},
		Reaches: []hub.Reach{
			{Spoke: "vpc-1", Name: "billing", Prefix: prefix("10.110.0.0/16"), Real: prefix("10.110.0.0/16"), Egress: "eth0", Mark: billing},
			{Spoke: "vpc-1", Name: "billing", Prefix: prefix("10.111.0.0/16"), Real: prefix("10.111.0.0/16"), Egress: "eth0", Mark: billing},
			{Spoke: "vpc-2", Name: "data", Prefix: prefix("10.120.0.0/28"), Real: prefix("10.120.0.0/28"), Egress: "eth0", Mark: data},
		},
	}
}

func open(t *testing.T, n *ns, o hub.Ownership) *Plane {
	t.Helper()
	p, err := Open(ctx, Options{NetNS: n.fd(), Ownership: o})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func plan(t *testing.T, p *Plane, want hub.Desired) (hub.View, []hub.Change) {
	t.Helper()
	v, err := p.Observe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return v, v.Plan(want)
}

// sync brings the kernel to the want and checks that nothing is left to do, from the
// returned view and from a fresh reading.
func syncTo(t *testing.T, p *Plane, want hub.Desired) []hub.Change {
	t.Helper()
	v, changes := plan(t, p, want)
	v, err := p.Apply(ctx, v, changes)
	if err != nil {
		t.Fatal(err)
	}
	if left := v.Plan(want); len(left) > 0 {
		t.Fatalf("left to do after apply: %+v", left)
	}
	st, err := p.observe()
	if err != nil {
		t.Fatal(err)
	}
	if left := p.view(st).Plan(want); len(left) > 0 {
		t.Fatalf("left to do in the kernel: %+v, damage %q", left, st.damage)
	}
	return changes
}

func TestTheKernelHoldsWhatTheTextSays(t *testing.T) {
	t.Parallel()
	hubNS, textNS := newNS(t, "hub"), newNS(t, "text")
	p := open(t, hubNS, hub.OwnershipPlain)
	syncTo(t, p, sample())
	got := hubNS.run(t, "nft list table inet hubd")
	want := textNS.run(t, "nft -f - <<'X'\n"+Text(sample())+"\nX\nnft list ruleset")
	if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("nft -f of Text (-) and the plane (+):\n%s", d)
	}
}

// A table that nft made of Text is the same to the plane: expressions, sets and all.
func TestThePlaneTakesOverWhatTextLoaded(t *testing.T) {
	t.Parallel()
	n := newNS(t, "hub")
	n.run(t, "nft -f - <<'X'\n"+Text(sample())+"\nX")
	p := open(t, n, hub.OwnershipPlain)
	_, changes := plan(t, p, sample())
	want := []hub.Change{{Verb: hub.VerbAdd, Unit: baseUnit, Object: "table inet hubd_keep", Detail: keepValue}}
	if d := cmp.Diff(want, changes, cmp.Comparer(samePrefix)); d != "" {
		t.Errorf("plan over a table loaded by nft (-want +got):\n%s\ndamage: %s", d, p.last.damage)
	}
	// The control: one foreign word in one rule is seen, and mended.
	n.run(t, `h=$(nft -a list chain inet hubd outward | sed -n 's/.*neither spoke nor hub.*handle //p')
		nft replace rule inet hubd outward handle $h iifname @leave counter name drop_other drop`)
	_, changes = plan(t, p, sample())
	if len(changes) != 2 || changes[0].Object != "table inet hubd" || changes[0].Verb != hub.VerbReplace {
		t.Errorf("plan over a damaged rule: %+v", changes)
	}
	if want := "rule 3 of chain outward is another one"; p.last.damage != want {
		t.Errorf("damage is %q, want %q", p.last.damage, want)
	}
	syncTo(t, p, sample())
}

func samePrefix(a, b netip.Prefix) bool { return a == b }
