package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"peerhub/test/lab"
)

// faultsOfEvents are busy others, and what is not heard.
var faultsOfEvents = []fault{
	{
		id: "F36", name: "others' rules and routes change by the thousand while hubd reads them",
		inject: `d=$(mktemp -d); seq 1000 | sed 's/.*/rule add pref & from 192.0.2.8 lookup 77/' >$d/add; sed s/add/del/ $d/add >$d/del
(while [ -e $d ]; do on-hub ip route add 192.0.2.9 dev lo; on-hub ip route del 192.0.2.9 dev lo; done) &
for i in $(seq 60); do on-hub ip -batch $d/add; on-hub ip -batch $d/del; done; rm -r $d; wait`,
		expect:  "an interrupted dump is read again: nothing is written, none of ours is removed or made twice",
		control: "reading rules until two dumps agree, and interrupted dumps again",
		off:     func(g *stage) { g.without("dump-retry") },
		run: func(s *scene) {
			stood := s.routing()
			m := s.hear("rule", "route")
			s.inject()
			if w := s.needless(m); w != "" {
				s.t.Error(w)
			}
			if err := same(stood, s.routing()); err != nil {
				s.t.Error(err)
			}
			s.converged("hubd is at rest", s.quiet)
			s.saw("60,000 rules came and 60,000 went: not one write to what is ours")
		},
		harm: func(s *scene) string {
			m := s.hear("rule", "route")
			for range 5 {
				s.inject()
				if w := s.needless(m); w != "" {
					return w
				}
			}
			return ""
		},
	},
	{
		id: "F37", name: "more happens than the event sockets hold, and then one of our routes goes",
		inject: `d=$(mktemp -d); seq 0 19999 | awk '{printf "route add 10.250.%d.%d/32 dev lo table 77\n", $1/256, $1%256}' >$d/add; sed s/add/del/ $d/add >$d/del
seq 0 19999 | awk '{printf "add element inet acme s { 198.18.%d.%d }\n", $1/256, $1%256}' >$d/nft
kill -STOP $HUBD_PID
on-hub nft -f $d/nft; on-hub nft -f $ACME_NFT; on-hub ip -batch $d/add; on-hub ip -batch $d/del
on-hub ip route del $SVC1_CIDR table 26741
kill -CONT $HUBD_PID; rm -r $d`,
		expect:  "the loss of events is an event: everything is read anew, the route is back",
		lossy:   "the route is gone while hubd is stopped",
		control: "reading everything anew after an overrun",
		off:     func(g *stage) { g.without("overrun") },
		run: func(s *scene) {
			stood := s.routing()
			s.inject()
			s.clock()
			s.converged("the route is back", func() error { return same(stood, s.routing()) })
			s.probes[0].more(20)
			s.saw("40,000 route events and 20,000 elements went by, the route that went unheard is back")
		},
		harm: func(s *scene) string {
			p := s.probe("udp", lab.HostLaptop1, "svc1")
			s.inject()
			p.stalls(150)
			return "the route stayed away and the flow stopped, whatever the polls"
		},
	},
	{
		id: "F41", name: "path MTUs of 1280, 1500, 8500 and 9001, and nobody is told",
		setup: func(g *stage) {
			for i := range g.spec.Services {
				if g.spec.Services[i].Host == "svc2" {
					g.spec.Services[i].Region = "us-west-2"
				}
			}
		},
		inject: `hublab fault no-frag-needed on
for h in svc1 svc2; do hublab exec $h -- iptables -I INPUT -p icmp --icmp-type fragmentation-needed -j DROP; done
on-hub ip link set $TUN mtu 1280`,
		expect:  "the MSS is clamped in our table: 1 MB passes both ways, from laptop and office, in and across regions",
		control: "the rule that clamps (removed with hubd stopped, ownership plain)",
		off:     func(g *stage) { g.mode = "plain" },
		run: func(s *scene) {
			s.inject()
			s.converged("1 MB passes", func() error { return s.transfers(lab.HostLaptop1, "svc1", 30) })
			for _, from := range []string{lab.HostLaptop1, lab.HostOffice} {
				for _, to := range []string{"svc1", "svc2"} {
					if err := s.transfers(from, to, 60); err != nil {
						s.t.Errorf("%s and %s: %v", from, to, err)
					}
				}
			}
			s.saw("1 MB there and back on 4 paths")
		},
		harm: func(s *scene) string {
			s.must(s.transfers(lab.HostLaptop1, "svc1", 60))
			s.paste(`kill -STOP $HUBD_PID
h=$(on-hub nft -a list chain inet hubd gate | sed -n 's/.*maxseg.*handle //p'); on-hub nft delete rule inet hubd gate handle $h`)
			defer s.paste("kill -CONT $HUBD_PID")
			s.inject()
			if err := s.transfers(lab.HostLaptop1, "svc1", 8); err != nil {
				return "the transfer hung: " + err.Error()
			}
			return ""
		},
	},
}

