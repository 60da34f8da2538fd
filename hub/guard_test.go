package hub_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

// story is a sequence of passes without planes: what Decide and Guard make of each topology.
type story struct {
	t       *testing.T
	policy  hub.Policy
	prev    *hub.Desired
	mem     hub.Remembered
	survey  uint64
	verdict hub.Verdict
	allow   bool
}

func newStory(t *testing.T) *story {
	return &story{t: t, policy: policy()}
}

// next is a pass after a new complete answer.
func (s *story) next(ps ...hub.Peering) *story {
	s.survey++
	return s.with(survey(topology(ps...), s.survey))
}

func (s *story) with(topo hub.Topology) *story {
	want, _, mem := hub.Decide(s.policy, topo, s.mem)
	s.verdict = hub.Guard(s.prev, want, topo, s.policy, mem, s.allow)
	s.prev, s.mem = &s.verdict.Desired, s.verdict.Remembered
	return s
}

func (s *story) reached(want ...string) *story {
	s.t.Helper()
	if diff := cmp.Diff(append([]string{self}, want...), reached(s.verdict.Desired), values); diff != "" {
		s.t.Errorf("reached (-want +got):\n%s", diff)
	}
	return s
}

func (s *story) says(codes ...hub.Code) *story {
	s.t.Helper()
	if diff := cmp.Diff(codes, codesOf(s.verdict.Problems), values); diff != "" {
		s.t.Errorf("problems (-want +got):\n%s\n%v", diff, s.verdict.Problems)
	}
	return s
}

const (
	billing  = hub.AccountID("222222222222")
	billing1 = "10.110.0.0/16 billing"
	held1    = "[10.110.0.0/16 billing]"
	web2     = "10.120.0.0/16 web"
)

var (
	one = pcx(1, billing, "10.110.0.0/16")
	two = pcx(2, "333333333333", "10.120.0.0/16")
)

func TestAnEndedPeeringCountsAtOnceInAFreshAnswer(t *testing.T) {
	for _, end := range []hub.PeeringState{hub.PeeringDeleted, hub.PeeringDeleting, hub.PeeringRejected, hub.PeeringFailed, hub.PeeringExpired} {
		newStory(t).next(one, two).reached(billing1, web2).
			next(withState(one, end), two).reached(web2).says(hub.PeeringEnded).
			next(withState(one, end), two).reached(web2).says()
	}
	s := newStory(t).next(one, two)
	topo := topology(withState(one, hub.PeeringDeleted), two)
	topo.Sources[0].Fresh = false
	s.with(topo).reached(held1, web2) // the twin: not fresh
}

func TestMereAbsenceNeedsAgreeingAnswers(t *testing.T) {
	s := newStory(t).next(one, two)
	s.next(two).reached(held1, web2)
	again := survey(topology(two), s.survey)
	s.with(again).reached(held1, web2).with(again).reached(held1, web2) // the same answer again proves nothing
	s.next(two).reached(held1, web2)
	if s.mem.Absent["vpc-1"].Count != 2 {
		t.Errorf("counted %+v", s.mem.Absent)
	}
	s.next(two).reached(web2)
	if len(s.mem.Absent) != 0 {
		t.Errorf("still counting: %+v", s.mem.Absent)
	}
}

func TestASpokeThatComesBackBeginsAnew(t *testing.T) {
	s := newStory(t).next(one, two).next(two).next(two).reached(held1, web2)
	s.next(one, two).reached(billing1, web2).next(two).next(two).reached(held1, web2).next(two).reached(web2)
}

func TestAnAnswerThatIsNotFreshProvesNothing(t *testing.T) {
	s := newStory(t).next(one, two)
	for n := range 10 {
		topo := survey(topology(two), uint64(100+n))
		topo.Sources[0].Fresh = false
		s.with(topo).reached(held1, web2)
	}
	s.next(two).next(two).reached(held1, web2).next(two).reached(web2) // the twin: three fresh ones
}

func TestAPrefixThatIsNotAnnouncedAnyMoreNeedsAgreeingAnswers(t *testing.T) {
	both := pcx(1, billing, "10.110.0.0/16", "10.111.0.0/16")
	s := newStory(t).next(both, two).reached(billing1, "10.111.0.0/16 billing", web2)
	s.next(one, two).next(one, two).reached(billing1, "[10.111.0.0/16 billing]", web2)
	s.next(one, two).reached(billing1, web2)
	if len(s.mem.AbsentPrefixes) != 0 {
		t.Errorf("still counting: %v", s.mem.AbsentPrefixes)
	}
}

