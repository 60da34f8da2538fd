package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"peerhub/hub"
	"peerhub/test/lab"
)

// faultsOfWalk are answers of several times: late, of old and new in turn, and the states
// that a peering walks through.
var faultsOfWalk = []fault{
	{
		id: "F06", name: "a route that was created is not in the answers for a while",
		inject: "hublab fault route-lag 5m\naws $SVC1 ec2 associate-vpc-cidr-block --vpc-id $SVC1_VPC --cidr-block 10.113.0.0/16 >/dev/null",
		expect: "created once, not again and not removed while nobody sees it; one that exists already, to where it is wanted, is done",
		run: func(s *scene) {
			from := len(s.Requests(0))
			s.inject()
			s.converged("the prefix is routed", func() error { return s.routed("10.113.0.0/16") })
			s.afterPolls(6)
			if made, gone := s.calls(from, "CreateRoute", "10.113.0.0/16"), s.calls(from, "DeleteRoute", "10.113.0.0/16"); made != 1 || gone != 0 {
				s.t.Errorf("10.113.0.0/16: %d calls to create it and %d to delete it, want 1 and 0", made, gone)
			}
			s.paste("hublab fault route-lag 5m\n" +
				"aws $HUB ec2 create-route --route-table-id $HUB_RTB --destination-cidr-block 10.114.0.0/16 --vpc-peering-connection-id $SVC2_PCX # by hand, unseen by hubd\n" +
				"aws $SVC2 ec2 associate-vpc-cidr-block --vpc-id $SVC2_VPC --cidr-block 10.114.0.0/16")
			eventually(s.t, "hubd has asked for the other route", func() error {
				if s.calls(from, "CreateRoute", "10.114.0.0/16") == 0 {
					return errors.New("not yet")
				}
				return nil
			})
			s.afterPolls(3)
			s.paste("hublab fault route-lag off")
			s.afterPolls(3)
			eventually(s.t, "nothing is amiss", func() error {
				if s.hasProblem(hub.RouteFailed, "") == nil {
					return errors.New("ROUTE_FAILED")
				}
				return s.quiet()
			})
			if n := s.calls(from, "CreateRoute", "10.114.0.0/16"); n != 1 {
				s.t.Errorf("10.114.0.0/16: %d calls to create it, want 1", n)
			}
			if n := s.calls(from, "ReplaceRoute", "10.114.0.0/16") + s.calls(from, "DeleteRoute", "10.114.0.0/16"); n != 0 {
				s.t.Errorf("10.114.0.0/16: %d calls that change it", n)
			}
			s.saw("one CreateRoute, unseen in 6 polls, not repeated; one call for a route that somebody had made by hand, then content")
		},
		control: "the memory of what was just written",
		off:     func(g *stage) { g.without("recent-writes") },
		harm: func(s *scene) string {
			from := len(s.Requests(0))
			s.inject()
			s.paste("hublab fault route-lag 5m")
			eventually(s.t, "it is created once more", func() error {
				if n := s.calls(from, "CreateRoute", "10.113.0.0/16"); n < 2 {
					return fmt.Errorf("%d calls", n)
				}
				return nil
			})
			return "CreateRoute was called again for a route that stood"
		},
	},
	{
		id: "F07", name: "two replicas answer in turn, one of now and one of before",
		inject: "hublab fault stale-replica on\n" +
			"aws $SVC2 ec2 associate-vpc-cidr-block --vpc-id $SVC2_VPC --cidr-block 10.114.0.0/16 >/dev/null\n" +
			"aws $SVC1 ec2 disassociate-vpc-cidr-block --association-id $ASSOCIATION >/dev/null # 10.113.0.0/16",
		expect: "what is added counts at once, what is gone only after removals_after answers in a row: each changes once at most",
		run: func(s *scene) {
			from := s.grown()
			s.converged("the new prefix is routed", func() error { return s.routed("10.114.0.0/16") })
			s.afterPolls(8)
			if n := s.answered(from, "DeleteRoute", "10.113.0.0/16", ""); n != 0 {
				s.t.Errorf("10.113.0.0/16 was removed, though every second answer has it")
			}
			s.paste("hublab fault stale-replica off")
			s.clock()
			s.converged("what is gone is removed", func() error {
				if s.routed("10.113.0.0/16") == nil {
					return errors.New("it is routed")
				}
				return nil
			})
			s.afterPolls(3)
			for prefix, want := range map[string][2]int{"10.114.0.0/16": {1, 0}, "10.113.0.0/16": {0, 1}} {
				made, gone := s.answered(from, "CreateRoute", prefix, ""), s.answered(from, "DeleteRoute", prefix, "")
				if made != want[0] || gone != want[1] {
					s.t.Errorf("%s was made %d times and removed %d times, want %v", prefix, made, gone, want)
				}
			}
			s.saw("one route made in the first answers, one removed once the answers agreed, neither more than once")
		},
		control: "the wait for answers that agree",
		off:     func(g *stage) { g.without("guard") },
		harm: func(s *scene) string {
			s.grown()
			known := func() error {
				if !strings.Contains(s.sh(lab.HostHub, "nft list map inet hubd spokes4"), "10.114.0.0/16") {
					return errors.New("the firewall does not know 10.114.0.0/16")
				}
				return nil
			}
			eventually(s.t, "the new prefix is let through", known)
			before := s.guard()["drop_other"]
			eventually(s.t, "and then it is not", func() error {
				s.sh(lab.HostLaptop1, "bash -c 'echo hello > /dev/udp/10.114.0.10/9'")
				if now := s.guard()["drop_other"]; now == before {
					return errors.New("the hub refused nothing")
				}
				return nil
			})
			eventually(s.t, "and then it is again", known)
			return "the new prefix came, went and came: the hub refused packets to it in between"
		},
	},
	{
		id: "F08", name: "peerings walk through all nine states, and ended ones stay listed",
		inject: walk,
		expect: "only an active one is used; one that is being deleted is removed; that it stays listed changes nothing",
		setup: func(g *stage) {
			for i := range g.spec.Services {
				if g.spec.Services[i].Host == "svc3" {
					g.spec.Services[i].Region = "us-west-2" // deletion takes a while between regions only
				}
			}
			g.spec.Services = append(g.spec.Services, lab.Service{Host: "svc5", Account: "666666666666", VPC: netip.MustParsePrefix("10.114.0.0/16"), Peering: lab.PeeringNone})
			d := &g.opt.Sim.Delays
			d.Pending, d.Active, d.Deleted, d.Expiry = step, step, step, 2*step
			g.opt.Sim.Clock = func() time.Time { return time.Now().Add(time.Duration(g.ahead.Load())) }
		},
		run:     walked,
		control: "the look at the state",
		off:     func(g *stage) { g.without("only-active") },
		harm: func(s *scene) string {
			s.leaks = s.watchLeaks()
			s.sh(lab.HostLaptop1, "ip route replace "+s.addr("stranger")+" dev "+s.Spec.Tunnel)
			eventually(s.t, "a packet to the stranger leaves the hub", func() error {
				if s.arrives(lab.HostLaptop1, "stranger") == nil {
					return nil
				}
				return wantSome(s.leaked())
			})
			return "a request that nobody accepted was used: packets to the stranger's network left the hub"
		},
	},
}

