package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"peerhub/hub"
	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// faultsOfFirewall are what others do to nftables, and what the kernel does not know.
var faultsOfFirewall = slices.Concat(faultsOfFlushes, faultsOfForeignChains, faultsOfLoad, faultsOfRaces, faultsOfBatches)

// foreignBack is what the services of other people do after a flush: load their rules anew.
const foreignBack = "\non-hub nft -f $ACME_NFT; on-hub iptables-restore <$ACME_IPT"

var faultsOfFlushes = []fault{
	{
		id: "F23", name: "somebody flushes the ruleset",
		inject:     "on-hub nft flush ruleset" + foreignBack,
		expect:     "persist: nothing of ours goes; plain: our table is back within 50 ms; established flows lose nothing in both",
		lossyPlain: "packets between flush and repair are dropped: the hub is closed then",
		control:    "hubd's repair and the persist flag (hubd is stopped, ownership plain)",
		off:        func(g *stage) { g.mode = "plain" },
		run: func(s *scene) {
			stood := s.standing()
			s.inject()
			s.converged("our table is back", func() error { return s.stands(stood) })
			s.probes[0].more(20)
			s.saw("the table is back, streams went on")
			s.reaches(everybody, s.Spec.Targets())
		},
		harm: func(s *scene) string {
			p := s.probe("udp", lab.HostLaptop1, "svc1")
			s.paste("kill -STOP $HUBD_PID; on-hub nft flush ruleset")
			defer s.paste("kill -CONT $HUBD_PID")
			p.stalls(50)
			return fmt.Sprintf("the flow stopped, and stayed so (nothing left the hub untranslated: %d eni-source-check drops)", s.dropped(lab.HostHub, "eni-source-check"))
		},
	},
	{
		id: "F24", name: "the same flush while hubd is dead",
		inject:  "hublab unit kill hubd\non-hub nft flush ruleset" + foreignBack,
		expect:  "fail closed: nothing leaves untranslated or unfiltered; all is back a second after hubd is",
		lossy:   "the hub is closed until hubd is back, and translated connections that get an answer meanwhile are reset",
		control: "the routing rules of the tunnel",
		run: func(s *scene) {
			stood := s.standing()
			s.inject()
			for _, p := range s.probes[1:] {
				p.stalls(50)
			}
			if n := s.dropped(lab.HostHub, fabric.ReasonSourceCheck); n > 0 {
				s.t.Errorf("%d packets left untranslated", n)
			}
			s.clock()
			s.paste("hublab unit start hubd")
			s.converged("all is back", func() error { return s.stands(stood) })
			for _, p := range s.probes[1:] {
				p.more(20)
			}
			s.saw("100 packets sent into the closed hub, 0 left it untranslated")
			s.reaches(everybody, s.Spec.Targets())
		},
		harm: func(s *scene) string {
			s.probe("udp", lab.HostLaptop1, "svc1")
			s.paste("hublab unit kill hubd; on-hub ip rule del pref 26740; on-hub ip rule del pref 26799; on-hub nft flush ruleset")
			return s.leftUntranslated(50)
		},
	},
	{
		id: "F28", name: "somebody writes to our table and to others while hubd does",
		inject: `for i in $(seq 25); do
  on-hub nft add table inet acme28; on-hub nft delete table inet acme28
  on-hub nft add element inet hubd tunnels '{ tun77 }' 2>/dev/null || true
  on-hub nft insert rule inet hubd to_hub counter 2>/dev/null || true
done &
for net in 10.113.0.0/16 10.114.0.0/16 10.115.0.0/16; do
  aws $SVC1 ec2 associate-vpc-cidr-block --vpc-id $SVC1_VPC --cidr-block $net >/dev/null
done
wait`,
		expect:  "each batch of ours is whole or not there; in the end the table has what it must, and no packet is lost",
		control: "hubd's look at the generation (hubd is stopped, ownership plain)",
		off:     func(g *stage) { g.mode = "plain" },
		run: func(s *scene) {
			s.inject()
			s.converged("the three new prefixes are in, and nothing else", func() error {
				out := s.sh(lab.HostHub, "nft -s list table inet hubd")
				for _, word := range []string{"10.113.0.0/16", "10.114.0.0/16", "10.115.0.0/16"} {
					if !strings.Contains(out, word) {
						return fmt.Errorf("no %s", word)
					}
				}
				if strings.Contains(out, "tun77") || strings.Contains(out, "\t\tcounter\n\t\tip daddr") {
					return errors.New("what somebody wrote is still there")
				}
				return s.quiet()
			})
			s.saw("the table is as wanted after 75 foreign commits in between")
			s.reaches(everybody, s.Spec.Targets())
		},
		harm: func(s *scene) string {
			s.paste("kill -STOP $HUBD_PID; on-hub nft delete element inet hubd spokes4 \"{ $SVC1_CIDR }\"")
			defer s.paste("kill -CONT $HUBD_PID")
			s.stops(lab.HostLaptop1, "svc1")
			return "a prefix that somebody took out stayed out: no new flow reached its spoke"
		},
	},
	{
		id: "F30", name: "the kernel lacks table flags (mode persist: persist; plain: owner, persist, fully-random, ct count), and hubd is killed",
		inject:  "hublab unit kill hubd",
		expect:  "hubd does without, says so, never uses owner without persist: the table outlives it and flows go on",
		control: "never owner without persist",
		setup: func(g *stage) {
			if g.mode == "persist" {
				g.without("persist-flag")
			} else {
				g.without("owner-flag", "persist-flag", "fully-random", "flow-count")
			}
		},
		run: func(s *scene) {
			words := []string{"masq.ownership is persist"}
			if s.mode == "plain" {
				words = []string{"fully-random", "masq.max_flows"}
			}
			for _, w := range words {
				eventually(s.t, "status says that the kernel lacks "+w, func() error { return s.hasProblem(hub.KernelLacks, w) })
			}
			out := s.sh(lab.HostHub, "nft list ruleset")
			if s.mode == "plain" && (strings.Contains(out, "hubd_keep") || strings.Contains(out, "fully-random") || strings.Contains(out, "ct count")) {
				s.t.Errorf("the table has what the kernel lacks:\n%s", out)
			}
			s.inject()
			for _, p := range s.probes {
				p.more(50)
			}
			s.clock()
			s.paste("hublab unit start hubd")
			s.converged("hubd is content", s.quiet)
			s.afterPolls(2) // a pass has been made of what AWS says now
			s.saw("KERNEL_LACKS tells of %s; flows went on without hubd", strings.Join(words, " and "))
			s.reaches(everybody, s.Spec.Targets())
		},
		off: func(g *stage) {
			g.env, g.mode = nil, "persist"
			g.without("owner-with-persist")
		},
		harm: func(s *scene) string {
			p := s.probe("udp", lab.HostLaptop1, "svc1")
			s.inject()
			p.stalls(50)
			return "the table went with hubd, and the flows stopped"
		},
	},
}

// leftUntranslated waits until n packets of clients left the hub with their own addresses.
func (s *scene) leftUntranslated(n uint64) string {
	s.t.Helper()
	eventually(s.t, "packets leave untranslated", func() error {
		if have := s.dropped(lab.HostHub, fabric.ReasonSourceCheck); have < n {
			return fmt.Errorf("%d were dropped by the interface", have)
		}
		return nil
	})
	return fmt.Sprintf("%d packets with clients' addresses left the hub (eni-source-check)", s.dropped(lab.HostHub, fabric.ReasonSourceCheck))
}
