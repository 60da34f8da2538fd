package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"peerhub/hub"
	"peerhub/test/lab"
)

// addSVC3 is how an operator brings a third service in.
const addSVC3 = "hubctl add-spoke --account $SVC3 --vpc $SVC3_VPC --name svc3 --yes"

// faultsOfRoutes are what becomes of VPC routes and peerings.
var faultsOfRoutes = []fault{
	{
		id: "F09", name: "a peering is deleted, and the routes to it become blackholes",
		inject: "aws $HUB ec2 create-route --route-table-id $HUB_RTB --destination-cidr-block 192.0.2.0/24 --vpc-peering-connection-id $SVC2_PCX # a foreign one\n" +
			"aws $SVC2 ec2 delete-vpc-peering-connection --vpc-peering-connection-id $SVC2_PCX",
		expect:  "our routes are deleted on both sides; the foreign one stays and is reported with the line that deletes it; the spoke's owner may use the hub's prefix again",
		lossy:   "the office's flow goes through the peering that is deleted; the other two lose nothing",
		control: "hubd (it is stopped)",
		run: func(s *scene) {
			svc2, hubTable := s.service("svc2").VPC, s.Spec.ID("rtb", "hub-public")
			from := len(s.Requests(0))
			s.inject()
			s.converged("our routes are gone, on both sides", func() error {
				if s.hasRoute(hubTable, svc2) || s.hasRoute(s.Spec.ID("rtb", "svc2-a"), s.Spec.HubSubnet()) {
					return fmt.Errorf("%v", s.routesOf(hubTable))
				}
				return nil
			})
			eventually(s.t, "status tells of the foreign one", func() error { return s.hasProblem(hub.Blackhole, "192.0.2.0/24") })
			s.afterPolls(3)
			if !slices.ContainsFunc(s.routesOf(hubTable), func(r string) bool {
				return strings.HasPrefix(r, "192.0.2.0/24 ") && strings.HasSuffix(r, "blackhole=true")
			}) {
				s.t.Errorf("the foreign blackhole is gone: %v", s.routesOf(hubTable))
			}
			if n := s.calls(from, "DeleteRoute", "192.0.2.0/24"); n > 0 {
				s.t.Errorf("hubd asked %d times to delete the foreign route", n)
			}
			s.paste(sameAsHub)
			s.paste(sameAsHubNoMore)
			eventually(s.t, "the spoke is as it was", func() error { return same(s.foreign, s.others()) })
			s.unharmed(0, 1)
			s.saw("our routes went on both sides, 192.0.2.0/24 stayed and BLACKHOLE named it; the owner could use %s", s.Spec.HubSubnet())
		},
		harm: func(s *scene) string {
			s.must(s.StopUnit(lab.UnitHubd))
			s.inject()
			a := s.tryPaste(sameAsHub)
			if a.code == 0 {
				return ""
			}
			return "the route that stays keeps the spoke's owner from using the prefix: " + oneLine(a.talk)
		},
	},
	{
		id: "F13", name: "CreateRoute is denied, Describe is not",
		inject:  "hublab fault deny CreateRoute account=$HUB\n" + addSVC3,
		expect:  "kernel and firewall know the new spoke, its own side has its route; ROUTE_DENIED names the table; one try, then a slow retry; nothing else changes",
		control: "the back-off",
		run: func(s *scene) {
			from := len(s.Requests(0))
			s.inject()
			s.refusedRoute(hub.RouteDenied, from)
			s.saw("all but the hub's table was done; ROUTE_DENIED named it; no further try in 6 polls")
			s.clock()
			s.paste("hublab fault deny off\nhubctl sync --yes || [ $? = 2 ]")
			s.converged("the new spoke is reached", func() error { return s.arrives(lab.HostLaptop1, "svc3") })
		},
		off:  func(g *stage) { g.without("route-backoff") },
		harm: refusedAgainAndAgain,
	},
	{
		id: "F16", name: "a route table is full",
		inject:  "hublab fault quota-routes 3\n" + addSVC3,
		expect:  "everything but that table proceeds, nothing is removed; ROUTE_QUOTA says how many routes there are and which fit into one; no hot retry",
		control: "the back-off",
		run: func(s *scene) {
			before := s.routesOf(s.Spec.ID("rtb", "hub-public"))
			from := len(s.Requests(0))
			s.inject()
			s.refusedRoute(hub.RouteQuota, from)
			if err := s.hasProblem(hub.RouteQuota, "3 static routes"); err != nil {
				s.t.Error(err)
			}
			if now := s.routesOf(s.Spec.ID("rtb", "hub-public")); !slices.Equal(before, now) {
				s.t.Errorf("the full table was %v and is %v", before, now)
			}
			s.saw("all but the full table was done, nothing removed; no further try in 6 polls; ROUTE_QUOTA with the hint")
			s.clock()
			s.paste("hublab fault quota-routes off\nhubctl sync --yes || [ $? = 2 ]")
			s.converged("the new spoke is reached", func() error { return s.arrives(lab.HostLaptop1, "svc3") })
		},
		off:  func(g *stage) { g.without("route-backoff") },
		harm: refusedAgainAndAgain,
	},
	{
		id: "F17", name: "a foreign route to the same CIDR is there already",
		inject:  "aws $HUB ec2 create-route --route-table-id $HUB_RTB --destination-cidr-block $SVC3_CIDR --network-interface-id $HUB_ENI\n" + addSVC3,
		expect:  "ROUTE_CONFLICT; the route is neither replaced nor deleted, also not when the spoke goes",
		control: "the check whose route is in the way",
		run: func(s *scene) {
			cidr, from := s.service("svc3").VPC, len(s.Requests(0))
			s.inject()
			s.converged("status tells of the conflict", func() error { return s.hasProblem(hub.RouteConflict, cidr.String()) })
			s.afterPolls(4)
			s.paste("aws $HUB ec2 delete-vpc-peering-connection --vpc-peering-connection-id " +
				"$(aws $HUB ec2 describe-vpc-peering-connections --filters Name=accepter-vpc-info.vpc-id,Values=$SVC3_VPC Name=status-code,Values=active --query VpcPeeringConnections[].VpcPeeringConnectionId --output text)")
			s.afterPolls(3)
			if err := s.leadsTo(cidr, s.Spec.ID("eni", lab.HostHub)); err != nil {
				s.t.Error(err)
			}
			if n := s.calls(from, "DeleteRoute", cidr.String()) + s.calls(from, "ReplaceRoute", cidr.String()); n > 0 {
				s.t.Errorf("%d calls that change the foreign route", n)
			}
			s.saw("ROUTE_CONFLICT named it; it stayed in 7 polls, no call touched it, and it outlived the spoke")
			s.paste("aws $HUB ec2 delete-route --route-table-id $HUB_RTB --destination-cidr-block $SVC3_CIDR")
		},
		off: func(g *stage) { g.without("foreign-routes") },
		harm: func(s *scene) string {
			s.inject()
			cidr := s.service("svc3").VPC
			eventually(s.t, "the foreign route is led elsewhere", func() error {
				if s.leadsTo(cidr, s.Spec.ID("eni", lab.HostHub)) == nil {
					return errors.New("it is as it was")
				}
				return nil
			})
			return "the foreign route was replaced: " + strings.Join(s.routesOf(s.Spec.ID("rtb", "hub-public")), ", ")
		},
	},
	{
		id: "F18", name: "a VPC route of ours is deleted by hand, again and again",
		inject:  "aws $HUB ec2 delete-route --route-table-id $HUB_RTB --destination-cidr-block $SVC2_CIDR # whenever it is back",
		expect:  "restored within a poll; after some fights hubd waits longer each time, and ROUTE_CONTESTED says how often; an operator's sync restores it at once",
		lossy:   "between the deletion and the next poll there is no route for the office's flow; the other two lose nothing",
		control: "the back-off in a fight",
		run: func(s *scene) {
			fought := s.fight(8)
			if err := s.hasProblem(hub.RouteContested, "within an hour"); err != nil {
				s.t.Error(err)
			}
			from := len(s.Requests(0))
			s.afterPolls(4)
			if n := s.calls(from, "CreateRoute", s.service("svc2").VPC.String()); n > 0 {
				s.t.Errorf("hubd goes on fighting: %d calls", n)
			}
			s.clock()
			s.paste("hubctl sync --yes || [ $? = 2 ]")
			s.converged("an operator's sync restores it", func() error { return s.wantRoute(s.Spec.ID("rtb", "hub-public"), s.service("svc2").VPC) })
			s.unharmed(0, 1)
			s.saw("restored %d times, then none in 4 polls, ROUTE_CONTESTED; back by hubctl sync", fought-1)
		},
		off: func(g *stage) { g.without("contest") },
		harm: func(s *scene) string {
			if n := s.fight(8); n < 8 {
				return ""
			}
			return "a fight without an end or an alarm: made again 8 times in 8 deletions"
		},
	},
}

