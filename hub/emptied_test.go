package hub_test

import (
	"strings"
	"testing"

	"peerhub/hub"
)

func excludeBoth(p *hub.Policy) {
	p.Accounts = map[hub.AccountID]hub.Account{
		billing:        {Name: "billing", Exclude: pfxs("10.110.0.0/16")},
		"333333333333": {Name: "web", Exclude: pfxs("10.120.0.0/16")},
	}
}

// A config that leaves none of two or more spokes is held until it is said to be meant. Its
// twins leave one, or there was one only.
func TestAConfigThatLeavesNoSpokeIsHeld(t *testing.T) {
	held2 := "[" + web2 + "]"
	for _, tt := range []struct {
		name  string
		stood []hub.Peering
		set   func(*hub.Policy)
		left  []string
		held  bool
	}{
		{"nobody is listed", []hub.Peering{one, two}, func(p *hub.Policy) { p.ListedOnly, p.Accounts = true, nil }, []string{held1, held2}, true},
		{"all are excluded", []hub.Peering{one, two}, excludeBoth, []string{held1, held2}, true},
		{"one is listed still", []hub.Peering{one, two}, func(p *hub.Policy) {
			p.ListedOnly, p.Accounts = true, map[hub.AccountID]hub.Account{"333333333333": {Name: "web"}}
		}, []string{web2}, false},
		{"one is excluded", []hub.Peering{one, two}, func(p *hub.Policy) {
			p.Accounts = map[hub.AccountID]hub.Account{billing: {Exclude: pfxs("10.110.0.0/16")}, "333333333333": {Name: "web"}}
		}, []string{web2}, false},
		{"there was one only", []hub.Peering{one}, func(p *hub.Policy) { p.ListedOnly, p.Accounts = true, nil }, nil, false},
	} {
		for _, without := range []bool{false, true} {
			s := newStory(t).next(tt.stood...)
			named := s.policy
			tt.set(&s.policy)
			pass := func() *story {
				if without { // AWS is silent, and nothing is known
					return s.with(hub.Topology{})
				}
				return s.next(tt.stood...)
			}
			for range 5 { // it stays so
				pass().reached(tt.left...)
			}
			if !tt.held {
				s.says()
				continue
			}
			s.says(hub.RemovalHeld)
			if h := s.verdict.Held; len(h) != 2 || !strings.Contains(h[0].Reason, "the config leaves no spoke") {
				t.Errorf("%s: held %+v", tt.name, h)
			}
			if without {
				continue
			}
			gone := s.policy
			s.policy = named // mended
			pass().reached(billing1, web2).says()
			s.policy, s.allow = gone, true // or meant
			pass().reached().says()
		}
	}
}

func TestSpokesThatAnswersLackAreHeldByTheConfigToo(t *testing.T) {
	s := newStory(t).next(one, two).next().reached(held1, "["+web2+"]")
	s.policy.ListedOnly, s.policy.Accounts = true, nil
	for range 5 {
		s.next().reached(held1, "["+web2+"]").says(hub.RemovalHeld)
	}
	s.allow = true
	s.next().reached()
}