func TestAStateThatIsNeitherActiveNorAnEndIsLeftAlone(t *testing.T) {
	for _, state := range []hub.PeeringState{hub.PeeringProvisioning, hub.PeeringPending, "hibernating"} {
		s := newStory(t).next(one, two)
		for range 10 {
			s.next(withState(one, state), two).reached(held1, web2)
		}
		s.next(one, two).reached(billing1, web2)
	}
}

func TestTheConfigActsAtOnceAndWithoutLimit(t *testing.T) {
	for name, set := range map[string]func(*hub.Policy){
		"protect":              func(p *hub.Policy) { p.Protect = pfxs("10.110.0.0/16", "10.120.0.0/16") },
		"a pool that overlaps": func(p *hub.Policy) { p.VPNs[0].Pools = pfxs("10.110.0.0/22", "10.120.0.0/22") },
		"excluded, but protected too": func(p *hub.Policy) {
			excludeBoth(p)
			p.Protect = pfxs("10.110.0.0/16", "10.120.0.0/16")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory(t).next(one, two)
			set(&s.policy)
			s.next(one, two).reached().says()

			s = newStory(t).next(one, two).next().reached(held1, "["+web2+"]") // and what is held goes too
			set(&s.policy)
			s.next().reached()

			s = newStory(t).next(one, two) // and without any topology
			set(&s.policy)
			s.with(hub.Topology{}).reached()
		})
	}
}

func fleet(n int) []hub.Peering {
	var out []hub.Peering
	for i := range n {
		out = append(out, pcx(i+1, hub.AccountID(fmt.Sprintf("%012d", 700000000000+i)), fmt.Sprintf("10.%d.0.0/16", 101+i)))
	}
	return out
}

func ended(ps []hub.Peering, n int) []hub.Peering {
	out := slices.Clone(ps)
	for i := range n {
		out[i].State = hub.PeeringDeleted
	}
	return out
}

func heldReaches(d hub.Desired) int {
	n := 0
	for _, r := range d.Reaches {
		if r.Hold {
			n++
		}
	}
	return n
}

func TestAPassThatWouldRemoveMoreThanTheLimitRemovesNothing(t *testing.T) {
	ps := fleet(19) // and the hub itself: 20 reaches
	for _, tt := range []struct {
		name       string
		gone       int
		maxRemoved int
		held       int
	}{
		{"one is always allowed", 1, 0, 0},
		{"two are not, at 0 %", 2, 0, 2},
		{"four of twenty are 20 %", 4, 20, 0},
		{"five are more", 5, 20, 5},
		{"all of them", 19, 20, 19},
		{"all of them, at 100 %", 19, 100, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStory(t)
			s.policy.Safety.MaxRemoved = tt.maxRemoved
			s.next(ps...).next(ended(ps, tt.gone)...)
			if got := heldReaches(s.verdict.Desired); got != tt.held {
				t.Errorf("%d held, want %d", got, tt.held)
			}
			if tt.held == 0 {
				s.says(hub.PeeringEnded)
				return
			}
			s.says(hub.RemovalHeld)
			if p := s.verdict.Problems[0]; !strings.Contains(p.Mend, "hubctl sync --allow-removals") {
				t.Errorf("mend: %q", p.Mend)
			}
			s.next(ended(ps, tt.gone)...) // it stays held
			if got := heldReaches(s.verdict.Desired); got != tt.held {
				t.Errorf("%d held in the next pass, want %d", got, tt.held)
			}
			s.allow = true // and the operator may
			s.next(ended(ps, tt.gone)...)
			if got := len(s.verdict.Desired.Reaches); got != 20-tt.gone {
				t.Errorf("allowed, and %d reaches are left", got)
			}
			if s.mem.Run.Reaches != 0 {
				t.Errorf("the run goes on: %+v", s.mem.Run)
			}
		})
	}
}

func TestARunOfPassesIsBoundedAndEndsWhenItIsQuiet(t *testing.T) {
	ps := fleet(19)
	s := newStory(t).next(ps...)
	for n := 1; n <= 4; n++ {
		s.next(ended(ps, n)...)
		if heldReaches(s.verdict.Desired) != 0 {
			t.Fatalf("removal %d is held", n)
		}
	}
	s.next(ended(ps, 5)...).says(hub.RemovalHeld) // one a pass adds up
	for n := 0; n < 3; n++ {
		s.next(ended(ps, 4)...) // it was a wrong answer: the spoke is back
	}
	if s.mem.Run.Reaches != 0 {
		t.Errorf("the run goes on: %+v", s.mem.Run)
	}
	s.next(ended(ps, 5)...)
	if heldReaches(s.verdict.Desired) != 0 {
		t.Error("after quiet answers one more is held")
	}
}