// step is how long a peering stays in a state that it leaves by itself: longer than the row
// takes, which moves AWS's clock. All of it is less than a role's session lasts.
const step = 3 * time.Minute

// later moves AWS's clock by one step.
func (s *scene) later() {
	s.stage.ahead.Add(int64(step))
	s.Sim.Tick()
}

// walk makes a request in each way that ends differently.
const walk = `ask() { aws $HUB ec2 create-vpc-peering-connection --vpc-id $HUB_VPC "$@" --query VpcPeeringConnection.VpcPeeringConnectionId --output text; }
ask --peer-owner-id $SVC3 --peer-vpc-id $SVC3_VPC --peer-region us-west-2 # will be accepted, active, deleted
ask --peer-owner-id $SVC4 --peer-vpc-id $SVC4_VPC # will be rejected
ask --peer-owner-id $SVC4 --peer-vpc-id vpc-0deadbeefdeadbeef # will fail
ask --peer-owner-id $SVC5 --peer-vpc-id $SVC5_VPC # will expire`

func walked(s *scene) {
	from := len(s.Requests(0))
	ids := strings.Fields(s.inject())
	if len(ids) != 4 {
		s.t.Fatalf("peerings: %q", ids)
	}
	accepted, refused, failed, expired := ids[0], ids[1], ids[2], ids[3]
	told := func(code hub.Code, pcx, state string) {
		s.t.Helper()
		eventually(s.t, pcx+" is "+state, func() error {
			for _, p := range s.problems() {
				if p.Code == string(code) && strings.Contains(p.Detail, pcx) && strings.Contains(p.Detail, state) {
					return nil
				}
			}
			return fmt.Errorf("status does not tell: %v", s.problems())
		})
		for _, host := range []string{"svc3", "svc4", "svc5", "stranger"} {
			if n := s.calls(from, "CreateRoute", s.service(host).VPC.String()); n > 0 {
				s.t.Errorf("%s is %s, and a route to %s was created", pcx, state, host)
			}
		}
	}
	told(hub.PeeringNotActive, accepted, "(initiating-request)")
	s.later()
	told(hub.PeeringNotActive, accepted, "waits until account")
	told(hub.PeeringEnded, failed, "is failed")
	s.paste("aws $SVC3 ec2 accept-vpc-peering-connection --region us-west-2 --vpc-peering-connection-id " + accepted +
		"\naws $SVC4 ec2 reject-vpc-peering-connection --vpc-peering-connection-id " + refused)
	told(hub.PeeringNotActive, accepted, "(provisioning)")
	told(hub.PeeringEnded, refused, "is rejected")
	s.later()
	s.clock()
	s.converged("the active one is used", func() error { return s.arrives(lab.HostLaptop1, "svc3") })
	s.paste("aws $SVC3 ec2 delete-vpc-peering-connection --region us-west-2 --vpc-peering-connection-id " + accepted)
	gone := func() error {
		if s.hasRoute(s.Spec.ID("rtb", "hub-public"), s.service("svc3").VPC) {
			return errors.New("it has its route")
		}
		return nil
	}
	eventually(s.t, "what is being deleted is removed", gone)
	s.must(same("deleting", s.stateOf(accepted)))
	s.later()
	s.must(same("deleted", s.stateOf(accepted)))
	created := s.calls(from, "CreateRoute", s.service("svc3").VPC.String())
	eventually(s.t, "the last request is expired", func() error { return s.hasProblem(hub.PeeringEnded, expired+" with") })
	s.afterPolls(3)
	if now := s.calls(from, "CreateRoute", s.service("svc3").VPC.String()); now != created || gone() != nil {
		s.t.Errorf("the deleted peering was used again: %d calls to create its route, then %d", created, now)
	}
	s.sh(lab.HostLaptop1, "ip route replace "+s.addr("stranger")+" dev "+s.Spec.Tunnel)
	if s.refusedByGuard("stranger") == 0 {
		s.t.Error("the hub's guard counted nothing of the stranger")
	}
	s.saw("initiating-request, pending-acceptance, provisioning, failed, rejected, expired: no route; active: used; deleting: removed; deleted, listed: nothing")
}

