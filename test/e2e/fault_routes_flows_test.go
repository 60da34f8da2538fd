package e2e

import (
	"fmt"
	"strings"

	"peerhub/test/lab"
)

func init() { faultsOfRoutes = append(faultsOfRoutes, faultsOfFlows...) }

// faultsOfFlows are what becomes of flows whose spoke goes.
var faultsOfFlows = []fault{
	{
		id: "F64", name: "a spoke is revoked, then its peering deleted, while a flow to it runs",
		inject:  "sed -i.kept 's|{name: svc2}|{name: svc2, exclude: ['$SVC2_CIDR']}|' $CONFIG; kill -HUP $HUBD_PID",
		expect:  "its conntrack entries go and the flow stops within a second, although replies were let through before; other flows lose nothing",
		lossy:   "the office's flow is the one that must stop; the other two lose nothing",
		control: "the check of every packet against the spokes that live (only the set of prefixes is changed, as for a rule that looks at new flows)",
		run: func(s *scene) {
			if s.flowsTo("svc2") == 0 {
				s.t.Fatal("control: conntrack has no flow to svc2")
			}
			stops := func(what string) {
				s.converged(what, func() error {
					if n := s.flowsTo("svc2"); n > 0 {
						return fmt.Errorf("conntrack has %d flows to it", n)
					}
					return nil
				})
				s.probes[2].stalls(25)
				if n := s.flowsTo("svc2"); n > 0 {
					s.t.Errorf("conntrack has %d flows to svc2 again", n)
				}
				s.saw("%s: the flow was gone after %d ms, for good", what, s.took.Milliseconds())
			}
			s.inject()
			stops("revoked in the config")
			s.paste("mv $CONFIG.kept $CONFIG; kill -HUP $HUBD_PID")
			s.probes[2].more(10) // the near twin: the same flow, allowed again
			s.clock()
			s.paste("aws $HUB ec2 delete-vpc-peering-connection --vpc-peering-connection-id $SVC2_PCX")
			stops("peering deleted")
			s.unharmed(0, 1)
		},
		harm: func(s *scene) string {
			p := s.probe("udp", lab.HostOffice, "svc2")
			s.must(s.KillUnit(lab.UnitHubd))
			s.paste("on-hub nft delete element inet hubd spokes4 { $SVC2_CIDR }")
			p.more(100)
			return "the flow of a revoked spoke went on: 100 more packets came back, 2 s long"
		},
	},
}

// flowsTo counts the flows to a service that the hub's conntrack knows.
func (s *scene) flowsTo(host string) int {
	s.t.Helper()
	return strings.Count(s.sh(lab.HostHub, "conntrack -L -d "+s.addr(host)+" 2>/dev/null || true"), "dst="+s.addr(host))
}