// A spoke's owner uses a prefix of the hub, which AWS refuses as long as a route to it stands.
const (
	sameAsHub       = "aws $SVC2 ec2 associate-vpc-cidr-block --vpc-id $SVC2_VPC --cidr-block $HUB_SUBNET"
	sameAsHubNoMore = "aws $SVC2 ec2 disassociate-vpc-cidr-block --association-id " +
		"$(aws $SVC2 ec2 describe-vpcs --vpc-ids $SVC2_VPC --query \"Vpcs[].CidrBlockAssociationSet[?CidrBlock=='$HUB_SUBNET'].AssociationId\" --output text)"
)

// fight deletes the route to svc2 each time it is there, at most so often, until it does not
// come back any more, and tells how often it did.
func (s *scene) fight(most int) int {
	s.t.Helper()
	table, cidr := s.Spec.ID("rtb", "hub-public"), s.service("svc2").VPC
	for n := 1; ; n++ {
		s.inject()
		from := s.polls()
		given := false
		s.converged("it is back, or hubd has given up", func() error {
			if s.hasRoute(table, cidr) {
				return nil
			}
			if s.polls() < from+3 {
				return errors.New("neither yet")
			}
			given = true
			return s.hasProblem(hub.RouteContested, cidr.String())
		})
		if given && !s.hasRoute(table, cidr) || n == most {
			return n
		}
		s.afterPolls(3) // until hubd has seen its own route
	}
}

