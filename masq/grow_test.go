package masq

import (
	"slices"
	"strings"
	"testing"

	"peerhub/hub"

	"github.com/google/go-cmp/cmp"
)

// A pool and a spoke's prefix grow in the step that adds: the smaller ones give way in the
// same batch, and flows that lead to the same spoke as before live on.
func TestIntervalsGrowInOneStep(t *testing.T) {
	t.Parallel()
	r := newRig(t, hub.OwnershipPlain)
	r.beyond.serve(t, 9000, beyondHosts...)
	syncTo(t, r.p, sample())
	flow := r.client.udp(t, billingHost+":9000")
	flow.talk(t, "one", " one")
	before := r.hub.run(t, "conntrack -L -p udp -o id 2>/dev/null | grep -o 'id=.*'")
	want := sample()
	want.Base.Tunnels[0].Origins[0] = prefix("172.27.240.0/20")
	want.Reaches[0].Prefix = prefix("10.110.0.0/15") // over 10.110.0.0/16 and 10.111.0.0/16
	want.Reaches = slices.Delete(want.Reaches, 1, 2)
	v, changes := plan(t, r.p, want)
	v, err := r.p.Apply(ctx, v, hub.Additions(changes))
	if err != nil {
		t.Fatal(err)
	}
	if left := v.Plan(want); len(left) > 0 {
		t.Errorf("left after the additions: %+v", left)
	}
	syncTo(t, r.p, want)
	flow.talk(t, "two", " two")
	if after := r.hub.run(t, "conntrack -L -p udp -o id 2>/dev/null | grep -o 'id=.*'"); after != before {
		t.Errorf("the flow is another one: %s, before %s", after, before)
	}
	// And back: what is no longer inside stops.
	gone := r.client.udp(t, billingHost2+":9000")
	gone.talk(t, "one", " one")
	syncTo(t, r.p, without(func(r hub.Reach) bool { return r.Prefix == prefix("10.111.0.0/16") }))
	flow.talk(t, "three", " three")
	out := r.hub.run(t, "conntrack -L -p udp 2>/dev/null")
	if strings.Contains(out, billingHost2) || !strings.Contains(out, billingHost) {
		t.Errorf("conntrack after shrinking:\n%s", out)
	}
}

// What an operator saves while the daemon runs loads at the next boot, before it runs. The
// table of the daemon's own goes with the nft that loads it.
func TestASavedRulesetLoads(t *testing.T) {
	t.Parallel()
	n := newNS(t, "hub")
	p := open(t, n, hub.OwnershipPlain)
	syncTo(t, p, sample())
	want := n.run(t, "nft list table inet hubd")
	saved := n.run(t, "nft list ruleset")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	n.run(t, "nft flush ruleset; nft -f - <<'X'\n"+saved+"\nX")
	if got := n.run(t, "nft list ruleset"); got != want {
		t.Errorf("loaded (+), saved (-):\n%s", cmp.Diff(want, got))
	}
	// While a daemon runs nobody may make its tables: the file is refused as a whole.
	syncTo(t, open(t, n, hub.OwnershipPlain), sample())
	if out, err := n.try(t, "nft -f - <<'X'\n"+saved+"\nX"); err == nil || !strings.Contains(out, "Operation not permitted") {
		t.Errorf("loaded beside a running daemon: %v, %.300s", err, out)
	}
}