// Spokes that vanish one after the other are one loss: the first does not go before it is
// known that the others do not follow. The control is one alone.
func TestSpokesThatVanishOneByOneAreHeld(t *testing.T) {
	ps := fleet(7) // and the hub itself: 8 reaches
	s := newStory(t)
	s.policy.Safety.MaxRemoved = 20
	s.next(ps...)
	for n := range 6 {
		s.next(ps[n+1:]...)
		if held := heldReaches(s.verdict.Desired); held != n+1 || len(s.verdict.Desired.Reaches) != 8 {
			t.Fatalf("%d are absent, and %d are held of %d", n+1, held, len(s.verdict.Desired.Reaches))
		}
	}
	s.says(hub.RemovalHeld)
	s.next(ps...)
	for range 3 {
		s.next(ps[1:]...)
	}
	if n := len(s.verdict.Desired.Reaches); n != 7 {
		t.Errorf("one alone is absent for three answers, and %d prefixes are reached, want 7", n)
	}
}

func TestOneSpokeWithMostOfThePrefixesMayGo(t *testing.T) {
	big := pcx(1, billing, "10.110.0.0/16", "10.111.0.0/16", "10.112.0.0/16", "10.113.0.0/16")
	newStory(t).next(big, two).next(withState(big, hub.PeeringDeleted), two).reached(web2)
}

func TestAnswersWithoutAnySpokeNeverEmptyTheHub(t *testing.T) {
	s := newStory(t).next(one)
	for range 10 {
		s.next().reached(held1)
	}
	s.says(hub.RemovalHeld)
	newStory(t).next(one).next(withState(one, hub.PeeringDeleted)).reached() // the twin: it was seen to end
	s.allow = true
	s.next().reached()
}

func TestAllowingDoesNotMakeAnOldAnswerNew(t *testing.T) {
	s := newStory(t).next(one, two)
	s.allow = true
	topo := topology(two)
	topo.Sources[0].Fresh = false
	s.with(topo).reached(held1, web2)
	s.next(two).reached(web2)
}

func TestANewcomerWaitsUntilTheHolderIsGoneForCertain(t *testing.T) {
	thief := pcx(3, "999999999999", "10.110.7.0/24", "10.130.0.0/16")
	s := newStory(t).next(one, two).next(two, thief).reached(held1, web2, "10.130.0.0/16 999999999999").says(hub.Collision)
	if s.mem.Winners[pfx("10.110.0.0/16")] != "pcx-1" {
		t.Errorf("winners: %v", s.mem.Winners)
	}
	for _, r := range s.verdict.Desired.Routes {
		if r.Destination == pfx("10.110.7.0/24") {
			t.Errorf("a route for the newcomer: %+v", r)
		}
	}
	s.next(one, two, thief).reached(billing1, web2, "10.130.0.0/16 999999999999") // the holder is back and keeps it
	s.next(withState(one, hub.PeeringDeleted), two, thief).reached("10.110.7.0/24 999999999999", web2, "10.130.0.0/16 999999999999")
	s.next(one, two, thief).reached("10.110.7.0/24 999999999999", web2, "10.130.0.0/16 999999999999") // and now the other one is
}