// stateOf is a peering's state as AWS tells the hub's account.
func (s *scene) stateOf(pcx string) string {
	s.t.Helper()
	return s.aws(s.Spec.HubAccount, "ec2", "describe-vpc-peering-connections", "--vpc-peering-connection-ids", pcx,
		"--query", "VpcPeeringConnections[0].Status.Code", "--output", "text")
}

// grown gives svc1 a second prefix, waits until it is routed and hubd has seen its route, and
// has it go while the replicas differ. It tells at which request that began.
func (s *scene) grown() int {
	s.t.Helper()
	id := strings.TrimSpace(s.paste("aws $SVC1 ec2 associate-vpc-cidr-block --vpc-id $SVC1_VPC --cidr-block 10.113.0.0/16 --query CidrBlockAssociation.AssociationId --output text"))
	eventually(s.t, "the second prefix is routed", func() error { return s.routed("10.113.0.0/16") })
	s.afterPolls(3)
	s.fault.inject = "ASSOCIATION=" + id + "\n" + s.fault.inject
	from := len(s.Requests(0))
	s.inject()
	return from
}

// answered counts hubd's calls of an action on a destination that were answered with a code.
func (s *scene) answered(from int, action, dest, code string) int {
	n := 0
	for _, q := range s.Requests(from) {
		if q.Action == action && q.Params.Get("DestinationCidrBlock") == dest && q.Code == code && byHubd(q) {
			n++
		}
	}
	return n
}
