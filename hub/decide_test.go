package hub_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

const self = "10.100.0.0/16 infra-tokyo"

func TestAPrefixIsRefusedWithItsReasonAndItsNearTwinIsReached(t *testing.T) {
	for _, tt := range []struct {
		name       string
		prefix     string
		code       hub.Code
		twin       string
		twinPolicy func(*hub.Policy)
		policy     func(*hub.Policy) // of the refused one
	}{
		{"equal to the hub VPC", "10.100.0.0/16", hub.OverlapsHub, "10.101.0.0/16", nil, nil},
		{"inside the hub VPC", "10.100.7.0/24", hub.OverlapsHub, "10.101.7.0/24", nil, nil},
		{"equal to a pool", "172.27.240.0/22", hub.OverlapsPool, "172.27.244.0/22", nil, nil},
		{"half a pool", "172.27.242.0/23", hub.OverlapsPool, "172.27.242.0/23", func(p *hub.Policy) { p.VPNs[0].Pools = pfxs("172.27.240.0/23") }, nil},
		{"around a pool", "172.27.0.0/16", hub.OverlapsPool, "172.28.0.0/16", nil, nil},
		{"inside a site", "10.99.0.128/25", hub.OverlapsSite, "10.99.1.128/25", nil, nil},
		{"around a protected network", "192.168.0.0/16", hub.OverlapsProtected, "192.168.0.0/16", func(p *hub.Policy) { p.Protect = nil }, nil},
		{"inside a protected network", "192.168.77.16/28", hub.OverlapsProtected, "192.168.78.16/28", nil, nil},
		{"loopback", "127.0.0.0/24", hub.ReservedSpace, "10.0.0.0/24", nil, nil},
		{"IMDS", "169.254.169.0/24", hub.ReservedSpace, "10.169.169.0/24", nil, nil},
		{"the VPC's own services", "169.254.168.0/22", hub.ReservedSpace, "10.169.168.0/22", nil, nil},
		{"this network", "0.0.0.0/16", hub.ReservedSpace, "10.0.0.0/16", nil, nil},
		{"multicast", "224.0.0.0/24", hub.ReservedSpace, "10.224.0.0/24", nil, nil},
		{"class E", "240.0.0.0/24", hub.ReservedSpace, "10.240.0.0/24", nil, nil},
		{"reserved space that spokes.allow names", "169.254.10.0/24", hub.ReservedSpace, "10.10.10.0/24", nil, func(p *hub.Policy) { p.Allow = pfxs("169.254.0.0/16") }},
		{"public space", "8.8.8.0/24", hub.NotAllowed, "8.8.8.0/24", func(p *hub.Policy) { p.Allow = pfxs("8.8.0.0/16") }, nil},
		{"CGNAT space", "100.64.0.0/16", hub.NotAllowed, "100.64.0.0/16", func(p *hub.Policy) { p.Allow = pfxs("100.64.0.0/10") }, nil},
		{"only partly allowed", "100.64.0.0/16", hub.NotAllowed, "100.64.0.0/17", func(p *hub.Policy) { p.Allow = pfxs("100.64.0.0/17") }, func(p *hub.Policy) { p.Allow = pfxs("100.64.0.0/17") }},
		{"beside RFC 1918", "172.32.0.0/16", hub.NotAllowed, "172.31.0.0/16", nil, nil},
		{"everything", "0.0.0.0/0", hub.BadLength, "10.0.0.0/16", nil, nil},
		{"too wide", "10.110.0.0/15", hub.BadLength, "10.110.0.0/16", nil, nil},
		{"too narrow", "10.110.0.0/29", hub.BadLength, "10.110.0.0/28", nil, nil},
		{"IPv6", "2600:1f00::/56", hub.BadPrefix, "10.110.0.0/16", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// A second prefix shows that exclusion is per prefix.
			refusing := policy()
			if tt.policy != nil {
				tt.policy(&refusing)
			}
			want, problems, _ := hub.Decide(refusing, topology(pcx(1, "222222222222", tt.prefix, "10.66.0.0/16")), hub.Remembered{})
			wantReached(t, want, "10.66.0.0/16 billing", self)
			wantCodes(t, problems, tt.code)
			if i := slices.IndexFunc(problems, func(p hub.Problem) bool { return p.Code == tt.code }); i >= 0 {
				if p := problems[i]; p.Subject != "billing" || !strings.Contains(p.Detail, tt.prefix) || p.Mend == "" {
					t.Errorf("the problem does not say who, what and how: %+v", p)
				}
			}
			pol := policy()
			if tt.twinPolicy != nil {
				tt.twinPolicy(&pol)
			}
			want, problems, _ = hub.Decide(pol, topology(pcx(1, "222222222222", tt.twin)), hub.Remembered{})
			if !slices.Contains(reached(want), tt.twin+" billing") {
				t.Errorf("the twin %s is not reached: %v, %v", tt.twin, reached(want), problems)
			}
			wantCodes(t, problems)
		})
	}
}

