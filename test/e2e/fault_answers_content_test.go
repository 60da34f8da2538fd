package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"peerhub/hub"
	"peerhub/test/lab"
)

// faultsOfContent are answers whose content is odd: prefixes that come, go, or are none.
var faultsOfContent = []fault{
	{
		id: "F10", name: "a spoke gets a second prefix and loses it",
		inject: "aws $SVC1 ec2 associate-vpc-cidr-block --vpc-id $SVC1_VPC --cidr-block 10.130.0.0/16 >/dev/null",
		expect: "routed within a poll; when it goes: set, route, push and flows go; the first prefix stays, on both sides",
		run: func(s *scene) {
			second := netip.MustParsePrefix("10.130.0.0/16") // outside what the aggregates cover: pushed
			s.inject()
			s.converged("it is in the set, the tables and the push", func() error { return errors.Join(s.everywhere(second)...) })
			added := s.took
			s.sh(lab.HostLaptop1, "ip route replace 10.130.0.10 dev "+s.Spec.Tunnel)
			eventually(s.t, "a flow goes there, and would for long", func() error {
				s.sh(lab.HostLaptop1, "bash -c 'echo hello > /dev/udp/10.130.0.10/9'")
				s.sh(lab.HostHub, "conntrack -U -p udp -d 10.130.0.10 --timeout 600 >/dev/null 2>&1 || true")
				return s.flows("10.130.0.10", true)
			})
			s.paste(`aws $SVC1 ec2 disassociate-vpc-cidr-block --association-id "$(aws $SVC1 ec2 describe-vpcs --vpc-ids $SVC1_VPC --query "Vpcs[0].CidrBlockAssociationSet[?CidrBlock=='10.130.0.0/16'].AssociationId" --output text)" >/dev/null`)
			s.clock()
			s.converged("it is nowhere", func() error {
				if n := len(s.everywhere(second)); n != 4 {
					return fmt.Errorf("it is in %d of 4 places", 4-n)
				}
				return s.flows("10.130.0.10", false)
			})
			for table, p := range map[string]netip.Prefix{"hub-public": s.service("svc1").VPC, "svc1-a": s.Spec.HubSubnet(), "svc1-main": s.Spec.HubSubnet()} {
				if err := s.wantRoute(s.Spec.ID("rtb", table), p); err != nil {
					s.t.Error(err)
				}
			}
			s.saw("in after %d ms; out of set, tables, push and connection table after removals_after answers", added.Milliseconds())
		},
		control: "hubd (stopped)",
		harm: func(s *scene) string {
			s.paste("kill -STOP $HUBD_PID")
			defer s.paste("kill -CONT $HUBD_PID")
			s.inject()
			if len(s.everywhere(netip.MustParsePrefix("10.130.0.0/16"))) == 4 {
				return "the prefix got no route"
			}
			return ""
		},
	},
	{
		id: "F11", name: "entries that make no sense: a bad CIDR, host bits, a side without its VPC or without IPv4, 10,000 prefixes",
		grown:  "10,000 prefixes came and went; the runtime gives their memory back to the kernel little by little",
		inject: "hublab fault malformed bad-cidr@$SVC1_PCX,host-bits@$SVC1_PCX",
		expect: "what makes no sense is named and left out, what stood stays, everything else goes on",
		run: func(s *scene) {
			stood := s.standing()
			s.inject()
			for _, bad := range []string{"10.300.0.0/16", "10.119.3.7/16"} {
				eventually(s.t, "status names "+bad, func() error { return s.hasProblem(hub.BadPrefix, bad) })
			}
			if err := same(stood, s.standing()); err != nil {
				s.t.Errorf("bad prefixes: something changed: %v", err)
			}
			for _, kind := range []string{"no-vpc-info", "ipv6-only"} {
				s.paste("hublab fault malformed " + kind + "@$SVC1_PCX")
				s.afterPolls(6) // more than removals_after
				if out := s.hubctl("status", "-o", "json").out; !strings.Contains(out, "described without") {
					s.t.Errorf("%s: status does not say why it is held: %s", kind, out)
				}
				if err := same(stood, s.standing()); err != nil {
					s.t.Errorf("%s: something changed: %v", kind, err)
				}
			}
			s.paste("hublab fault quota-routes 5\nhublab fault malformed many-cidrs@$SVC1_PCX")
			eventually(s.t, "status says that they do not fit", func() error { return s.hasProblem(hub.RouteQuota, "") })
			s.paste("aws $SVC2 ec2 associate-vpc-cidr-block --vpc-id $SVC2_VPC --cidr-block 10.140.0.0/16 >/dev/null")
			eventually(s.t, "the firewall knows another spoke's new prefix", func() error {
				if !strings.Contains(s.sh(lab.HostHub, "nft list map inet hubd spokes4"), "10.140.0.0/16") {
					return errors.New("not yet")
				}
				return nil
			})
			s.clock()
			s.paste("hublab fault malformed off\nhublab fault quota-routes off")
			s.hubctl("sync", "--yes", "--allow-removals")
			s.converged("the 10,000 are gone, the new one is routed", func() error {
				if strings.Contains(s.sh(lab.HostHub, "nft list map inet hubd spokes4"), "/28") {
					return errors.New("they are there")
				}
				return s.routed("10.110.0.0/16", "10.120.0.0/16", "10.140.0.0/16")
			})
			s.saw("BAD_PREFIX named both; a peering without its VPC or without IPv4 removed nothing; 10,000 prefixes kept nothing else from working")
		},
		control: "the strict reading of prefixes",
		off:     func(g *stage) { g.without("canonical-prefixes") },
		harm: func(s *scene) string {
			s.inject()
			eventually(s.t, "there is a route to what nobody has", func() error { return s.routed("10.119.0.0/16") })
			return "10.119.3.7/16 was taken for 10.119.0.0/16, which nobody has, and routed"
		},
	},
	{
		id: "F15", name: "bodies without end and gzip bombs; then a name that does not resolve and a certificate of a stranger",
		inject: "hublab fault endless-body DescribeVpcPeeringConnections\nhublab fault gzip-bomb DescribeVpcs,DescribeNetworkInterfaces",
		expect: "each call has an end and a size; status says why; hubd stays small and heals",
		run: func(s *scene) {
			stood := s.standing()
			s.inject()
			eventually(s.t, "status says so", func() error { return s.hasProblem(hub.AnswerDoubt, s.Spec.HubAccount) })
			s.flat()
			s.paste("hublab fault endless-body off\nhublab fault gzip-bomb off")
			eventually(s.t, "it heals", s.healthy)
			for _, f := range [][2]string{{"https://ec2.peerhub.invalid", "peerhub.invalid"}, {"https://127.0.0.1:8443", "certificate"}} {
				s.paste(`cd $(mktemp -d); openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out c -days 2 -subj /CN=stranger >/dev/null 2>&1
on-hub timeout 30 openssl s_server -quiet -accept 127.0.0.1:8443 -key k -cert c >/dev/null 2>&1 </dev/null &
cp $CONFIG $CONFIG.sane; sed -i 's#^  endpoint: .*#  endpoint: ` + f[0] + `#' $CONFIG; hublab unit restart hubd`)
				eventually(s.t, "status tells of "+f[1], func() error { return s.hasProblem(hub.SourceStale, f[1]) })
				if err := same(handles.ReplaceAllString(stood, ""), handles.ReplaceAllString(s.standing(), "")); err != nil {
					s.t.Errorf("%s: %v", f[0], err)
				}
				s.clock()
				s.paste("mv $CONFIG.sane $CONFIG; hublab unit restart hubd")
				s.converged("it heals", s.healthy)
			}
			s.saw("each named in status, nothing changed, hubd below %d MB", mostRSS>>10)
		},
		control: "the last good topology (hubd starts without its state)",
		harm: func(s *scene) string {
			s.inject()
			s.paste("hublab unit kill hubd; on-hub nft delete table inet hubd || true; rm -rf $STATE; hublab unit start hubd || true")
			s.stops(lab.HostLaptop1, "svc1")
			return "a hub without memory did not know where to send anything"
		},
	},
}

// flows is content when the hub's connection table has a flow to an address, or has none.
func (s *scene) flows(to string, want bool) error {
	s.t.Helper()
	if out := s.sh(lab.HostHub, "conntrack -L -d "+to+" 2>/dev/null || true"); strings.Contains(out, to) != want {
		return fmt.Errorf("the connection table has %q", out)
	}
	return nil
}
