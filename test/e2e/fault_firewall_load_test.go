package e2e

import (
	"fmt"
	"strings"

	"peerhub/hub"
	"peerhub/test/lab"
)

// flowLimit is how many flows a source may have where the limit is tested.
const flowLimit = 300

// faultsOfLoad are too much at once.
var faultsOfLoad = []fault{
	{
		id: "F31", name: "the connection table is nearly full, and one client opens a thousand connections",
		inject: "hublab exec laptop1 -- timeout 4 bash -c 'ulimit -n 4096; for i in $(seq 3000); do exec {fd}<>/dev/tcp/'$SVC1_HOST'/7; done; sleep 4' || true",
		expect: "alarms at 80 and at 95 %; the client gets its share of flows, the others go on as if there were none",
		lossy:  "",
		setup: func(g *stage) {
			g.replace("ownership: "+g.mode+"}", fmt.Sprintf("ownership: %s, max_flows: %d}", g.mode, flowLimit))
		},
		run: func(s *scene) {
			s.fillConntrack(85, 0)
			eventually(s.t, "status says that it fills", func() error { return s.hasProblem(hub.ConntrackFull, "80 %") })
			s.fillConntrack(100, 1000)
			s.clock()
			s.converged("status says that it is nearly full", func() error { return s.hasProblem(hub.ConntrackFull, "95 %") })
			gauges := s.sh(lab.HostHub, "curl -s http://127.0.0.1:9586/metrics | grep ^hubd_conntrack_")
			done := s.background(s.fault.inject)
			eventually(s.t, "the client is refused", func() error {
				if n := s.guard()["drop_limit"]; n == 0 {
					return fmt.Errorf("drops: %v", s.guard())
				}
				return nil
			})
			for range 20 {
				if err := s.arrives(lab.HostLaptop2, "svc2"); err != nil {
					s.t.Errorf("another client: %v", err)
				}
			}
			done()
			s.saw("CONNTRACK_FULL at 80 and at 95 %% (%s); %d packets over the limit of %d flows refused, 20 of 20 new connections of another client stood",
				strings.ReplaceAll(strings.TrimSpace(gauges), "\n", ", "), s.guard()["drop_limit"], flowLimit)
			s.sh(lab.HostHub, "conntrack -D -s 198.18.0.0/15 >/dev/null 2>&1")
			s.reaches(everybody, s.Spec.Targets())
		},
		control: "masq.max_flows (0)",
		off: func(g *stage) {
			g.keys = nil
			g.replace("ownership: "+g.mode+"}", "ownership: "+g.mode+", max_flows: 0}")
		},
		harm: func(s *scene) string {
			s.fillConntrack(100, 1000)
			done := s.background(s.fault.inject)
			defer done()
			refused := 0
			eventually(s.t, "another client is refused", func() error {
				if s.arrives(lab.HostLaptop2, "svc2") == nil {
					return fmt.Errorf("%d were refused", refused)
				}
				if refused++; refused < 3 {
					return fmt.Errorf("%d were refused", refused)
				}
				return nil
			})
			return "the table was full: new connections of another client were refused"
		},
	},
}

// background runs lines as inject does, beside what the test does; the returned function waits
// for their end.
func (s *scene) background(lines string) (wait func()) {
	done := make(chan answer, 1)
	go func() { done <- s.tryPaste(lines) }()
	return func() {
		s.t.Helper()
		if a := <-done; a.code != 0 {
			s.t.Errorf("%s: exit %d: %s%s", lines, a.code, a.out, a.talk)
		}
	}
}
