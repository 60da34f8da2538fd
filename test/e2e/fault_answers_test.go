package e2e

import (
	"errors"
	"fmt"

	"peerhub/hub"
	"peerhub/test/lab"
)

// faultsOfAnswers are what AWS says, and does not say.
var faultsOfAnswers = []fault{
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
			return fmt.Sprintf("a spoke that stands on page 2 was removed: its traffic stopped")
		},
	},
}

// refusedCalls waits until hubd's calls of an action were refused n times more.
func (s *scene) refusedCalls(action string, n int) {
	s.t.Helper()
	from := len(s.Requests(0))
	eventually(s.t, fmt.Sprintf("%s was refused %d times", action, n), func() error {
		have := 0
		for _, q := range s.Requests(from) {
			if q.Action == action && byHubd(q) && q.Code != "" {
				have++
			}
		}
		if have < n {
			return fmt.Errorf("%d times", have)
		}
		return nil
	})
}
