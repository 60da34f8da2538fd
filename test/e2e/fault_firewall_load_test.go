package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"peerhub/hub"
	"peerhub/test/fabric"
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

var faultsOfRaces = []fault{
	{
		id: "F33", name: "flows of two tunnels begin in the same moment, from the same port to one destination",
		inject: "on-hub nft add table netdev acme33\non-hub nft add chain netdev acme33 out \"{ type filter hook egress device $ETH priority 0; }\"\n" +
			"on-hub nft add rule netdev acme33 out udp dport 33 counter drop\n# then 30,000 datagrams, 47 % of all ports, in step from two threads",
		expect:  "each gets a port of its own: at most 0.01 % lose their first packet",
		control: "fully-random (somebody's rule, which keeps the source port, translates first)",
		setup: func(g *stage) {
			g.replace("vpn:\n", "vpn:\n  - {name: race, interfaces: [race0, race1], pools: [172.29.0.0/24, 172.29.1.0/24], to_hub: [icmp]}\n")
			g.replace("ownership: "+g.mode+"}", "ownership: "+g.mode+", max_flows: 0}")
		},
		run: func(s *scene) {
			racers := s.racers()
			s.inject()
			lost, sent := s.race(racers, 15000)
			if lost*10000 > sent {
				s.t.Errorf("%d of %d flows lost their first packet", lost, sent)
			}
			s.took = time.Since(s.began)
			s.saw("%d of %d lost", lost, sent)
			s.paste("on-hub nft delete table netdev acme33; on-hub ip link del race0; on-hub ip link del race1")
		},
		harm: func(s *scene) string {
			racers := s.racers()
			s.paste(s.fault.inject + "\non-hub nft add table ip theirs\non-hub nft add chain ip theirs post '{ type nat hook postrouting priority 90; }'\n" +
				"on-hub nft add rule ip theirs post oifname $ETH snat to " + s.Spec.HubAddress().String())
			lost, sent := 0, 0
			for lost*10000 <= sent && sent < 20*30000 && s.t.Context().Err() == nil { // it takes two processors at once, which a busy machine seldom gives
				s.sh(lab.HostHub, "conntrack -D -p udp --dport 33 >/dev/null 2>&1 || true")
				l, n := s.race(racers, 15000)
				lost, sent = lost+l, sent+n
			}
			if lost*10000 <= sent {
				return ""
			}
			return fmt.Sprintf("%d of %d lost their first packet", lost, sent)
		},
	},
}

// racers are two hosts behind tunnels of their own: namespace and address.
func (s *scene) racers() map[string]netip.Addr {
	s.t.Helper()
	out := map[string]netip.Addr{}
	for i := range 2 {
		ns, dev, near, far := s.ns(fmt.Sprintf("race%d", i)), fmt.Sprintf("race%d", i), fmt.Sprintf("172.29.%d.1", i), fmt.Sprintf("172.29.%d.2", i)
		s.must(fabric.NewNS(ns))
		s.t.Cleanup(func() { s.must(fabric.Delete(ns)) })
		s.sh(lab.HostHub, fmt.Sprintf("ip link add %s type veth peer name eth0 netns %s; ip addr add %s/24 dev %s; ip link set %s up", dev, ns, near, dev, dev))
		if out, err := fabric.Exec(s.t.Context(), ns, "sh", "-ec", fmt.Sprintf("ip addr add %s/24 dev eth0; ip link set eth0 up; ip route add default via %s; ping -c1 -W5 %s", far, near, near)); err != nil {
			s.t.Fatalf("%v: %s", err, out)
		}
		out[ns] = netip.MustParseAddr(far)
	}
	return out
}

// race has the racers send that many datagrams each and counts which of them did not leave
// the hub.
func (s *scene) race(racers map[string]netip.Addr, flows int) (lost, sent int) {
	s.t.Helper()
	left := func() (n int) {
		out := s.sh(lab.HostHub, "nft list chain netdev acme33 out")
		_, after, _ := strings.Cut(out, "counter packets ")
		s.must(scan(after, &n))
		return n
	}
	before := left()
	s.must(inStep(racers, netip.AddrPortFrom(netip.MustParseAddr(s.addr("svc1")), 33), flows))
	sent = flows * len(racers)
	return sent - (left() - before), sent
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
