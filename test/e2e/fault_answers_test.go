package e2e

import (
	"errors"
	"fmt"
	"slices"

	"peerhub/hub"
	"peerhub/test/lab"
)

// faultsOfAnswers are what AWS says, and does not say.
var faultsOfAnswers = slices.Concat(faultsOfNothing, faultsOfTempo, faultsOfWalk, faultsOfMetadata, faultsOfContent)

var faultsOfNothing = []fault{
	{
		id: "F01", name: "AWS answers well, and lists nothing: no peering, for six polls",
		inject:  "hublab fault empty-set DescribeVpcPeeringConnections",
		expect:  "nothing is removed; REMOVAL_HELD says so; hubctl sync --allow-removals would, for who wants it",
		control: "the guard",
		run: func(s *scene) {
			stood := s.standing()
			s.inject()
			s.afterPolls(6)
			eventually(s.t, "status says so", func() error { return s.hasProblem(hub.RemovalHeld, "") })
			if err := same(stood, s.standing()); err != nil {
				s.t.Errorf("something changed: %v", err)
			}
			s.clock()
			s.paste("hublab fault empty-set off")
			s.converged("nothing is held any more", func() error {
				if s.hasProblem(hub.RemovalHeld, "") == nil {
					return errors.New("something is held")
				}
				return nil
			})
			s.saw("6 answers without a peering changed nothing, REMOVAL_HELD; quiet again when they were listed")
		},
		off: func(g *stage) { g.without("guard") },
		harm: func(s *scene) string {
			p := s.probe("udp", lab.HostLaptop1, "svc1")
			s.inject()
			p.stalls(50)
			return "every spoke was removed: the traffic stopped"
		},
	},
	{
		id: "F02", name: "AWS answers 503, then late, then not at all",
		inject:  "hublab fault unavailable on",
		expect:  "the last good state stays; status tells its age; calls become rarer; it heals alone",
		control: "the last good topology (hubd starts without its state)",
		run: func(s *scene) {
			stood := s.standing()
			s.inject()
			eventually(s.t, "status says so", func() error { return s.hasProblem(hub.SourceStale, s.Spec.HubAccount) })
			s.paste("hublab fault unavailable off\nhublab fault latency 25s")
			s.hubctl("sync", "--yes")
			s.paste("hublab fault latency off\nhublab fault region-down $REGION")
			s.hubctl("sync", "--yes")
			eventually(s.t, "status says so still", func() error { return s.hasProblem(hub.SourceStale, s.Spec.HubAccount) })
			if err := same(stood, s.standing()); err != nil {
				s.t.Errorf("something changed: %v", err)
			}
			s.clock()
			s.paste("hublab fault region-down off")
			s.converged("it heals alone", func() error {
				if s.hasProblem(hub.SourceStale, "") == nil {
					return errors.New("a source is stale")
				}
				return nil
			})
			s.saw("nothing changed through 503, late answers and cut connections; healed alone")
		},
		harm: func(s *scene) string {
			s.inject()
			s.paste("hublab unit kill hubd; on-hub nft delete table inet hubd || true; rm -rf $STATE; hublab unit start hubd || true")
			s.stops(lab.HostLaptop1, "svc1")
			return "a hub without memory did not know where to send anything"
		},
	},
	{
		id: "F04", name: "one account of several refuses the hub; another spoke appears meanwhile",
		inject:  "hublab fault deny AssumeRole@$SVC1,DescribeVpcs@$SVC1,DescribeRouteTables@$SVC1\naws $SVC2 ec2 associate-vpc-cidr-block --vpc-id $SVC2_VPC --cidr-block 10.114.0.0/16 >/dev/null",
		expect:  "only that account's source is frozen and named, what works of it goes on; the others converge",
		control: "hubd (stopped)",
		run: func(s *scene) {
			s.inject()
			s.converged("the other account's prefix is routed", func() error { return s.routed("10.114.0.0/16") })
			eventually(s.t, "status names the account", func() error { return s.hasProblem(hub.RoleDenied, "svc1") })
			s.saw("10.114.0.0/16 of svc2 was routed, ROLE_DENIED named svc1, which went on working")
			s.paste("hublab fault deny off")
			eventually(s.t, "it heals", s.healthy)
		},
		harm: func(s *scene) string {
			s.paste("kill -STOP $HUBD_PID")
			defer s.paste("kill -CONT $HUBD_PID")
			s.inject()
			if s.routed("10.114.0.0/16") != nil {
				return "the prefix got no route"
			}
			return ""
		},
	},
	{
		id: "F03", name: "the second page of an answer fails, for six polls",
		inject:  "hublab fault page-size 1\nhublab fault page2-fail DescribeVpcPeeringConnections",
		expect:  "nothing changes, status says which source is stale and why; the next whole answer counts",
		control: "discarding half answers, and the guard",
		run: func(s *scene) {
			stood := s.standing()
			s.inject()
			eventually(s.t, "status says so", func() error { return s.hasProblem(hub.SourceStale, s.Spec.HubAccount) })
			s.refusedCalls("DescribeVpcPeeringConnections", 6)
			if err := same(stood, s.standing()); err != nil {
				s.t.Errorf("something changed: %v", err)
			}
			s.saw("nothing changed in 6 refused polls, SOURCE_STALE named %s", s.Spec.HubAccount)
			s.clock()
			s.paste("hublab fault page2-fail off")
			s.converged("hubd believes the whole answer", func() error {
				if s.hasProblem(hub.SourceStale, s.Spec.HubAccount) == nil {
					return errors.New("the source is stale still")
				}
				return nil
			})
		},
		off: func(g *stage) { g.without("whole-pages", "guard") },
		harm: func(s *scene) string {
			p := s.probe("udp", lab.HostLaptop1, "svc2")
			s.inject()
			p.stalls(50)
			return "a spoke that stands on page 2 was removed: its traffic stopped"
		},
	},
}

// refusedCalls waits until hubd's calls of an action, or with "" any, were refused n times more.
func (s *scene) refusedCalls(action string, n int) {
	s.t.Helper()
	from := len(s.Requests(0))
	eventually(s.t, fmt.Sprintf("%s was refused %d times", action, n), func() error {
		have := 0
		for _, q := range s.Requests(from) {
			if (q.Action == action || action == "") && byHubd(q) && q.Code != "" {
				have++
			}
		}
		if have < n {
			return fmt.Errorf("%d times", have)
		}
		return nil
	})
}
