package hub_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"peerhub/hub"
)

func TestOfTwoSpokesThatAnnounceTheSameOneWinsAndKeepsItsOthers(t *testing.T) {
	listed, other := hub.AccountID("222222222222"), hub.AccountID("999999999999")
	standing := func(dest, pcx string) func(*hub.Topology) {
		return func(t *hub.Topology) {
			t.Tables[1].Routes = []hub.Route{{Destination: pfx(dest), Target: pcx, Static: true}}
		}
	}
	for _, tt := range []struct {
		name   string
		a, b   hub.Peering
		before map[string]string // holders
		set    func(*hub.Topology)
		want   []string
	}{
		{"equal: the lowest peering id", pcx(1, other, "10.110.0.0/16"), pcx(2, "888888888888", "10.110.0.0/16", "10.111.0.0/16"), nil, nil,
			[]string{"10.110.0.0/16 999999999999", "10.111.0.0/16 888888888888"}},
		{"equal: the listed account before the lower id", pcx(1, other, "10.110.0.0/16"), pcx(2, listed, "10.110.0.0/16"), nil, nil,
			[]string{"10.110.0.0/16 billing"}},
		{"equal: a standing route before the listed account", pcx(1, listed, "10.110.0.0/16"), pcx(2, other, "10.110.0.0/16"), nil, standing("10.110.0.0/16", "pcx-2"),
			[]string{"10.110.0.0/16 999999999999"}},
		{"equal: a standing blackhole counts for nothing", pcx(1, listed, "10.110.0.0/16"), pcx(2, other, "10.110.0.0/16"), nil,
			func(t *hub.Topology) {
				standing("10.110.0.0/16", "pcx-2")(t)
				t.Tables[1].Routes[0].Blackhole = true
			}, []string{"10.110.0.0/16 billing"}},
		{"equal: who held it keeps it, whatever else speaks against it", pcx(1, listed, "10.110.0.0/16"), pcx(2, other, "10.110.0.0/16"),
			map[string]string{"10.110.0.0/16": "pcx-2"}, standing("10.110.0.0/16", "pcx-1"), []string{"10.110.0.0/16 999999999999"}},
		{"equal: who held it and is gone holds nothing", pcx(1, listed, "10.110.0.0/16"), pcx(2, other, "10.110.0.0/16"),
			map[string]string{"10.110.0.0/16": "pcx-3"}, nil, []string{"10.110.0.0/16 billing"}},
		{"inside: a newcomer cannot steal by longer prefix", pcx(1, other, "10.110.7.0/24"), pcx(2, "888888888888", "10.110.0.0/16"),
			map[string]string{"10.110.0.0/16": "pcx-2"}, nil, []string{"10.110.0.0/16 888888888888"}},
		{"around: a newcomer cannot swallow", pcx(1, other, "10.110.0.0/16"), pcx(2, "888888888888", "10.110.7.0/24"),
			map[string]string{"10.110.7.0/24": "pcx-2"}, nil, []string{"10.110.7.0/24 888888888888"}},
		{"beside: no collision", pcx(1, other, "10.110.0.0/17"), pcx(2, "888888888888", "10.110.128.0/17"), nil, nil,
			[]string{"10.110.0.0/17 999999999999", "10.110.128.0/17 888888888888"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			topo := topology(tt.a, tt.b)
			if tt.set != nil {
				tt.set(&topo)
			}
			mem := hub.Remembered{Winners: make(map[netip.Prefix]hub.PeeringID)}
			for p, id := range tt.before {
				mem.Winners[pfx(p)] = hub.PeeringID(id)
			}
			want, problems, after := hub.Decide(policy(), topo, mem)
			wantReached(t, want, append([]string{self}, tt.want...)...)
			if announced := len(tt.a.Peer.Prefixes) + len(tt.b.Peer.Prefixes); announced > len(tt.want) != slices.Contains(codesOf(problems), hub.Collision) {
				t.Errorf("problems: %v", problems)
			}
			again, _, _ := hub.Decide(policy(), topo, after)
			if !again.Equal(want) {
				t.Errorf("asked again: %v", reached(again))
			}
			slices.Reverse(topo.Peerings)
			turned, _, _ := hub.Decide(policy(), topo, mem)
			if !turned.Equal(want) {
				t.Errorf("in the other order: %v", reached(turned))
			}
		})
	}
}

func TestTheConfigTakesAPrefixFromItsHolder(t *testing.T) {
	topo := topology(pcx(1, "222222222222", "10.110.0.0/16", "10.111.0.0/16"), pcx(2, "333333333333", "10.110.0.0/16"))
	want, _, mem := hub.Decide(policy(), topo, hub.Remembered{})
	wantReached(t, want, self, "10.110.0.0/16 billing", "10.111.0.0/16 billing")
	pol := policy()
	pol.Accounts["222222222222"] = hub.Account{Name: "billing", Exclude: pfxs("10.110.0.0/16")}
	want, problems, _ := hub.Decide(pol, topo, mem)
	wantReached(t, want, self, "10.110.0.0/16 web", "10.111.0.0/16 billing")
	wantCodes(t, problems)
}

// EKS gives the same secondary prefix to many VPCs.
func TestManySpokesWithOneSharedPrefixEachKeepTheirOwn(t *testing.T) {
	var ps []hub.Peering
	for n := range 20 {
		own := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(120 + n), 0, 0}), 16).String()
		ps = append(ps, pcx(n+10, "777777777777", own, "100.64.0.0/16"))
	}
	pol := policy()
	pol.Allow = pfxs("100.64.0.0/10")
	want, problems, _ := hub.Decide(pol, topology(ps...), hub.Remembered{})
	if len(want.Reaches) != 1+20+1 {
		t.Errorf("%d reaches: %v", len(want.Reaches), reached(want))
	}
	collisions := 0
	for _, p := range problems {
		if p.Code == hub.Collision {
			collisions++
		}
	}
	if collisions != 19 {
		t.Errorf("%d collisions told, want 19", collisions)
	}
}

// What a COLLISION advises is followed to the letter: it must give the loser its prefix,
// and take nothing from anybody unless it says so.
func TestTheMendOfACollisionWorks(t *testing.T) {
	other := hub.AccountID("333333333333")
	for _, tt := range []struct {
		name       string
		loser      hub.Peering
		says, not  string
		reachedNow []string
	}{
		{"two VPCs of one account: excluding would take both", pcx(2, billing, "10.110.128.0/20"), "renumber one of them, or delete pcx-2; exclude would take both", "exclude 10.110.0.0/16",
			[]string{self}},
		{"another account: the winner's prefix changes hands", pcx(2, other, "10.110.128.0/20"), "to take it from billing and give it to web, exclude 10.110.0.0/16 in account 222222222222", "would take both",
			[]string{self, "10.110.128.0/20 web"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			topo := topology(pcx(1, billing, "10.110.0.0/16"), tt.loser)
			_, problems, mem := hub.Decide(policy(), topo, hub.Remembered{})
			i := slices.IndexFunc(problems, func(p hub.Problem) bool { return p.Code == hub.Collision })
			if i < 0 || !strings.Contains(problems[i].Mend, tt.says) || strings.Contains(problems[i].Mend, tt.not) {
				t.Fatalf("problems: %+v", problems)
			}
			pol := policy() // the exclusion that the mend speaks of
			pol.Accounts[billing] = hub.Account{Name: "billing", Exclude: pfxs("10.110.0.0/16")}
			want, _, _ := hub.Decide(pol, topo, mem)
			wantReached(t, want, tt.reachedNow...)
		})
	}
}