// transfers is content when a host sends a service 1 MB and gets it back, in lines of 4,000
// bytes: the service answers a line with one write.
func (s *scene) transfers(from, to string, seconds int) error {
	s.t.Helper()
	line := fmt.Sprintf("exec 3<>/dev/tcp/%s/7; { yes $(printf %%03999d 0) || true; } | head -c 1000000 >&3 & head -c 1000000 <&3 | wc -c", s.addr(to))
	a := s.try(from, "timeout", fmt.Sprint(seconds), "bash", "-c", line)
	if strings.TrimSpace(a.out) != "1000000" {
		return fmt.Errorf("after %d s: exit %d, %q bytes are back %s", seconds, a.code, strings.TrimSpace(a.out), a.talk)
	}
	return nil
}

// needless says what hubd wrote, or tried to, although all was there.
func (s *scene) needless(m *events) string {
	s.t.Helper()
	for l := range strings.Lines(m.text()) {
		if strings.Contains(l, "iif "+s.Spec.Tunnel) || strings.Contains(l, "proto 104") {
			return "ip monitor saw: " + strings.TrimSpace(l)
		}
	}
	b, err := os.ReadFile(filepath.Join(s.Dir, lab.UnitHubd+".log"))
	s.must(err)
	for l := range strings.Lines(string(b)) {
		if strings.Contains(l, "file exists") {
			return "the kernel refused to make what was there: " + strings.TrimSpace(l)
		}
	}
	return ""
}

// stampOf is the format of ip -ts.
const stampOf = "2006-01-02T15:04:05.000000"

// events is what `ip -ts monitor` prints in the hub.
type events struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (e *events) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.out.Write(b)
}

func (e *events) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.out.String()
}

// hear starts ip monitor of such objects and returns when it listens.
func (s *scene) hear(objects ...string) *events {
	s.t.Helper()
	e := &events{}
	cmd := s.hubNS(append([]string{"ip", "-ts", "monitor"}, objects...)...)
	cmd.Stdout, cmd.Stderr = e, e
	s.must(cmd.Start())
	s.t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() }) // it was killed: no news
	eventually(s.t, "ip monitor listens", func() error {
		s.sh(lab.HostHub, "ip route add blackhole 192.0.2.250 table 78; ip route del blackhole 192.0.2.250 table 78")
		if !strings.Contains(e.text(), "192.0.2.250") {
			return errors.New("nothing yet")
		}
		return nil
	})
	return e
}

// count counts the events whose text has such words, of things that came or that went.
func (e *events) count(words string, gone bool) int {
	n := 0
	for l := range strings.Lines(e.text()) {
		if strings.Contains(l, words) && strings.Contains(l, "Deleted ") == gone {
			n++
		}
	}
	return n
}

// at splits a line into its moment and its text.
func at(line string) (time.Time, string) {
	stamp, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "["), "] ")
	if !ok {
		return time.Time{}, line
	}
	t, err := time.Parse(stampOf, stamp)
	if err != nil {
		return time.Time{}, line
	}
	return t, strings.TrimSpace(rest)
}

// longestGone is the longest time that something was away which came back.
func (e *events) longestGone() time.Duration {
	gone, longest := map[string]time.Time{}, time.Duration(0)
	for l := range strings.Lines(e.text()) {
		t, what := at(l)
		if rest, ok := strings.CutPrefix(what, "Deleted "); ok {
			gone[strings.TrimSpace(rest)] = t
		} else if from, ok := gone[what]; ok {
			longest = max(longest, t.Sub(from))
			delete(gone, what)
		}
	}
	return longest
}

// after is the time from the last event that has both words of the first thing to the next
// of the second.
func (e *events) after(first, also, second string) time.Duration {
	var from time.Time
	var took time.Duration
	for l := range strings.Lines(e.text()) {
		t, what := at(l)
		switch {
		case strings.Contains(what, "Deleted "):
		case strings.Contains(what, first) && strings.Contains(what, also) && took == 0:
			if from.IsZero() {
				from = t
			}
		case strings.Contains(what, second) && !from.IsZero() && took == 0:
			took = t.Sub(from)
		}
	}
	return took
}
