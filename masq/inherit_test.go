package masq

import (
	"net/netip"
	"strings"
	"testing"

	"peerhub/hub"
)

// A flow that a person's rule translates goes on when our table comes, because it is given
// its mark while the tunnel is still open; without that it ends. One that leads nowhere we
// want is not marked, and a removal of the person's rule ends nothing.
func TestInheritKeepsFlowsThatAreTranslatedByHand(t *testing.T) {
	t.Parallel()
	for _, inherits := range []bool{true, false} {
		t.Run(map[bool]string{true: "inherited", false: "control"}[inherits], func(t *testing.T) {
			t.Parallel()
			r := newRig(t, hub.OwnershipPlain)
			r.beyond.serve(t, 9000, beyondHosts...)
			r.hub.run(t, "iptables -t nat -A POSTROUTING -s 172.27.240.0/22 -o eth0 -j MASQUERADE; iptables -t nat -A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE")
			want := sample()
			want.Base.HubPrefix = []netip.Prefix{prefix("10.100.0.0/16")}
			flow, other := r.client.udp(t, billingHost+":9000"), r.client.udp(t, unpeeredHost+":9000")
			flow.talk(t, "one", " one")
			other.talk(t, "one", " one")

			open := want
			open.Base.Tunnels = []hub.Tunnel{want.Base.Tunnels[0], want.Base.Tunnels[1]}
			open.Base.Tunnels[0].Other = hub.OtherLeave
			syncTo(t, r.p, open)
			flow.talk(t, "two", " two")
			if inherits {
				if n, err := r.p.Inherit(ctx, want); err != nil || n != 1 {
					t.Fatalf("marked %d flows, %v; want 1", n, err)
				}
				if n, err := r.p.Inherit(ctx, want); err != nil || n != 0 {
					t.Errorf("again: marked %d flows, %v; want none", n, err)
				}
			}
			syncTo(t, r.p, want)
			before := r.drops(t)["drop_other"].Packets
			flow.send(t, "three")
			if !inherits {
				await(t, "the flow is dropped", func() bool { return r.drops(t)["drop_other"].Packets > before })
				return
			}
			await(t, "the flow goes on", func() bool { return strings.Contains(flow.output(), " three") })
			other.send(t, "three")
			await(t, "what leads elsewhere is dropped", func() bool { return r.drops(t)["drop_other"].Packets > before })

			mine, others, err := r.p.Handmade(ctx, want)
			if err != nil || len(mine) != 1 || len(others) != 0 || !strings.Contains(mine[0].Object, "172.27.240.0/22") {
				t.Fatalf("made by hand: %v, others %v, %v; want the one rule for our pool", mine, others, err)
			}
			if _, also, err := r.p.Handmade(ctx, open); err != nil || len(also) != 1 {
				t.Errorf("while other traffic is left alone the rule may be needed: %v, %v", also, err)
			}
			r.hub.run(t, mine[0].Line)
			if mine, _, err = r.p.Handmade(ctx, want); err != nil || len(mine) != 0 {
				t.Errorf("after %v: %v", mine, err)
			}
			if rules := r.hub.run(t, "iptables-save -t nat"); strings.Contains(rules, "172.27.240.0") || !strings.Contains(rules, "192.0.2.0/24") {
				t.Errorf("the line removed another rule:\n%s", rules)
			}
			flow.talk(t, "four", " four")
			fresh := r.client.udp(t, dataHost+":9000")
			fresh.talk(t, "five", "from 10.100.0.10 ")
		})
	}
}
