package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"peerhub/test/lab"
)

// faultsOfLife are what happens to hubd's process, its program and its config.
var faultsOfLife = []fault{
	{
		id: "F57", name: "hubd's memory is limited, and much garbage is made",
		inject: managed + "exec supervise -set MemoryMax=48M -set Environment= -set Environment=GOMEMLIMIT=28MiB -set Environment=GOGC=off\n" +
			"# then, as often as it takes: curl -s -o /dev/null --unix-socket $SOCKET 'http://hubd/v1/status?[1-500]'\n" +
			"# and once more without GOMEMLIMIT, until the limit kills hubd",
		expect:  "hubd stays below GOMEMLIMIT and works; killed by the limit it starts anew and has nothing to do; no packet is lost",
		control: "GOMEMLIMIT and MemoryMax",
		run: func(s *scene) {
			m := s.manage(managed + "exec supervise -set MemoryMax=48M -set Environment= -set Environment=GOMEMLIMIT=28MiB -set Environment=GOGC=off")
			pid := m.await("ready", 1)
			for range 8 {
				s.must(s.garbage())
			}
			rss, _, err := footprint(pid)
			s.must(err)
			if n, _ := m.count("end"); n > 0 {
				s.t.Errorf("GOMEMLIMIT did not hold:\n%s", m.events())
			}
			s.must(s.quiet())
			s.saw("4000 answers made with %d MiB resident, below 48 MiB", rss>>10)
			m.end()
			stood := handles.ReplaceAllString(s.standing(), "")
			m = s.manage("exec supervise -set MemoryMax=48M -set Environment= -first GOGC=off")
			m.await("ready", 1)
			s.clock()
			eventually(s.t, "the limit kills hubd", func() error {
				if n, _ := m.count("end"); n > 0 {
					return nil
				}
				return errors.Join(s.garbage(), errors.New("it lives"))
			})
			m.await("ready", 2)
			s.converged("it has nothing to do", s.quiet)
			if !strings.Contains(m.events(), "signal: killed") {
				s.t.Errorf("something else than the limit ended it:\n%s", m.events())
			}
			if err := same(stood, handles.ReplaceAllString(s.standing(), "")); err != nil {
				s.t.Error(err)
			}
			s.saw("without GOMEMLIMIT the limit killed it, it came back by itself and changed nothing")
			m.unmanage()
		},
		harm: func(s *scene) string {
			m := s.manage(managed + "exec supervise -set MemoryMax= -set Environment= -set Environment=GOGC=off")
			pid := m.await("ready", 1)
			rss := 0
			eventually(s.t, "hubd takes all it can get", func() (err error) {
				if err = s.garbage(); err == nil {
					rss, _, err = footprint(pid)
				}
				if rss < 128<<10 {
					err = errors.Join(err, fmt.Errorf("%d KiB", rss))
				}
				return err
			})
			return fmt.Sprintf("hubd took %d MiB of the host, and more with each answer", rss>>10)
		},
	},
	{
		id: "F58", name: "hubd hangs",
		inject:  managed + "exec supervise -set WatchdogSec=3 -first HUBD_FAILPOINT=last.temp:3:hang\n# meanwhile:\n" + peerSvc3,
		expect:  "no packet is lost; the watchdog ends hubd, the new one serves the spoke that came meanwhile",
		control: "the watchdog (WatchdogSec= is empty)",
		run: func(s *scene) {
			s.clock()
			m := s.manage(managed + "exec supervise -set WatchdogSec=3 -first HUBD_FAILPOINT=last.temp:3:hang")
			m.await("ready", 1)
			s.paste(peerSvc3)
			m.await("watchdog", 1)
			m.await("ready", 2)
			s.converged("the new spoke is reached", func() error { return s.arrives(lab.HostLaptop1, "svc3") })
			s.saw("WATCHDOG=1 stopped, the manager ended hubd and started it anew, svc3 is reached")
			m.unmanage()
		},
		harm: func(s *scene) string {
			p := s.probe("udp", lab.HostLaptop1, "svc1")
			m := s.manage(managed + "exec supervise -set WatchdogSec= -first HUBD_FAILPOINT=last.temp:3:hang")
			m.await("ready", 1)
			s.paste(peerSvc3)
			s.afterPolls(10)
			p.more(100)
			if n, _ := m.count("end"); n > 0 || s.arrives(lab.HostLaptop1, "svc3") == nil {
				return ""
			}
			return "hubd stayed as it was; ten polls and more after its peering svc3 was not reached"
		},
	},
	{
		id: "F59", name: "upgrade and rollback with 100 live flows",
		inject: managed + "exec supervise -set \"ExecStart=ip netns exec $NS $RUN --config $CONFIG\"\n" +
			"# the upgrade, as a package does it; then the rollback by the same line\n" + swap,
		expect:  "not one of 100 flows loses a packet; the new program owns the tables and has nothing to do",
		control: "leaving the data path up at the end (hubd --cleanup between stop and start)",
		setup:   func(g *stage) { g.spec.Services[0].Closed = false },
		run: func(s *scene) {
			s.probes = append(s.probes, s.probe("tcp", lab.HostLaptop1, "svc1", "-flows", "50", "-every", "500ms"),
				s.probe("udp", lab.HostLaptop2, "svc2", "-flows", "50", "-every", "500ms"))
			run := filepath.Join(s.HubdDir(), "hubd.run")
			now := filepath.Join(failing(s.t), "hubd")
			s.must(copyProgram(now, run))
			m := s.manage(managed+`exec supervise -set "ExecStart=ip netns exec $NS $RUN --config $CONFIG"`, "RUN="+run, "NS="+s.ns(lab.HostHub))
			m.await("ready", 1)
			s.must(s.runs("dev"))
			stood := handles.ReplaceAllString(s.standing(), "")
			for i, to := range []struct{ program, version string }{{filepath.Join(tools(s.t), "hubd-next"), "next"}, {now, "dev"}} {
				s.clock()
				s.paste(fmt.Sprintf("NEW=%s RUN=%s MANAGER=%d\n%s", to.program, run, m.cmd.Process.Pid, swap))
				m.await("ready", i+2)
				s.converged("the other version has nothing to do", func() error { return errors.Join(s.runs(to.version), s.quiet()) })
				s.probes[len(s.probes)-2].more(100)
				if err := same(stood, handles.ReplaceAllString(s.standing(), "")); err != nil {
					s.t.Errorf("version %s changed something: %v", to.version, err)
				}
			}
			s.saw("dev to next and back: 50 TCP and 50 UDP flows went on, the tables are as they were and its own")
			m.unmanage()
		},
		harm: func(s *scene) string {
			p := s.probe("tcp", lab.HostLaptop1, "svc1", "-flows", "50", "-every", "500ms")
			s.must(s.StopUnit(lab.UnitHubd))
			s.addShims()
			s.paste("hubd --config $CONFIG --cleanup || true")
			p.stalls(100)
			sent, back := p.counts()
			return fmt.Sprintf("all 50 flows stopped, %d packets did not come back", sent-back)
		},
	},
	{
		id: "F60", name: "a bad config at SIGHUP",
		inject:  "cp $CONFIG $CONFIG.good; sed 's/ sites:.*//' $CONFIG.good | sed 's/interfaces: .tun0./interfaces: [tun0/' >$CONFIG; kill -HUP $HUBD_PID",
		expect:  "the old config stays in force; the log and status say what is wrong, with line; the mended file is taken",
		control: "keeping the old config (what was read of the file counts)",
		run: func(s *scene) {
			stood := s.standing()
			s.inject()
			s.converged("status says what is wrong", func() error { return s.configNote("hubd.yaml:") })
			s.afterPolls(2)
			if err := same(stood, s.standing()); err != nil {
				s.t.Errorf("something changed: %v", err)
			}
			log, err := os.ReadFile(filepath.Join(s.Dir, lab.UnitHubd+".log"))
			s.must(err)
			if !strings.Contains(string(log), "config not taken, the old one stays") || !strings.Contains(string(log), "hubd.yaml:") {
				s.t.Error("the log does not say where the mistake is")
			}
			s.saw("nothing changed in two polls; status and log: %s", s.note())
			s.paste("sed 's/name: svc2}/name: svc2, exclude: [10.99.0.0\\/16]}/' $CONFIG.good >$CONFIG; kill -HUP $HUBD_PID")
			eventually(s.t, "the mended file is taken", func() error {
				if note := s.note(); note != "" {
					return errors.New(note)
				}
				return nil
			})
		},
		off: func(g *stage) { g.without("old-config") },
		harm: func(s *scene) string {
			s.inject()
			s.stops(lab.HostLaptop1, "svc1")
			return fmt.Sprintf("the half file was taken as the whole: no tunnel was in it any more, nobody got through, %d packets left the hub untranslated",
				s.dropped(lab.HostHub, "eni-source-check"))
		},
	},
}