func TestASpokeWithNoPrefixLeftIsNone(t *testing.T) {
	want, problems, mem := hub.Decide(policy(), topology(pcx(1, "222222222222", "8.8.8.0/24")), hub.Remembered{})
	wantReached(t, want, self)
	wantCodes(t, problems, hub.NotAllowed, hub.NoPrefix)
	if _, ok := mem.Numbers["vpc-1"]; ok {
		t.Error("it got a number")
	}
	want, problems, _ = hub.Decide(policy(), topology(pcx(1, "222222222222")), hub.Remembered{})
	wantReached(t, want, self)
	wantCodes(t, problems, hub.NoPrefix)
}

func TestWhatTheConfigExcludesIsLeftOutInSilence(t *testing.T) {
	pol := policy()
	pol.Accounts["333333333333"] = hub.Account{Name: "web", Exclude: pfxs("100.64.0.0/10", "10.120.5.0/24")}
	want, problems, _ := hub.Decide(pol, topology(pcx(1, "333333333333", "10.119.0.0/16", "100.64.0.0/16", "10.120.0.0/16")), hub.Remembered{})
	wantReached(t, want, self, "10.119.0.0/16 web")
	wantCodes(t, problems)
	// All of it excluded: the operator wanted that too.
	_, problems, _ = hub.Decide(pol, topology(pcx(1, "333333333333", "100.64.0.0/16")), hub.Remembered{})
	wantCodes(t, problems)
}

func TestEntriesThatAreNoPrefixesAreToldAndTheRestIsReached(t *testing.T) {
	p := pcx(1, "222222222222", "10.110.0.0/16", "2600:1::/56", "2600:2::/56")
	p.Peer.Bad = []string{"10.1.2.3/99"}
	p.Peer.Prefixes = append(p.Peer.Prefixes, hub.VPCRoute{}.Destination) // the zero prefix
	want, problems, _ := hub.Decide(policy(), topology(p), hub.Remembered{})
	wantReached(t, want, self, "10.110.0.0/16 billing")
	wantCodes(t, problems, hub.BadPrefix)
	six := 0
	for _, p := range problems {
		if strings.Contains(p.Detail, "IPv6") {
			six++
		}
	}
	if six != 1 {
		t.Errorf("IPv6 is told %d times, want once a spoke", six)
	}
}

func TestHostBitsAreMasked(t *testing.T) {
	p := pcx(1, "222222222222", "10.110.0.0/16")
	p.Peer.Prefixes[0] = pfx("10.110.3.4/16")
	want, _, _ := hub.Decide(policy(), topology(p), hub.Remembered{})
	wantReached(t, want, self, "10.110.0.0/16 billing")
}