func TestHeldReachesKeepTheirVPCRoutes(t *testing.T) {
	seen := func(ps ...hub.Peering) hub.Topology { return seeing(topology(ps...), one, "rtb-a") }
	s := newStory(t).with(seen(one, two))
	s.with(survey(seen(two), 2))
	if diff := cmp.Diff([]string{"[rtb-hub 10.110.0.0/16 pcx-1]", "rtb-hub 10.120.0.0/16 pcx-2"}, written(s.verdict.Desired, hub.SideHub)); diff != "" {
		t.Errorf("hub side (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"[rtb-a 10.100.1.0/24 pcx-1]"}, written(s.verdict.Desired, hub.SideSpoke)); diff != "" {
		t.Errorf("spoke side (-want +got):\n%s", diff)
	}
	s.with(survey(seen(two), 3)).with(survey(seen(two), 4))
	if got := written(s.verdict.Desired, hub.SideSpoke); len(got) != 0 {
		t.Errorf("gone, and still wanted: %v", got)
	}
}

func TestAPeeringMadeAnewMovesTheRoutesAndHoldsNothing(t *testing.T) {
	anew := pcx(9, billing, "10.110.0.0/16")
	anew.Peer.VPC = one.Peer.VPC
	s := newStory(t).next(one, two).next(withState(one, hub.PeeringDeleted), anew, two).reached(billing1, web2).says()
	if diff := cmp.Diff([]string{"rtb-hub 10.110.0.0/16 pcx-9", "rtb-hub 10.120.0.0/16 pcx-2"}, written(s.verdict.Desired, hub.SideHub)); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

func TestWithoutTopologyWhatStoodGoesOn(t *testing.T) {
	s := newStory(t).next(one, two)
	before := s.verdict.Desired
	s.with(hub.Topology{})
	if !s.verdict.Desired.Equal(before) {
		t.Errorf("changed (-want +got):\n%s", cmp.Diff(before, s.verdict.Desired, values))
	}
	s.next(one, two).reached(billing1, web2)
}

func TestAHubWithoutItsWayOutKeepsWhatStoodAndTakesNothingNew(t *testing.T) {
	blind := func(ps ...hub.Peering) hub.Topology {
		topo := topology(ps...)
		topo.Hub.Interfaces[0].Name = ""
		topo.Hub.Interfaces[0].Subnet, topo.Hub.Interfaces[0].SubnetPrefix = "", hub.Egress{}.Subnet
		return topo
	}
	s := newStory(t).next(one).with(blind(one, two))
	if diff := cmp.Diff([]string{"[" + self + "]", held1}, reached(s.verdict.Desired)); diff != "" {
		t.Errorf("reached (-want +got):\n%s", diff)
	}
	if e := s.verdict.Desired.Base.Egresses; len(e) != 1 || !e[0].Hold || e[0].ID != "eth0" {
		t.Errorf("egress: %+v", e)
	}
	if diff := cmp.Diff([]string{"[rtb-hub 10.110.0.0/16 pcx-1]"}, written(s.verdict.Desired, hub.SideHub)); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	s.next(one, two).reached(billing1, web2)
	if got := newStory(t).with(blind(one)).verdict.Desired.Reaches; len(got) != 0 {
		t.Errorf("nothing stood, and wanted is %v", got)
	}
}

func TestAHeldSpokeGivesWayInItsName(t *testing.T) {
	other := pcx(5, billing, "10.150.0.0/16")
	s := newStory(t).next(one, two).next(other, two)
	s.reached("[10.110.0.0/16 billing-1]", web2, "10.150.0.0/16 billing")
}

func TestGuardDoesNotWriteIntoItsInput(t *testing.T) {
	s := newStory(t).next(one, two).next(two)
	prev, mem := *s.prev, s.mem
	before := cmp.Diff(hub.Remembered{}, mem, values)
	want, _, after := hub.Decide(s.policy, survey(topology(), 9), mem)
	hub.Guard(&prev, want, survey(topology(), 9), s.policy, after, false)
	if got := cmp.Diff(hub.Remembered{}, mem, values); got != before {
		t.Errorf("the memory changed:\n%s", got)
	}
	if mem.Absent["vpc-1"].Since != time.Unix(1000, 0).UTC() {
		t.Errorf("since: %v", mem.Absent)
	}
}

// What is held stays held: newcomers in the same answer do not make it a small share.
func TestNewcomersDoNotLiftTheLimit(t *testing.T) {
	s := newStory(t)
	s.policy.Safety = hub.Safety{RemovalsAfter: 1, MaxRemoved: 40}
	old := []hub.Peering{pcx(1, billing, "10.110.0.0/16"), pcx(2, billing, "10.111.0.0/16"), pcx(3, billing, "10.112.0.0/16")}
	s.with(survey(topology(old...), 1))
	answer := survey(topology(old[0], pcx(4, billing, "10.113.0.0/16"), pcx(5, billing, "10.114.0.0/16"), pcx(6, billing, "10.115.0.0/16")), 2)
	for range 3 {
		s.with(answer)
		if n := len(s.verdict.Held); n != 2 {
			t.Fatalf("%d prefixes are held, want 2: %v", n, reached(s.verdict.Desired))
		}
	}
	s.allow = true
	if s.with(answer); len(s.verdict.Held) > 0 {
		t.Errorf("allowed, and yet held: %v", s.verdict.Held)
	}
}
