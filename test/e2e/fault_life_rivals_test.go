package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"peerhub/test/lab"
)

// second makes a config with another state directory and another socket, by which svc2 is no spoke.
const second = `sed "s#^state: .*#state: $STATE.2#; s#^control: .*#control: {socket: $STATE.2.sock}#; s#^metrics: .*#metrics: {listen: ''}#; ` +
	`s#{name: svc2}#{name: svc2, exclude: [$SVC2_CIDR]}#" $CONFIG >$CONFIG.2`

// faultsOfRivals are what others do to hubd: another hubd, and clients without end.
var faultsOfRivals = []fault{
	{
		id: "F61", name: "a second hubd starts on the host",
		inject: second + "\nfor how in '' --once --cleanup; do if hubd --config $CONFIG.2 $how; then exit 1; fi; done\n" +
			"if hubd --config $CONFIG; then exit 1; fi",
		expect:  "each is refused and told which process runs, also with another state directory and socket; the first goes on untouched",
		control: "one hubd a network namespace (an abstract socket)",
		run: func(s *scene) {
			s.addShims()
			pid, stood, asked := s.Process(lab.UnitHubd).PID, s.standing(), len(s.Requests(0))
			s.clock()
			a := s.tryPaste(s.fault.inject)
			s.converged("the first has asked since", func() error { s.afterPolls(1); return nil })
			if n := strings.Count(a.talk, fmt.Sprintf("another hubd (process %d) keeps this host's routes and rules", pid)); a.code != 0 || n != 4 {
				s.t.Errorf("exit %d, %d of 4 name process %d: %s", a.code, n, pid, a.talk)
			}
			if _, err := os.Stat(s.statePath() + ".2"); err == nil {
				s.t.Error("a refused hubd made its state directory")
			}
			for _, q := range s.Requests(asked) {
				if byHubd(q) && (strings.HasPrefix(q.Action, "Delete") || strings.HasPrefix(q.Action, "Create")) {
					s.t.Errorf("somebody asked %s", q.Action)
				}
			}
			if p := s.Process(lab.UnitHubd); p == nil || p.PID != pid {
				s.t.Error("the first hubd ended")
			}
			if err := same(stood, s.standing()); err != nil {
				s.t.Error(err)
			}
			s.addShims()
			if a := s.tryPaste("hubd --config $CONFIG.2 --once --dry-run"); strings.Contains(a.talk, "another hubd") {
				s.t.Errorf("a dry run, which writes nothing, is refused: %s", a.talk)
			}
			s.saw("4 were refused and named process %d; tables, rules and routes are as they were, with their handles", pid)
		},
		off: func(g *stage) { g.without("one-hub") },
		harm: func(s *scene) string {
			s.addShims()
			p := s.probe("udp", lab.HostLaptop1, "svc2")
			s.paste(second)
			cmd := exec.Command("bash", "-euc", "exec hubd --config $CONFIG.2")
			cmd.Env = append(os.Environ(), append(s.variables(), "PATH="+s.shims+":"+os.Getenv("PATH"), "HUBD_OFF=one-hub")...)
			s.must(cmd.Start())
			defer func() {
				s.must(errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()))
			}()
			lost := 0
			eventually(s.t, "packets are lost", func() error {
				sent, back := p.counts()
				if lost = sent - back; lost < 25 {
					return fmt.Errorf("%d of %d", lost, sent)
				}
				return nil
			})
			return fmt.Sprintf("both ran, one took away what the other made: more than %d packets to svc2 were lost", 25)
		},
	},
	{
		id: "F62", name: "1,000 idle and slow clients on the control socket",
		inject:  "slow 1000 $SOCKET",
		expect:  "hubctl is answered, passes go on, a new spoke is served; descriptors stay bounded",
		control: "the limit of connections for each user",
		run: func(s *scene) {
			f := s.crowd()
			s.clock()
			f.calls(1000)
			s.paste(peerSvc3)
			s.converged("the new spoke is reached", func() error { return s.arrives(lab.HostLaptop1, "svc3") })
			most := 0
			for range 10 {
				if a := s.hubctl("status"); a.code != 0 {
					s.t.Errorf("hubctl status: exit %d: %s", a.code, a.talk)
				}
				_, files, err := footprint(s.Process(lab.UnitHubd).PID)
				s.must(err)
				most = max(most, files)
			}
			if most > 2*mostFiles {
				s.t.Errorf("%d descriptors are open", most)
			}
			s.afterPolls(2)
			f.end()
			s.saw("hubctl answered 10 of 10 times, svc3 was served, at most %d descriptors", most)
		},
		off: func(g *stage) { g.without("client-limits") },
		harm: func(s *scene) string {
			s.crowd()
			most := 0
			eventually(s.t, "descriptors grow", func() error {
				_, files, err := footprint(s.Process(lab.UnitHubd).PID)
				if most = max(most, files); most < 500 {
					err = errors.Join(err, fmt.Errorf("%d", most))
				}
				return err
			})
			return fmt.Sprintf("%d descriptors were open and more to come", most)
		},
	},
}

// crowd is test/slow at work.
type crowd struct {
	s    *scene
	m    manager // its output
	cmd  *exec.Cmd
	over bool
}

func (s *scene) crowd() *crowd {
	s.t.Helper()
	s.addShims()
	c := &crowd{s: s}
	c.cmd = exec.Command("bash", "-euc", "exec "+s.fault.inject)
	c.cmd.Env = append(os.Environ(), append(s.variables(), "SOCKET="+s.HubdSocket(), "PATH="+s.shims+":"+os.Getenv("PATH"))...)
	c.cmd.Stdout, c.cmd.Stderr = &c.m, &c.m
	s.must(c.cmd.Start())
	s.t.Cleanup(c.end)
	return c
}

// calls waits until so many connections were made.
func (c *crowd) calls(n int) {
	c.s.t.Helper()
	eventually(c.s.t, fmt.Sprintf("%d clients have called", n), func() error {
		lines := strings.Split(strings.TrimSpace(c.m.events()), "\n")
		var have int
		if _, err := fmt.Sscan(lines[len(lines)-1], &have); err != nil || have < n {
			return fmt.Errorf("%d", have)
		}
		return nil
	})
}

func (c *crowd) end() {
	c.s.t.Helper()
	if !c.over {
		c.over = true
		c.s.must(errors.Join(c.cmd.Process.Signal(syscall.SIGTERM), c.cmd.Wait()))
	}
}
