package hub_test

import (
	"strings"
	"testing"

	"peerhub/hub"
)

// An active peering that is described without its VPC, or without an IPv4 prefix, is no
// evidence that its spoke or its prefix is gone, however often. The control is one that is not described at all.
func TestAPeeringDescribedByHalfIsHeld(t *testing.T) {
	one := pcx(1, billing)
	one.State, one.Peer.Prefixes = hub.PeeringActive, pfxs("10.110.0.0/16")
	other := pcx(2, hub.AccountID("333333333333"))
	other.State, other.Peer.Prefixes = hub.PeeringActive, pfxs("10.120.0.0/16")
	policy := hub.Policy{Safety: hub.Safety{RemovalsAfter: 2, MaxRemoved: 100}}
	for _, tc := range []struct {
		name  string
		later func(*hub.Topology)
		gone  bool
	}{
		{"without its VPC", func(t *hub.Topology) { t.Peerings[0].Peer = hub.Peer{} }, false},
		{"with IPv6 alone", func(t *hub.Topology) { t.Peerings[0].Peer.Prefixes = pfxs("2001:db8:7::/56") }, false},
		{"without prefixes", func(t *hub.Topology) { t.Peerings[0].Peer.Prefixes = nil }, false},
		{"control: with another prefix", func(t *hub.Topology) { t.Peerings[0].Peer.Prefixes = pfxs("10.111.0.0/16") }, true},
		{"control: not there", func(t *hub.Topology) { t.Peerings = t.Peerings[1:] }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			top := topology(one, other)
			want, _, mem := hub.Decide(policy, top, hub.Remembered{})
			prev := want
			var v hub.Verdict
			for n := range 5 {
				top = topology(one, other)
				tc.later(&top)
				for i := range top.Sources {
					top.Sources[i].Survey = uint64(n + 2)
				}
				want, _, mem = hub.Decide(policy, top, mem)
				v = hub.Guard(&prev, want, top, policy, mem, false)
				prev, mem = v.Desired, v.Remembered
			}
			has := false
			for _, r := range v.Desired.Reaches {
				has = has || r.Prefix == pfxs("10.110.0.0/16")[0]
			}
			if has == tc.gone {
				t.Errorf("the reach is there: %v, want %v; held %v", has, !tc.gone, v.Held)
			}
			if !tc.gone && (len(v.Held) != 1 || !strings.Contains(v.Held[0].Reason, "described without")) {
				t.Errorf("held: %v", v.Held)
			}
		})
	}
}
