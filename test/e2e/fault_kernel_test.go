package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"peerhub/hub"
	"peerhub/test/lab"
)

// faultsOfKernel are what others do to links, routes, rules and settings, and how it is heard.
var faultsOfKernel = slices.Concat(faultsOfLinks, faultsOfEvents)

// faultsOfLinks are what others do to links, routes, rules and settings.
var faultsOfLinks = []fault{
	{
		id: "F34", name: "the link goes down and up, and the address is given anew",
		inject: `learned=$(on-hub ip -4 route show table main dev $ETH | grep -v 'proto \(104\|kernel\)')
relearn() { echo "$learned" | while read -r r; do on-hub ip route replace $r dev $ETH; done; } # as a DHCP client does
address=$(on-hub ip -4 -o address show dev $ETH | awk '{print $4}')
on-hub ip link set $ETH down; on-hub ip link set $ETH up; relearn
on-hub ip address del $address dev $ETH; on-hub ip address add $address brd + dev $ETH; relearn`,
		expect:  "our routes are back; flows translated to the address live (masq: {source: masquerade} loses them: the kernel forgets)",
		lossy:   "the link itself was down",
		control: "translation to the known address (masq: {source: masquerade})",
		off:     func(g *stage) { g.replace("masq: {ownership", "masq: {source: masquerade, ownership") },
		run: func(s *scene) {
			stood, tracked := s.routing(), s.tracked()
			s.inject()
			s.converged("our routes are back", func() error { return same(stood, s.routing()) })
			for _, p := range s.probes {
				p.more(20)
			}
			if err := same(tracked, s.tracked()); err != nil {
				s.t.Errorf("the tracked flows: %v", err)
			}
			s.saw("routes are back, all flows go on, conntrack has the same ones")
		},
		harm: func(s *scene) string {
			p, tracked := s.probe("tcp", lab.HostLaptop1, "svc1"), ""
			tracked = s.tracked()
			s.inject()
			eventually(s.t, "new flows pass", func() error { return s.arrives(lab.HostLaptop1, "svc1") })
			eventually(s.t, "the kernel forgot the flow", func() error {
				if s.tracked() == tracked {
					return errors.New("it is there")
				}
				return nil
			})
			if r := p.end(); r.Ended != "" {
				return "the kernel forgot the flow and its stream ended: " + r.Ended
			}
			return ""
		},
	},
	{
		id: "F35", name: "a restart of systemd-networkd removes routes and rules it does not know",
		inject: `on-hub ip route flush table all proto 104; on-hub ip -6 route flush table all proto 104
on-hub ip rule flush protocol 104; on-hub ip -6 rule flush protocol 104`,
		expect:  "event-driven repair within 50 ms; who does it 60 times in a row meets ever longer pauses, not a busy hubd; the package ships ManageForeign*=no",
		lossy:   "packets between flush and repair may find half a table, which is closed",
		control: "hubd's repair (hubd is stopped)",
		run: func(s *scene) {
			stood := s.routing()
			m := s.hear("rule", "route")
			s.inject()
			s.converged("all is back", func() error { return same(stood, s.routing()) })
			s.probes[2].more(20)
			s.saw("what was gone came back within %d ms, by ip monitor's clock", m.longestGone().Milliseconds())
			before := m.count("26799:\tfrom all iif", false)
			s.paste(`for i in $(seq 60); do on-hub ip rule flush protocol 104; sleep 0.03; done`)
			if n := m.count("26799:\tfrom all iif", false) - before; n > 30 {
				s.t.Errorf("%d repairs against 60 flushes: hubd does not rest", n)
			} else {
				s.saw("60 flushes in a row were answered by %d repairs", n)
			}
			eventually(s.t, "all is back after the fight", func() error { return same(stood, s.routing()) })
		},
		harm: func(s *scene) string {
			p := s.probe("udp", lab.HostOffice, "svc2")
			s.paste("kill -STOP $HUBD_PID")
			defer s.paste("kill -CONT $HUBD_PID")
			s.inject()
			p.stalls(50)
			return "the office's flow stopped, and stayed so"
		},
	},
	{
		id: "F39", name: "OpenVPN restarts: the tunnel is removed and made anew",
		inject:  "hublab unit restart openvpn-server",
		expect:  "rules stand all the time, by name; the site's route is back before the first client is",
		lossy:   "the VPN itself was away",
		control: "hubd's repair (hubd is stopped)",
		run: func(s *scene) {
			stood, index := s.routing(), s.tunnelIndex()
			m := s.hear("rule", "route", "link")
			s.inject()
			s.converged("the site's route is back", func() error { return same(stood, s.routing()) })
			if s.tunnelIndex() == index {
				s.t.Error("control: the tunnel is the same one")
			}
			if n := m.count(" from all iif "+s.Spec.Tunnel, true); n > 0 {
				s.t.Errorf("%d rules were removed meanwhile:\n%s", n, m.text())
			}
			s.saw("no rule went; the site's route stood %d ms after the tunnel", m.after(s.Spec.Tunnel+": <", ",UP", s.Spec.OfficeLAN.String()+" dev "+s.Spec.Tunnel).Milliseconds())
			s.reaches(everybody, s.Spec.Targets())
			s.probes[2].more(20) // the office's flow; a person may have got another address
		},
		harm: func(s *scene) string {
			p := s.probe("udp", lab.HostOffice, "svc2")
			s.paste("kill -STOP $HUBD_PID")
			defer s.paste("kill -CONT $HUBD_PID")
			s.inject()
			hubInside := s.Spec.Pool.Addr().Next().String()
			eventually(s.t, "the site is connected again", func() error {
				if a := s.try(lab.HostOfficeGW, "ping", "-c1", "-W1", hubInside); a.code != 0 {
					return errors.New(a.out)
				}
				return nil
			})
			eventually(s.t, "a laptop is well again: its rules stand by name", func() error { return s.arrives(lab.HostLaptop1, "svc1") })
			p.stalls(50)
			return "the office stayed cut off although its VPN was back: the route to it went with the tunnel"
		},
	},
	{
		id: "F40", name: "`sysctl --system` or a person writes other settings",
		inject: `on-hub sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.all.src_valid_mark=0 net.ipv4.conf.$ETH.src_valid_mark=0
on-hub sysctl -qw net.ipv6.conf.$ETH.forwarding=1 net.ipv6.conf.$ETH.accept_ra=1
on-hub sysctl -qw net.ipv4.ip_forward=0`,
		expect:  "kernel: {sysctls: set} writes back at once what the hub needs and leaves rp_filter; check names each with the line that mends it",
		lossy:   "packets between the write and the repair",
		control: "writing settings (kernel: {sysctls: check})",
		off:     func(g *stage) { g.replace("kernel: {sysctls: set}", "kernel: {sysctls: check}"); g.bare = true },
		run: func(s *scene) {
			s.inject()
			s.converged("the settings are back", s.settingsWell)
			s.clock()
			s.paste("on-hub sysctl -qw net.ipv4.conf.$ETH.src_valid_mark=0") // has no event
			s.converged("the one without an event is back", s.settingsWell)
			if got := s.setting("net.ipv4.conf.all.rp_filter"); got != "1" {
				s.t.Errorf("rp_filter is %s: it is a person's choice", got)
			}
			for _, p := range s.probes {
				p.more(20)
			}
			s.saw("all are written back, also src_valid_mark and accept_ra, of which the kernel tells nothing; rp_filter stays as it was set")
		},
		harm: func(s *scene) string {
			s.exec(lab.HostHub, "sysctl", "-qw", "net.ipv4.conf.all.src_valid_mark=1") // as the package's sysctl.d does
			s.reaches(everybody, []string{"svc1"})
			p := s.probe("udp", lab.HostLaptop1, "svc1")
			s.inject()
			p.stalls(50)
			eventually(s.t, "status names it", func() error { return s.hasProblem(hub.SysctlWrong, "ip_forward") })
			told := 0
			for _, q := range s.problems() {
				if q.Code == string(hub.SysctlWrong) {
					s.sh(lab.HostHub, strings.Replace(q.Mend, "sysctl -w", "sysctl -qw", 1))
					told++
				}
			}
			p.more(20)
			return fmt.Sprintf("the flow stopped until a person ran the %d lines that status named", told)
		},
	},
}