// swap is what a package's scripts do to a running service.
const swap = "install -m 755 $NEW $RUN.new; mv $RUN.new $RUN; kill -HUP $MANAGER # systemctl restart hubd"

func copyProgram(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// garbage has hubd answer 500 times.
func (s *scene) garbage() error {
	s.t.Helper()
	if a := s.tryPaste("curl -sf -o /dev/null --unix-socket " + s.HubdSocket() + " 'http://hubd/v1/status?[1-500]'"); a.code != 0 {
		return fmt.Errorf("curl: exit %d: %s", a.code, a.talk)
	}
	return nil
}

// runs is content when hubd is of that version.
func (s *scene) runs(version string) error {
	s.t.Helper()
	var st struct{ Version string }
	s.hubctlJSON(&st, "status")
	if st.Version != version {
		return fmt.Errorf("version %q runs, not %q", st.Version, version)
	}
	return nil
}

// note is what status says of a config that is not in force.
func (s *scene) note() string {
	s.t.Helper()
	var st struct {
		ConfigNote *string `json:"config_note"`
	}
	s.hubctlJSON(&st, "--socket", s.HubdSocket(), "status") // the config that names it is the broken one
	if st.ConfigNote == nil {
		return ""
	}
	return *st.ConfigNote
}

func (s *scene) configNote(word string) error {
	if note := s.note(); !strings.Contains(note, word) {
		return fmt.Errorf("the note is %q", note)
	}
	return nil
}
