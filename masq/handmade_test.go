package masq

import (
	"strings"
	"testing"

	"peerhub/hub"
)

// A rule for our pool in a chain that is jumped to translates as one at the hook does: it is
// found, and its line removes it. Its near twin, in a chain that nothing leads to, is not.
func TestHandmadeRulesBehindJumpsAreFound(t *testing.T) {
	t.Parallel()
	r := newRig(t, hub.OwnershipPlain)
	r.hub.run(t, `iptables -t nat -N OUTER; iptables -t nat -N VPN; iptables -t nat -N IDLE
		iptables -t nat -A POSTROUTING -o eth0 -j OUTER; iptables -t nat -A OUTER -g VPN
		iptables -t nat -A VPN -s 172.27.240.0/22 -j MASQUERADE
		iptables -t nat -A VPN -d 10.0.0.0/8 -j MASQUERADE
		iptables -t nat -A IDLE -s 172.27.240.0/22 -j MASQUERADE`)
	mine, others, err := r.p.Handmade(ctx, sample())
	if err != nil || len(mine) != 1 || len(others) != 1 {
		t.Fatalf("made by hand: %v, others %v, %v; want one each, of chain VPN", mine, others, err)
	}
	for _, h := range []Handmade{mine[0], others[0]} {
		if !strings.Contains(h.Object, "chain VPN (from chain OUTER)") {
			t.Errorf("%s: want the chain and where packets come from", h.Object)
		}
	}
	r.hub.run(t, mine[0].Line)
	if mine, _, err = r.p.Handmade(ctx, sample()); err != nil || len(mine) != 0 {
		t.Errorf("after its line: %v, %v", mine, err)
	}
	if rules := r.hub.run(t, "iptables-save -t nat"); strings.Contains(rules, "-A VPN -s") || !strings.Contains(rules, "-A VPN -d 10.0.0.0/8") || !strings.Contains(rules, "-A IDLE -s") {
		t.Errorf("the line removed another rule:\n%s", rules)
	}
	r.hub.run(t, "iptables -t nat -A POSTROUTING -j IDLE")
	if mine, _, err = r.p.Handmade(ctx, sample()); err != nil || len(mine) != 1 {
		t.Errorf("control: with a jump to it the twin is found: %v, %v", mine, err)
	}
}
