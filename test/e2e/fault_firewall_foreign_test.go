package e2e

import (
	"errors"
	"fmt"
	"strings"

	"peerhub/hub"
	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// harmless are chains of others that cannot touch forwarded packets of tunnels, or only some
// that somebody chose.
const harmless = `on-hub nft add table inet acme25
on-hub nft add chain inet acme25 near '{ type filter hook forward priority 1; policy accept; }'
on-hub nft add rule inet acme25 near iifname docker0 drop
on-hub nft add rule inet acme25 near ip daddr 10.99.0.0/16 drop
on-hub nft add rule inet acme25 near tcp dport 25 drop
on-hub nft add chain inet acme25 in '{ type filter hook input priority 1; policy accept; }'
on-hub nft add rule inet acme25 in ip saddr 192.0.2.0/24 drop
on-hub nft add chain inet acme25 post '{ type nat hook postrouting priority 90; }'
on-hub nft add rule inet acme25 post ip saddr 172.17.0.0/16 masquerade`

var faultsOfForeignChains = []fault{
	{
		id: "F25", name: "Docker's or firewalld's chain drops what is forwarded",
		inject:  "on-hub iptables -P FORWARD DROP",
		expect:  "named: family, table, chain, priority, rule, and a line that mends it; chains that cannot touch our traffic are not; nothing of theirs is written",
		lossy:   "the other chain drops every packet: no accept of ours can override that",
		control: "looking at other people's chains",
		run: func(s *scene) {
			s.paste(harmless)
			s.noForeignChain()
			s.inject()
			s.probes[0].stalls(20)
			theirs := s.others()
			p := s.foreignChain("table ip filter", "chain FORWARD (forward, priority 0)", "policy is drop")
			if err := same(theirs, s.others()); err != nil {
				s.t.Errorf("I2: %v", err)
			}
			s.mendForeign(p)
			s.clock()
			s.converged("nothing is named any more", func() error { return s.notNamed() })
			for _, probe := range s.probes[1:] {
				probe.more(20)
			}
			s.saw("%s: %s; its mend let the packets through", p.Subject, p.Detail)
			s.paste("on-hub nft delete table ip filter; on-hub nft delete table inet acme25")
		},
		off: func(g *stage) { g.without("foreign-chains") },
		harm: func(s *scene) string {
			probe := s.probe("udp", lab.HostLaptop1, "svc1")
			s.inject()
			probe.stalls(50)
			s.afterPolls(2)
			if s.hasProblem(hub.ForeignChain, "") == nil {
				return ""
			}
			return "every packet was lost, and status had no word of why"
		},
	},
	{
		id: "F26", name: "somebody's nat chain translates first, to an address that is not the hub's",
		inject: "on-hub nft add table ip acme26\non-hub nft add chain ip acme26 post '{ type nat hook postrouting priority 90; }'\n" +
			"on-hub nft add rule ip acme26 post oifname $ETH ip saddr 172.16.0.0/12 snat to 10.100.0.77",
		expect:  "named: family, table, chain, priority, rule, and a line that mends it; flows that stood before go on",
		control: "looking at other people's chains",
		run: func(s *scene) {
			s.paste(harmless)
			s.noForeignChain()
			s.inject()
			s.stops(lab.HostLaptop2, "svc2")
			if s.dropped(lab.HostHub, fabric.ReasonSourceCheck) == 0 {
				s.t.Error("new flows stopped, and not because of their source")
			}
			theirs := s.sh(lab.HostHub, "nft -s list table ip acme26")
			p := s.foreignChain("table ip acme26", "chain post (postrouting, priority 90)", "translates")
			if err := same(theirs, s.sh(lab.HostHub, "nft -s list table ip acme26")); err != nil {
				s.t.Errorf("I2: %v", err)
			}
			s.mendForeign(p)
			s.clock()
			s.converged("nothing is named any more", func() error { return s.notNamed() })
			s.reaches(everybody, s.Spec.Targets())
			s.saw("%s: %s; its mend let the packets through", p.Subject, p.Detail)
			s.paste("on-hub nft delete table ip acme26; on-hub nft delete table inet acme25")
		},
		off: func(g *stage) { g.without("foreign-chains") },
		harm: func(s *scene) string {
			s.inject()
			s.stops(lab.HostLaptop2, "svc2")
			s.afterPolls(2)
			if s.hasProblem(hub.ForeignChain, "") == nil {
				return ""
			}
			return fmt.Sprintf("new flows were lost (%d eni-source-check drops), and status had no word of why", s.dropped(lab.HostHub, fabric.ReasonSourceCheck))
		},
	},
	{
		id: "F29", name: "prefixes of spokes lie inside and beside one another",
		inject: "aws $SVC3 ec2 associate-vpc-cidr-block --vpc-id $SVC3_VPC --cidr-block 10.120.2.0/24\n" +
			"aws $SVC3 ec2 associate-vpc-cidr-block --vpc-id $SVC3_VPC --cidr-block 10.113.0.0/16",
		expect:  "the nested one stays with who had the wider one, and is named; the one beside is taken; every element is whole",
		control: "deciding before writing (a person's batch with both, hubd stopped, ownership plain)",
		setup:   func(g *stage) { g.spec.Services[2].Peering = lab.PeeringActive },
		run: func(s *scene) {
			s.inject()
			s.converged("the one beside is in", func() error {
				out := s.sh(lab.HostHub, "nft list map inet hubd spokes4")
				if !strings.Contains(out, "10.113.0.0/16") {
					return errors.New(out)
				}
				return s.hasProblem(hub.Collision, "10.120.2.0/24")
			})
			out := s.sh(lab.HostHub, "nft list map inet hubd spokes4")
			for _, word := range []string{"10.110.0.0/16", "10.112.0.0/16", "10.113.0.0/16", "10.120.0.0/16"} {
				if !strings.Contains(out, word+" comment") {
					s.t.Errorf("no element %s by itself in %s", word, out)
				}
			}
			if strings.Contains(out, "10.120.2.0") {
				s.t.Errorf("the nested one is in:\n%s", out)
			}
			s.saw("COLLISION named 10.120.2.0/24, 10.112.0.0/16 and 10.113.0.0/16 stand side by side")
			s.reaches(everybody, s.Spec.Targets())
		},
		off: func(g *stage) { g.mode = "plain" },
		harm: func(s *scene) string {
			s.paste(`kill -STOP $HUBD_PID; on-hub nft delete element inet hubd spokes4 "{ $SVC3_CIDR }"`)
			defer s.paste("kill -CONT $HUBD_PID")
			a := s.tryPaste(`on-hub nft add element inet hubd spokes4 "{ $SVC3_CIDR : 0x01000003, 10.120.2.0/24 : 0x01000003 }"`)
			if a.code == 0 {
				return ""
			}
			s.stops(lab.HostLaptop1, "svc3")
			return "the kernel refused the whole batch: the good prefix beside the nested one was not reachable"
		},
	},
}

// foreignChain waits until status names somebody's chain with all words, and returns that.
func (s *scene) foreignChain(words ...string) problem {
	s.t.Helper()
	var found problem
	s.converged("status names the chain", func() error {
		list := s.problems()
		for _, p := range list {
			if p.Code != string(hub.ForeignChain) {
				continue
			}
			for _, w := range words {
				if !strings.Contains(p.Subject+": "+p.Detail, w) {
					return fmt.Errorf("no %q in %+v", w, p)
				}
			}
			found = p
			return nil
		}
		return fmt.Errorf("none in %v", list)
	})
	return found
}

// mendForeign does what the problem says.
func (s *scene) mendForeign(p problem) {
	s.t.Helper()
	commands, _, _ := strings.Cut(p.Mend, "; or the same")
	s.sh(lab.HostHub, commands)
}

func (s *scene) notNamed() error {
	if s.hasProblem(hub.ForeignChain, "") == nil {
		return errors.New("a chain is named")
	}
	return nil
}

// noForeignChain fails when hubd, having looked, names a chain.
func (s *scene) noForeignChain() {
	s.t.Helper()
	s.afterPolls(2)
	s.sync()
	if err := s.notNamed(); err != nil {
		s.t.Errorf("%v: %v", err, s.problems())
	}
}
