package vpcroute_test

import (
	"fmt"
	"testing"

	"peerhub/hub"
	"peerhub/hub/vpcroute"
	"peerhub/test/ec2sim"
)

// Routes that a person made are ours once they are adopted: no call writes a route, the tags
// name them, and a spoke that policy takes away takes them along. Without adoption they stay.
func TestAdopt(t *testing.T) {
	t.Parallel()
	for _, adopts := range []bool{true, false} {
		t.Run(fmt.Sprint(adopts), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ec2sim.Options{})
			for _, r := range []struct{ account, region, table, dest, peering string }{
				{hubAccount, tokyo, hubTable, "10.110.0.0/16", svcPeering}, {hubAccount, tokyo, hubTable, "10.120.0.0/16", farPeering},
				{svcAccount, tokyo, svcTable, "10.100.0.0/24", svcPeering}, {farAccount, oregon, farTable, "10.100.0.0/24", farPeering},
			} {
				w.add(r.table, r.dest, r.peering)
			}
			w.survey()
			rep := w.passOnly()
			if len(rep.Planes[0].Applied) != 0 || len(w.ledger.entries) != 0 {
				t.Fatalf("routes that fit were written: %v, ledger %v", rep.Planes[0].Applied, w.ledger.lines())
			}
			if adopts {
				n := len(w.Log())
				got, err := w.plane.Adopt(t.Context(), rep.Desired)
				if err != nil || len(got) != 4 || len(w.ledger.entries) != 4 {
					t.Fatalf("adopted %v, %v; ledger %v; want all four", got, err, w.ledger.lines())
				}
				for _, m := range w.mutations(n) {
					if m != hubAccount+" CreateTags" {
						t.Errorf("adoption calls %s", m)
					}
				}
				if again, err := w.plane.Adopt(t.Context(), rep.Desired); err != nil || len(again) != 0 {
					t.Errorf("again: %v, %v; want nothing left to adopt", again, err)
				}
				w.survey()
				if found := vpcroute.Recover(w.top); len(found) != 4 {
					t.Errorf("a hub with an empty disk finds %v", found)
				}
			}
			w.policy.Accounts = map[hub.AccountID]hub.Account{farAccount: {Exclude: w.top.Peerings[len(w.top.Peerings)-1].Peer.Prefixes}}
			w.pass()
			want := wantHub
			if adopts {
				want = wantHub[:1]
			}
			w.expect("hub", w.routes(hubAccount, tokyo, hubTable), want)
			w.expect("svc", w.routes(svcAccount, tokyo, svcTable), wantSvc)
		})
	}
}
