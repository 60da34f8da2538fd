package e2e

import (
	"errors"
	"fmt"
	"strings"

	"peerhub/hub"
	"peerhub/test/lab"
)

// faultsOfContent are answers whose content is odd: prefixes that come, go, or are none.
var faultsOfContent = []fault{
	{
		id: "F10", name: "a spoke gets a second prefix and loses it",
		inject: "aws $SVC1 ec2 associate-vpc-cidr-block --vpc-id $SVC1_VPC --cidr-block 10.113.0.0/16 >/dev/null",
		expect: "routed within a poll; when it goes: set, routes on both sides, push and flows go, the first prefix stays",
		run: func(s *scene) {
			s.inject()
			s.converged("it is in the set, the table and the push", func() error { return s.inAllPlaces("10.113.0.0/16", "10.113.0.0") })
			added := s.took
			s.paste(`aws $SVC1 ec2 disassociate-vpc-cidr-block --association-id "$(aws $SVC1 ec2 describe-vpcs --vpc-ids $SVC1_VPC --query 'Vpcs[0].CidrBlockAssociationSet[?CidrBlock==` + "`10.113.0.0/16`" + `].AssociationId' --output text)" >/dev/null`)
			s.clock()
			s.converged("it is nowhere", func() error {
				for _, where := range s.places("10.113.0.0/16", "10.113.0.0") {
					if where.has {
						return errors.New("it is in " + where.name)
					}
				}
				return nil
			})
			s.saw("in after %d ms, out of set, table and push after removals_after answers", added.Milliseconds())
		},
		control: "hubd (stopped)",
		harm: func(s *scene) string {
			s.paste("kill -STOP $HUBD_PID")
			defer s.paste("kill -CONT $HUBD_PID")
			s.inject()
			if err := s.routed("10.113.0.0/16"); err != nil {
				return "the prefix got no route"
			}
			return ""
		},
	},
	{
		id: "F11", name: "entries that make no sense: a bad CIDR, host bits, a side without its VPC",
		inject: "hublab fault malformed bad-cidr@$SVC1_PCX,host-bits@$SVC1_PCX",
		expect: "what makes no sense is named and left out, what stood stays, everything else goes on",
		run: func(s *scene) {
			stood := s.standing()
			s.inject()
			for _, bad := range []string{"10.300.0.0/16", "10.119.3.7/16"} {
				eventually(s.t, "status names "+bad, func() error { return s.hasProblem(hub.BadPrefix, bad) })
			}
			for _, kind := range []string{"no-vpc-info"} {
				s.paste("hublab fault malformed " + kind + "@$SVC1_PCX")
				s.afterPolls(6) // more than removals_after
				if out := s.hubctl("status", "-o", "json").out; !strings.Contains(out, "is described without") {
					s.t.Errorf("%s: status does not say why it is held: %s", kind, out)
				}
				if err := same(stood, s.standing()); err != nil {
					s.t.Errorf("%s: something changed: %v", kind, err)
				}
			}
			s.clock()
			s.paste("hublab fault malformed off")
			s.converged("it is as before", func() error { return same(stood, s.standing()) })
			s.afterPolls(2) // status is of an answer that makes sense
			s.saw("BAD_PREFIX named both; a peering described without its VPC removed nothing")
		},
		control: "the guard",
		off:     func(g *stage) { g.without("guard") },
		harm: func(s *scene) string {
			p := s.probe("udp", lab.HostLaptop1, "svc1")
			s.paste("hublab fault malformed no-vpc-info@$SVC1_PCX")
			p.stalls(50)
			return "a spoke described without its VPC was removed"
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

type place struct {
	name string
	has  bool
}

// places are where a prefix of a spoke may be: in nftables, in the hub's VPC table, and in
// what is pushed unless an aggregate covers it.
func (s *scene) places(prefix, network string) []place {
	return []place{
		{"nftables", strings.Contains(s.sh(lab.HostHub, "nft list table inet hubd"), prefix)},
		{"the hub's VPC table", s.routed(prefix) == nil},
		{"the kernel's routes", strings.Contains(s.sh(lab.HostHub, "ip route show table all"), network)},
	}
}

func (s *scene) inAllPlaces(prefix, network string) error {
	for _, p := range s.places(prefix, network) {
		if !p.has {
			return fmt.Errorf("%s is not in %s", prefix, p.name)
		}
	}
	return nil
}