// calls counts hubd's calls of an action that name a destination, from a request on.
func (s *scene) calls(from int, action, dest string) int {
	n := 0
	for _, q := range s.Requests(from) {
		if q.Action == action && q.Params.Get("DestinationCidrBlock") == dest && byHubd(q) {
			n++
		}
	}
	return n
}

// refusedRoute waits until hubd tells that the hub's table refuses the route to svc3, and
// fails unless everything else was done, and hubd waits before it tries again.
func (s *scene) refusedRoute(code hub.Code, from int) {
	s.t.Helper()
	cidr := s.service("svc3").VPC
	s.converged("status says so", func() error { return s.hasProblem(code, s.Spec.ID("rtb", "hub-public")) })
	eventually(s.t, "the other places have it", func() error {
		if missing := s.everywhere(cidr); len(missing) != 1 {
			return errors.Join(missing...)
		}
		return s.wantRoute(s.Spec.ID("rtb", "svc3-a"), s.Spec.HubSubnet())
	})
	if n := s.calls(from, "CreateRoute", cidr.String()); n == 0 {
		s.t.Error("CreateRoute was not called")
	}
	from = len(s.Requests(0)) // by now add-spoke, which has hubd try at once, is done
	s.afterPolls(6)
	if n := s.calls(from, "CreateRoute", cidr.String()); n > 0 {
		s.t.Errorf("CreateRoute was called %d times in 6 polls, want a slow retry", n)
	}
}

// refusedAgainAndAgain is F13 and F16 without the back-off.
func refusedAgainAndAgain(s *scene) string {
	from, cidr := len(s.Requests(0)), s.service("svc3").VPC.String()
	s.inject()
	s.afterPolls(8)
	if n := s.calls(from, "CreateRoute", cidr); n > 3 {
		return fmt.Sprintf("the refused call was made %d times in 8 polls", n)
	}
	return ""
}

// leadsTo is content when the hub's table has a route to dest with that target.
func (s *scene) leadsTo(dest netip.Prefix, target string) error {
	list := s.routesOf(s.Spec.ID("rtb", "hub-public"))
	if !slices.ContainsFunc(list, func(r string) bool { return strings.HasPrefix(r, dest.String()+" "+target+" ") }) {
		return fmt.Errorf("no route %s to %s in %v", dest, target, list)
	}
	return nil
}

// unharmed ends probes and fails when one of them lost anything.
func (s *scene) unharmed(which ...int) {
	s.t.Helper()
	for _, i := range which {
		p := s.probes[i]
		p.more(10)
		if r := p.end(); len(r.Lost) > 0 || r.Ended != "" {
			s.t.Errorf("%s: %d of %d lost: %s; ended: %q; drops: %v; guard: %v", p.name, len(r.Lost), r.Sent, spans(r.Lost), r.Ended, s.drops(), s.guard())
		}
	}
}

// oneLine is a text without line ends, and not too long.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return text[:min(len(text), 200)]
}
