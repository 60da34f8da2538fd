package e2e

import (
	"fmt"

	"peerhub/test/lab"
)

// faultsOfFirewall are what others do to nftables, and what the kernel does not know.
var faultsOfFirewall = []fault{
	{
		id: "F23", name: "somebody flushes the ruleset",
		inject:     "on-hub nft flush ruleset\non-hub nft -f $ACME_NFT; on-hub iptables-restore <$ACME_IPT",
		expect:     "persist: nothing of ours goes; plain: our table is back within 50 ms; established flows lose nothing in both",
		lossyPlain: "packets between flush and repair are dropped: the hub is closed then",
		control:    "hubd's repair and the persist flag (hubd is stopped, ownership plain)",
		off:        func(g *stage) { g.mode = "plain" },
		run: func(s *scene) {
			stood := handles.ReplaceAllString(s.standing(), "")
			s.inject()
			s.converged("our table is back", func() error { return same(stood, handles.ReplaceAllString(s.standing(), "")) })
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
}