// routing is what kroute keeps, as ip prints it.
func (s *scene) routing() string {
	s.t.Helper()
	return s.sh(lab.HostHub, "ip rule | grep ^267; ip -6 rule | grep ^267; ip route show table all proto 104; ip -6 route show table all proto 104; true")
}

// tunnelIndex is the kernel's number of the tunnel.
func (s *scene) tunnelIndex() string {
	s.t.Helper()
	return s.sh(lab.HostHub, "cat /sys/class/net/"+s.Spec.Tunnel+"/ifindex 2>/dev/null || ip -o link show "+s.Spec.Tunnel+" | cut -d: -f1")
}

// setting is a sysctl of the hub.
func (s *scene) setting(name string) string {
	s.t.Helper()
	return strings.TrimSpace(s.exec(lab.HostHub, "sysctl", "-n", name))
}

// settingsWell is content when the hub's settings are as F40 wants them.
func (s *scene) settingsWell() error {
	s.t.Helper()
	dev := s.Spec.HubInterface
	for name, want := range map[string]string{"net.ipv4.ip_forward": "1", "net.ipv4.conf." + dev + ".src_valid_mark": "1", "net.ipv6.conf." + dev + ".accept_ra": "2"} {
		if got := s.setting(name); got != want {
			return fmt.Errorf("%s is %s", name, got)
		}
	}
	return nil
}