func TestOnlyActivePeeringsAreSpokesAndTheOthersSayWhy(t *testing.T) {
	stranger, listed := hub.AccountID("999999999999"), hub.AccountID("222222222222")
	for _, tt := range []struct {
		name    string
		account hub.AccountID
		state   hub.PeeringState
		ours    bool // the hub VPC requested it
		codes   []hub.Code
		says    string
	}{
		{"a listed account's request", listed, hub.PeeringPending, false, []hub.Code{hub.PeeringNotActive}, "which is listed"},
		{"a stranger's request", stranger, hub.PeeringPending, false, []hub.Code{hub.PeeringNotActive}, "which nobody listed: left alone"},
		{"our request", stranger, hub.PeeringPending, true, []hub.Code{hub.PeeringNotActive}, "waits until account 999999999999 accepts"},
		{"one being made", listed, hub.PeeringProvisioning, false, []hub.Code{hub.PeeringNotActive}, "being set up"},
		{"a listed account's that failed", listed, hub.PeeringFailed, false, []hub.Code{hub.PeeringEnded}, "failed"},
		{"a stranger's that expired", stranger, hub.PeeringExpired, false, nil, ""},
		{"ours that was rejected", stranger, hub.PeeringRejected, true, []hub.Code{hub.PeeringEnded}, "rejected"},
		{"a deleted one", listed, hub.PeeringDeleted, false, nil, ""},
		{"a state nobody knows", listed, "hibernating", false, []hub.Code{hub.PeeringNotActive}, `"hibernating"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := withState(pcx(1, tt.account, "10.110.0.0/16"), tt.state)
			p.HubRequested = tt.ours
			p.Expires = time.Unix(1700000000, 0)
			want, problems, _ := hub.Decide(policy(), topology(p), hub.Remembered{})
			wantReached(t, want, self)
			wantCodes(t, problems, tt.codes...)
			if tt.says != "" && !strings.Contains(problems[0].Detail, tt.says) {
				t.Errorf("%q does not say %q", problems[0].Detail, tt.says)
			}
			p.State = hub.PeeringActive
			want, problems, _ = hub.Decide(policy(), topology(p), hub.Remembered{})
			if len(want.Reaches) != 2 {
				t.Errorf("active, and not reached: %v", reached(want))
			}
			wantCodes(t, problems)
		})
	}
}

func TestAListedAccountsRequestThatIsOfNoUseIsLeftAlone(t *testing.T) {
	for prefix, says := range map[string]string{"10.100.0.0/16": "10.100.0.0/16 overlaps the hub VPC (10.100.0.0/16); left alone", "10.110.0.0/16": "accepted in mode add or sync"} {
		_, problems, _ := hub.Decide(policy(), topology(withState(pcx(1, billing, prefix), hub.PeeringPending)), hub.Remembered{})
		wantCodes(t, problems, hub.PeeringNotActive)
		if !strings.Contains(problems[0].Detail, says) {
			t.Errorf("%q does not say %q", problems[0].Detail, says)
		}
	}
}

func TestOnlyListedAccountsAreSpokesWhenTheConfigSaysSo(t *testing.T) {
	pol := policy()
	pol.ListedOnly = true
	topo := topology(pcx(1, "222222222222", "10.110.0.0/16"), pcx(2, "999999999999", "10.120.0.0/16"))
	want, problems, _ := hub.Decide(pol, topo, hub.Remembered{})
	wantReached(t, want, self, "10.110.0.0/16 billing")
	wantCodes(t, problems, hub.NotListed)
	pol.ListedOnly = false
	want, _, _ = hub.Decide(pol, topo, hub.Remembered{})
	wantReached(t, want, self, "10.110.0.0/16 billing", "10.120.0.0/16 999999999999")
}

func TestAnEndedPeeringBesideALiveOneOfTheSameVPCDoesNotCount(t *testing.T) {
	old := withState(pcx(1, "222222222222"), hub.PeeringDeleted)
	now := pcx(2, "222222222222", "10.110.0.0/16")
	now.Peer.VPC = old.Peer.VPC
	for _, ps := range [][]hub.Peering{{old, now}, {now, old}} {
		want, problems, _ := hub.Decide(policy(), topology(ps...), hub.Remembered{})
		wantReached(t, want, self, "10.110.0.0/16 billing")
		wantCodes(t, problems)
		if want.Spokes[0].Peering != "pcx-2" {
			t.Errorf("through %s", want.Spokes[0].Peering)
		}
	}
}

func TestOfSeveralEndedPeeringsTheOneThatLivedTells(t *testing.T) {
	failed := withState(pcx(1, billing, "10.110.0.0/16"), hub.PeeringFailed)
	lived := withState(pcx(2, billing, "10.110.0.0/16"), hub.PeeringDeleted)
	lived.Peer.VPC = failed.Peer.VPC
	elsewhere := failed // the same VPC, looked for in the wrong account
	elsewhere.ID, elsewhere.HubRequested, elsewhere.Peer.Scope.Account = "pcx-0", true, "999999999999"
	for _, tt := range []struct {
		name  string
		ps    []hub.Peering
		codes []hub.Code
	}{
		{"a failed try before it", []hub.Peering{failed, lived}, nil},
		{"only a failed try", []hub.Peering{failed}, []hub.Code{hub.PeeringEnded}},
		{"a failed try in another account", []hub.Peering{elsewhere, lived}, []hub.Code{hub.PeeringEnded}},
		{"it lives, beside a failed try in another account", []hub.Peering{elsewhere, failed, pcx(1, billing, "10.110.0.0/16")}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, problems, _ := hub.Decide(policy(), topology(tt.ps...), hub.Remembered{})
			wantCodes(t, problems, tt.codes...)
			slices.Reverse(tt.ps)
			_, problems, _ = hub.Decide(policy(), topology(tt.ps...), hub.Remembered{})
			wantCodes(t, problems, tt.codes...)
		})
	}
}

func TestWithoutTopologyOnlyTheSharedPartIsWanted(t *testing.T) {
	want, problems, _ := hub.Decide(policy(), hub.Topology{}, hub.Remembered{})
	if len(want.Base.Tunnels) != 1 || len(want.Reaches) != 0 {
		t.Errorf("wanted: %+v", want)
	}
	wantCodes(t, problems, hub.NoTopology)
}

func TestSourcesThatDoNotAnswerAreTold(t *testing.T) {
	topo := topology(pcx(1, "222222222222", "10.110.0.0/16"))
	topo.Sources = append(topo.Sources,
		hub.Source{Scope: hub.Scope{Account: "222222222222", Region: tokyo}, Code: hub.RoleDenied, Error: "AssumeRole refused", At: time.Unix(1000, 0)},
		hub.Source{Scope: hub.Scope{Account: "444444444444", Region: tokyo}})
	want, problems, _ := hub.Decide(policy(), topo, hub.Remembered{})
	wantReached(t, want, self, "10.110.0.0/16 billing") // it holds nothing back
	wantCodes(t, problems, hub.RoleDenied, hub.SourceStale)
}

func TestWithoutAWayOutReachesAreHeld(t *testing.T) {
	for name, breakIt := range map[string]func(*hub.Hub){
		"no interface is known": func(h *hub.Hub) { h.Interfaces = nil },
		"no kernel name":        func(h *hub.Hub) { h.Interfaces[0].Name = "" },
		"no address":            func(h *hub.Hub) { h.Interfaces[0].Address = hub.Egress{}.Address },
	} {
		t.Run(name, func(t *testing.T) {
			topo := topology(pcx(1, "222222222222", "10.110.0.0/16"))
			breakIt(&topo.Hub)
			want, problems, _ := hub.Decide(policy(), topo, hub.Remembered{})
			wantReached(t, want, "["+self+"]", "[10.110.0.0/16 billing]")
			if !slices.Contains(codesOf(problems), hub.NoEgress) || len(want.Base.Egresses) != 0 {
				t.Errorf("problems %v, egresses %v", problems, want.Base.Egresses)
			}
		})
	}
}

func TestTheSharedPartFollowsConfigAndHub(t *testing.T) {
	want, _, _ := hub.Decide(policy(), topology(), hub.Remembered{})
	diff := cmp.Diff(hub.Base{
		Egresses: []hub.Egress{{ID: "eth0", Class: 1, Address: pfx("10.100.1.10/32").Addr(), Gateway: pfx("10.100.1.1/32").Addr(), Subnet: pfx("10.100.1.0/24")}},
		Tunnels: []hub.Tunnel{{Name: "tun0", Origins: pfxs("10.99.0.0/24", "172.27.240.0/22", "172.168.0.0/24"),
			Sites: pfxs("10.99.0.0/24", "172.168.0.0/24")}},
		Servers:   []hub.Server{{Name: "people", Sites: policy().VPNs[0].Sites}},
		HubPrefix: pfxs("10.100.0.0/16"),
	}, want.Base, values)
	if diff != "" {
		t.Errorf("base (-want +got):\n%s", diff)
	}
}

func TestEveryCodeHasMeaningAndMend(t *testing.T) {
	seen := make(map[hub.Code]bool)
	for _, d := range hub.Codes() {
		if d.Meaning == "" || d.Mend == "" || seen[d.Code] {
			t.Errorf("%s: %+v", d.Code, d)
		}
		seen[d.Code] = true
	}
	for _, c := range codesInSource(t) {
		if !seen[c] {
			t.Errorf("%s is a code and is not documented", c)
		}
		delete(seen, c)
	}
	for c := range seen {
		t.Errorf("%s is documented and is no code", c)
	}
}
