package e2e

import (
	"fmt"
	"slices"
	"strings"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// faultsOfReplacement are what becomes of a hub whose instance, interface or address is
// another one.
var faultsOfReplacement = []fault{
	{
		id: "F38", name: "interface renamed, a second one added, the default route moved",
		inject: `GATEWAY=$(on-hub ip route show default | awk '{print $3}')
on-hub ip link set $ETH name ens7
on-hub ip link add ens8 type veth peer name ens8p
on-hub ip address add 10.100.0.99/32 dev ens8
on-hub ip link set ens8 up
on-hub ip route add default via $GATEWAY dev ens7 metric 512
on-hub ip route del default via $GATEWAY dev ens7 metric 0`,
		expect:  "no packet is lost; the way out is found by its MAC address or its address, whatever it is called; a spoke that comes afterwards is served",
		control: "finding the interface by what it is (hub.interfaces states a name)",
		run: func(s *scene) {
			s.inject()
			s.paste(peerAnother)
			s.converged("the new spoke is reached", func() error { return s.arrives(lab.HostLaptop1, "svc3") })
			eventually(s.t, "nothing is left to do", s.quiet)
			for _, p := range s.probes {
				p.more(50)
			}
			s.saw("the peering made afterwards is reached by ens7, and nothing names eth0")
			s.paste(`GATEWAY=$(on-hub ip route show default | awk '{print $3}')
on-hub ip route add default via $GATEWAY dev ens7 onlink
on-hub ip route del default via $GATEWAY dev ens7 metric 512
on-hub ip link del ens8
on-hub ip link set ens7 name $ETH`)
			eventually(s.t, "renamed back, nothing is left to do", s.quiet)
		},
		off: func(g *stage) {
			g.replace("hub: {name: "+g.spec.HubName+"}", fmt.Sprintf("hub: {name: %s, interfaces: [{name: %s, eni: %s}]}", g.spec.HubName, g.spec.HubInterface, g.spec.ID("eni", lab.HostHub)))
		},
		harm: func(s *scene) string {
			s.inject()
			s.paste(peerAnother)
			s.afterPolls(5)
			if s.arrives(lab.HostLaptop1, "svc3") == nil {
				return ""
			}
			return "five polls after its peering svc3 was not reached: its route names an interface that is not there"
		},
	},
	faultOfReplacedHub,
}

// peerAnother makes svc3 a spoke.
const peerAnother = `pcx=$(aws $HUB ec2 create-vpc-peering-connection --region $REGION --vpc-id $HUB_VPC --peer-vpc-id $SVC3_VPC --peer-owner-id $SVC3 \
  --query VpcPeeringConnection.VpcPeeringConnectionId --output text)
until aws $SVC3 ec2 accept-vpc-peering-connection --region $REGION --vpc-peering-connection-id $pcx >/dev/null 2>&1; do :; done`

// faultOfReplacedHub puts another machine in the hub's place.
var faultOfReplacedHub = fault{
	id: "F65", name: "the hub is replaced: another instance, interface, address, and an empty disk",
	inject: "hublab replace hub",
	expect: "clients reconnect and reach everything; no VPC route is written, for those that stand fit; the ledger is found in the tags, so that " +
		"a spoke that leaves afterwards is removed completely",
	lossy: "every connection goes through the machine that ended and ends with its address; clients connect anew",
	run: func(s *scene) {
		from, untranslated := len(s.Requests(0)), s.dropped(lab.HostHub, fabric.ReasonSourceCheck)
		was, _ := s.Host(lab.HostHub)
		stood := s.vpcRoutes()
		first := s.leaks // ends with the machine
		s.inject()
		now, _ := s.Host(lab.HostHub)
		s.leaks = s.watchLeaks()
		s.plantOnHub() // the image's own services do that
		s.reaches(everybody, s.Spec.Targets())
		s.converged("nothing is left to do", s.quiet)
		if l := slices.DeleteFunc(first.lines(), func(l string) bool { return !strings.Contains(l, " IP ") }); len(l) > 0 {
			s.t.Errorf("I3: %d packets left the old hub that must not, the first: %s", len(l), l[0])
		}
		if n := s.dropped(lab.HostHub, fabric.ReasonSourceCheck) - untranslated; n > 0 {
			s.t.Errorf("I3: %d packets came untranslated to the hub's interface", n)
		}
		if w := s.routeCalls(from); len(w) > 0 {
			s.t.Errorf("routes that fit were written: %q", w)
		}
		if err := same(stood, s.vpcRoutes()); err != nil {
			s.t.Errorf("the VPC routes changed: %v", err)
		}
		s.foreign = strings.ReplaceAll(s.foreign, was.Addresses[0].String()+" ", now.Addresses[0].String()+" ")
		s.foreign = strings.ReplaceAll(s.foreign, was.Addresses[0].String()+"/", now.Addresses[0].String()+"/")

		gone := func(host string) {
			eventually(s.t, "nothing of "+host+" is left, on either side", func() error {
				if got := s.traces(host); len(got) > 0 {
					return fmt.Errorf("there is %v", got)
				}
				return nil
			})
		}
		s.leave("svc1")
		gone("svc1")
		s.paste("aws $SVC2 ec2 delete-vpc-peering-connection --region $REGION --vpc-peering-connection-id $SVC2_PCX")
		s.afterPolls(1)
		s.hubctl("sync", "--allow-removals")
		gone("svc2")
		s.saw("%s with %s became %s with %s; 0 CreateRoute, ReplaceRoute, DeleteRoute; afterwards svc1 was excluded and svc2's peering deleted: nothing of both is left in 6 VPC tables",
			was.Instance, was.Addresses[0], now.Instance, now.Addresses[0])
	},
	control: "reading the ledger back from the tags",
	off:     func(g *stage) { g.without("recover") },
	harm: func(s *scene) string {
		s.inject()
		s.reaches(everybody, s.Spec.Targets())
		s.leave("svc2")
		eventually(s.t, "the hub itself has let go of svc2", func() error {
			if got := s.traces("svc2"); slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, "nft") || strings.HasPrefix(g, "ip ") }) {
				return fmt.Errorf("there is %v", got)
			}
			return nil
		})
		s.afterPolls(5)
		left := slices.DeleteFunc(s.traces("svc2"), func(g string) bool { return g == "conntrack" })
		if len(left) == 0 {
			return ""
		}
		return "five polls after svc2 was excluded its VPC routes stood in: " + strings.Join(left, ", ")
	},
}

// leave takes the way to a spoke away while its peering stays.
func (s *scene) leave(host string) {
	s.t.Helper()
	s.configure(replacing("{name: "+host+"}", fmt.Sprintf("{name: %s, exclude: [%s]}", host, s.service(host).VPC)))
	s.must(s.hangup())
	s.hubctl("sync", "--allow-removals")
}

// vpcRoutes are the routes of every VPC route table.
func (s *scene) vpcRoutes() string {
	var sb strings.Builder
	for _, t := range s.Sim.Network().Tables {
		fmt.Fprintf(&sb, "%s\n%s\n", t.ID, strings.Join(s.routesOf(t.ID), "\n"))
	}
	return sb.String()
}

// routeCalls are the calls that write VPC routes, from a request on.
func (s *scene) routeCalls(from int) []string {
	var out []string
	for _, q := range s.Requests(from) {
		if strings.HasSuffix(q.Action, "Route") {
			out = append(out, fmt.Sprintf("%s %s %s %s", q.Action, q.Params.Get("RouteTableId"), q.Params.Get("DestinationCidrBlock"), q.Code))
		}
	}
	return out
}
