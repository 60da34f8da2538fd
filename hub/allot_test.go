package hub_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

func names(d hub.Desired) map[hub.SpokeID]string {
	out := make(map[hub.SpokeID]string)
	for _, s := range d.Spokes {
		out[s.ID] = s.Name
	}
	return out
}

func TestSpokesAreNamedAsTheOperatorWould(t *testing.T) {
	named := func(p hub.Peering, name string) hub.Peering { p.Name = name; return p }
	vpc := func(p hub.Peering, id hub.VPCID) hub.Peering { p.Peer.VPC = id; return p }
	for _, tt := range []struct {
		name string
		ps   []hub.Peering
		want map[hub.SpokeID]string
	}{
		{"the account's name before the tag", []hub.Peering{named(pcx(1, "222222222222", "10.110.0.0/16"), "tag")}, map[hub.SpokeID]string{"vpc-1": "billing"}},
		{"the tag before the account id", []hub.Peering{named(pcx(1, "999999999999", "10.110.0.0/16"), "shop eu")}, map[hub.SpokeID]string{"vpc-1": "shop-eu"}},
		{"the account id", []hub.Peering{pcx(1, "999999999999", "10.110.0.0/16")}, map[hub.SpokeID]string{"vpc-1": "999999999999"}},
		{"several VPCs of one account", []hub.Peering{
			vpc(pcx(1, "222222222222", "10.110.0.0/16"), "vpc-0aaa1111"), vpc(pcx(2, "222222222222", "10.111.0.0/16"), "vpc-0bbb2222")},
			map[hub.SpokeID]string{"vpc-0aaa1111": "billing-1111", "vpc-0bbb2222": "billing-2222"}},
		{"several whose ids end alike", []hub.Peering{
			vpc(pcx(1, "222222222222", "10.110.0.0/16"), "vpc-0aaa1111"), vpc(pcx(2, "222222222222", "10.111.0.0/16"), "vpc-0bbb1111")},
			map[hub.SpokeID]string{"vpc-0aaa1111": "billing-1111", "vpc-0bbb1111": "billing-b1111"}},
		{"the name of the hub itself", []hub.Peering{named(pcx(1, "999999999999", "10.110.0.0/16"), "infra-tokyo")},
			map[hub.SpokeID]string{"vpc-1": "infra-tokyo-1", "vpc-hub": "infra-tokyo-hub"}},
		{"nothing that may stand in a name", []hub.Peering{named(pcx(1, "999999999999", "10.110.0.0/16"), "請求 \"\n;")}, map[hub.SpokeID]string{"vpc-1": "999999999999"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, ok := tt.want["vpc-hub"]; !ok {
				tt.want["vpc-hub"] = "infra-tokyo"
			}
			want, _, _ := hub.Decide(policy(), topology(tt.ps...), hub.Remembered{})
			if diff := cmp.Diff(tt.want, names(want)); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
}

func TestASpokeKeepsItsNameWhoeverComesOrGoes(t *testing.T) {
	vpc := func(p hub.Peering, id hub.VPCID) hub.Peering { p.Peer.VPC = id; return p }
	live := vpc(pcx(5, billing, "10.110.0.0/16"), "vpc-0ccc3333")
	useless := vpc(pcx(1, billing, "10.110.8.0/24"), "vpc-0aaa1111")
	useful := vpc(pcx(2, billing, "10.111.0.0/16"), "vpc-0bbb2222")
	mem := hub.Remembered{}
	for i, step := range []struct {
		ps     []hub.Peering
		policy func(*hub.Policy)
		want   map[hub.SpokeID]string
	}{
		{[]hub.Peering{live}, nil, map[hub.SpokeID]string{"vpc-0ccc3333": "billing"}},
		{[]hub.Peering{live, useless}, nil, map[hub.SpokeID]string{"vpc-0ccc3333": "billing"}},
		{[]hub.Peering{live, useful}, nil, map[hub.SpokeID]string{"vpc-0ccc3333": "billing", "vpc-0bbb2222": "billing-2222"}},
		{[]hub.Peering{useful}, nil, map[hub.SpokeID]string{"vpc-0bbb2222": "billing-2222"}},
		{[]hub.Peering{live, useful}, nil, map[hub.SpokeID]string{"vpc-0ccc3333": "billing", "vpc-0bbb2222": "billing-2222"}},
		{[]hub.Peering{live}, func(p *hub.Policy) { p.Accounts[billing] = hub.Account{Name: "invoices"} }, map[hub.SpokeID]string{"vpc-0ccc3333": "invoices"}},
	} {
		pol := policy()
		if step.policy != nil {
			step.policy(&pol)
		}
		step.want["vpc-hub"] = "infra-tokyo"
		var want hub.Desired
		want, _, mem = hub.Decide(pol, topology(step.ps...), mem)
		if diff := cmp.Diff(step.want, names(want)); diff != "" {
			t.Errorf("step %d, names (-want +got):\n%s", i, diff)
		}
		again, _, after := hub.Decide(pol, topology(step.ps...), mem)
		if !again.Equal(want) || !after.Equal(mem) {
			t.Errorf("step %d, asked again: %v", i, names(again))
		}
	}
}

func TestNamesFitWhereTheyAreWrittenAndAreUnlike(t *testing.T) {
	legal := regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)
	var ps []hub.Peering
	for n := range 60 {
		p := pcx(n, "999999999999", fmt.Sprintf("10.%d.0.0/16", n))
		p.Name = strings.Repeat("länge ", 20)
		if n%2 == 0 {
			p.Name = fmt.Sprintf("%s-%d", strings.Repeat("l-nge-", 20)[:60], n) // as the others are after cutting
		}
		ps = append(ps, p)
	}
	want, _, _ := hub.Decide(policy(), topology(ps...), hub.Remembered{})
	seen := make(map[string]bool)
	for _, s := range want.Spokes {
		if !legal.MatchString(s.Name) || seen[s.Name] {
			t.Errorf("%q of %s", s.Name, s.ID)
		}
		seen[s.Name] = true
	}
	if len(seen) < 60 {
		t.Errorf("only %d spokes", len(seen))
	}
}

func TestASpokeKeepsItsNumberForEver(t *testing.T) {
	a, b := pcx(1, "222222222222", "10.110.0.0/16"), pcx(2, "333333333333", "10.120.0.0/16")
	_, _, mem := hub.Decide(policy(), topology(b), hub.Remembered{})
	number := mem.Numbers["vpc-2"]
	_, _, mem = hub.Decide(policy(), topology(a, b), mem)
	_, _, mem = hub.Decide(policy(), topology(a), mem)
	want, _, mem := hub.Decide(policy(), topology(a, b), mem)
	if mem.Numbers["vpc-2"] != number {
		t.Errorf("%d became %d", number, mem.Numbers["vpc-2"])
	}
	marks := make(map[uint32]bool)
	for _, r := range want.Reaches {
		if r.Mark>>hub.MarkClassShift != 1 || uint16(r.Mark&hub.MarkSpokeMask) != mem.Numbers[r.Spoke] {
			t.Errorf("mark %#x of %s, number %d", r.Mark, r.Spoke, mem.Numbers[r.Spoke])
		}
		marks[r.Mark] = true
	}
	if len(marks) != 3 {
		t.Errorf("%d marks for three spokes", len(marks))
	}
}

func TestWhenAllNumbersAreUsedThoseOfVanishedVPCsAreTaken(t *testing.T) {
	full := func(id func(n int) hub.SpokeID) hub.Remembered {
		mem := hub.Remembered{Numbers: make(map[hub.SpokeID]uint16)}
		for n := 1; n <= 65535; n++ {
			mem.Numbers[id(n)] = uint16(n)
		}
		return mem
	}
	gone := full(func(n int) hub.SpokeID { return hub.SpokeID(fmt.Sprintf("vpc-gone-%d", n)) })
	want, problems, _ := hub.Decide(policy(), topology(pcx(1, "222222222222", "10.110.0.0/16")), gone)
	wantReached(t, want, self, "10.110.0.0/16 billing")
	wantCodes(t, problems)
	if len(gone.Numbers) != 65535 {
		t.Error("the input was changed")
	}

	var ps []hub.Peering // and none to take: every one is listed still
	for n := 1; n <= 65535; n++ {
		ps = append(ps, withState(pcx(n, "222222222222"), hub.PeeringPending))
	}
	ps = append(ps, pcx(70000, "222222222222", "10.110.0.0/16"))
	here := full(func(n int) hub.SpokeID { return hub.SpokeID(fmt.Sprintf("vpc-%d", n)) })
	want, problems, _ = hub.Decide(policy(), topology(ps...), here)
	wantReached(t, want)
	if c := codesOf(problems); len(c) != 2 || c[1] != hub.SpokeNumbers { // beside PEERING_PENDING
		t.Errorf("problems: %v", c)
	}
}
