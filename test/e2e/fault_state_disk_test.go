package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"peerhub/hub"
	"peerhub/hub/state"
	"peerhub/test/lab"
	"peerhub/test/soak/admin"
)

func init() { faultsOfState = append(faultsOfState, faultsOfDisk...) }

// smallDisk makes the state directory a file system of 1 MiB. hubd is stopped.
const smallDisk = "cp -a $STATE $STATE.kept\nmount -t tmpfs -o size=1m,mode=750 peerhub-faults $STATE\ncp -a $STATE.kept/. $STATE/ && rm -r $STATE.kept"

// failingWrites has the kernel answer hubd's writes to its state file with an error, as a
// disk that goes bad does. It ends with stopFailing.
const (
	failingWrites = "strace -qq -f -p $HUBD_PID -P $STATE/state.db -P $STATE/state.db-wal -e inject=write,pwrite64,fsync,fdatasync,ftruncate:error=%s -o /dev/null >/dev/null 2>&1 & echo $! >$STATE/../strace.pid"
	stopFailing   = "kill $(cat $STATE/../strace.pid)"
)

// diskFaults are ways in which a state directory cannot be written to.
var diskFaults = []struct{ name, begin, end string }{
	{"full", "dd if=/dev/zero of=$STATE/filler bs=4k status=none || true", "rm $STATE/filler"},
	{"EROFS", fmt.Sprintf(failingWrites, "EROFS"), stopFailing},
	{"EIO", fmt.Sprintf(failingWrites, "EIO"), stopFailing},
}

var faultsOfDisk = []fault{
	{
		id: "F54", name: "the state directory's disk is full, is read-only, gives I/O errors",
		inject: "# hubd is stopped\n" + smallDisk + "\n# hubd is started; then each of\n" +
			diskFaults[0].begin + "\n" + diskFaults[1].begin + "\n" + diskFaults[2].begin + "\n# while a spoke comes or goes",
		expect:  "traffic flows; STATE_FAILED; nothing is applied that cannot be remembered; hubd goes on by itself once it can write; the old file stays whole; on a read-only disk hubd does not start and says why",
		control: "heeding a write that failed, and the ledger entry before the call",
		run: func(s *scene) {
			s.onSmallDisk()
			v := s.service("svc3")
			pcx := ""
			for _, d := range diskFaults {
				stood := strings.Join(s.everyRoute(), "\n")
				s.paste(d.begin)
				pcx = s.comesOrGoes(pcx)
				eventually(s.t, d.name+": status says so", func() error { return s.hasProblem(hub.StateFailed, "state") })
				s.afterPolls(2)
				if err := same(stood, strings.Join(s.everyRoute(), "\n")); err != nil && pcx != "" { // AWS itself changes the routes to a deleted peering
					s.t.Errorf("%s: something was applied: %v", d.name, err)
				}
				s.probes[0].more(20)
				s.clock()
				s.paste(d.end)
				s.converged(d.name+": hubd goes on by itself", func() error {
					return errors.Join(s.doneWith(v, pcx != ""), s.quiet())
				})
				if out := s.paste("sqlite3 -readonly $STATE/state.db 'PRAGMA integrity_check'"); strings.TrimSpace(out) != "ok" {
					s.t.Errorf("%s: the state file: %s", d.name, out)
				}
			}
			s.must(s.StopUnit(lab.UnitHubd))
			s.paste("mount -o remount,ro $STATE")
			stood := s.standing()
			a := s.try(lab.HostHub, filepath.Join(bin, "hubd"), "--config", s.configPath())
			if a.code != 1 || !strings.Contains(a.talk, "read-only") || !strings.Contains(a.talk, s.statePath()) {
				s.t.Errorf("start on a read-only disk: exit %d: %s", a.code, a.talk)
			}
			if err := same(stood, s.standing()); err != nil {
				s.t.Error(err)
			}
			s.paste("mount -o remount,rw $STATE")
			s.must(s.StartUnit(s.t.Context(), lab.UnitHubd))
			s.afterPolls(2) // until AWS has answered it
			s.saw("full, EROFS and EIO: STATE_FAILED, nothing applied, went on by itself; on a read-only disk it did not start: %s", oneLine(a.talk))
		},
		off: func(g *stage) { g.without("save-check", "ledger-intent") },
		harm: func(s *scene) string {
			s.onSmallDisk()
			s.paste(diskFaults[0].begin)
			s.comesOrGoes("")
			eventually(s.t, "hubd makes a route", func() error { return s.wantRoute(s.Spec.ID("rtb", "hub-public"), s.service("svc3").VPC) })
			s.must(s.KillUnit(lab.UnitHubd))
			s.paste(diskFaults[0].end)
			s.withoutSVC3()
			s.must(s.StartUnit(s.t.Context(), lab.UnitHubd))
			return s.orphan()
		},
	},
	{
		id: "F63", name: "the host reboots while EC2, STS and IMDS are away",
		inject: "# hubd and openvpn are killed\n" +
			"on-hub nft \"add table ip outage; add chain ip outage out { type filter hook output priority 0; }; add rule ip outage out ip daddr { 169.254.169.254, $API } drop\"\n" +
			"on-hub nft delete table inet hubd; on-hub nft delete table inet hubd_keep 2>/dev/null || true\n" +
			"on-hub ip rule | sed -n 's/^\\(267[0-9]*\\):.*/\\1/p' | while read p; do on-hub ip rule del priority $p; done\n" +
			"on-hub ip route show table all proto 104 | sed -n 's/.*table \\(267[0-9]*\\).*/\\1/p' | sort -u | while read t; do on-hub ip route flush table $t; done\n" +
			"on-hub sysctl -qw net.ipv4.ip_forward=0; on-hub conntrack -F 2>/dev/null\n" +
			"# hubd --fail-closed, then openvpn, then hubd",
		expect:  "the data plane comes up from what was saved, within 5 s; status marks it stale and tells its age, also when that is three days; AWS's return ends that",
		lossy:   "the host reboots",
		control: "the saved topology and want (the state directory is empty)",
		run: func(s *scene) {
			stood := strings.Join(s.everyRoute(), "\n")
			s.must(s.KillUnit(lab.UnitHubd))
			s.ageState(72 * time.Hour)
			s.dieAsAHost()
			s.bootNetwork()
			s.clock()
			s.must(s.StartUnit(s.t.Context(), lab.UnitHubd))
			s.converged("the data plane is as it was", func() error { return same(stood, strings.Join(s.everyRoute(), "\n")) })
			took := s.took
			s.reconnect()
			s.reaches(everybody, s.Spec.Targets())
			eventually(s.t, "status tells of the age", func() error { return s.staleSince(71 * time.Hour) })
			s.paste("on-hub nft delete table ip outage")
			eventually(s.t, "AWS's answer counts", func() error {
				if s.staleSince(0) == nil {
					return errors.New("it is stale still")
				}
				return nil
			})
			s.took = took
			s.saw("from what was saved 72 h before, %d ms after hubd's start all tables, rules and elements stood and everybody reached everything; SOURCE_STALE tells the age", took.Milliseconds())
		},
		harm: func(s *scene) string {
			s.must(s.KillUnit(lab.UnitHubd))
			s.dieAsAHost()
			s.must(os.RemoveAll(s.statePath()))
			s.bootNetwork()
			s.must(s.StartUnit(s.t.Context(), lab.UnitHubd))
			s.reconnect()
			eventually(s.t, "hubd has made a pass", func() error { return s.hasProblem(hub.NoTopology, "") })
			if err := s.arrives(lab.HostLaptop1, "svc1"); err != nil {
				return "nobody reaches anything as long as AWS is away: " + oneLine(err.Error())
			}
			return ""
		},
	},
}

// onSmallDisk moves the state to a disk of 1 MiB and starts hubd there.
func (s *scene) onSmallDisk() {
	s.t.Helper()
	s.must(s.StopUnit(lab.UnitHubd))
	s.paste(smallDisk)
	s.t.Cleanup(func() {
		if err := syscall.Unmount(s.statePath(), syscall.MNT_DETACH); err != nil {
			s.t.Errorf("unmount %s: %v", s.statePath(), err)
		}
	})
	s.must(s.StartUnit(s.t.Context(), lab.UnitHubd))
	eventually(s.t, "hubd has nothing to do", s.quiet)
}

// comesOrGoes deletes the peering with svc3, or makes one when there is none, and returns
// its id.
func (s *scene) comesOrGoes(pcx string) string {
	s.t.Helper()
	people := admin.New(s.Lab)
	if pcx != "" {
		s.must(people.Unpeer(s.t.Context(), s.service("svc3").Account, pcx))
		return ""
	}
	pcx, err := people.Peer(s.t.Context(), "svc3")
	s.must(err)
	return pcx
}

// doneWith is content when a spoke is in all places on the way, or in none.
func (s *scene) doneWith(v lab.Service, in bool) error {
	missing := s.everywhere(v.VPC)
	switch {
	case in && len(missing) > 0:
		return errors.Join(missing...)
	case !in && len(missing) < 3: // it is inside an aggregate, which is pushed always
		return fmt.Errorf("only %d places are rid of %s", len(missing), v.Host)
	}
	return nil
}

// ageState makes what hubd saved that much older. hubd is stopped.
func (s *scene) ageState(by time.Duration) {
	s.t.Helper()
	st, err := state.Open(s.statePath())
	s.must(err)
	t, ok, err := st.LoadTopology(s.t.Context())
	if err != nil || !ok {
		s.t.Fatalf("no topology was saved: %v", err)
	}
	for i := range t.Sources {
		t.Sources[i].At = time.Now().Add(-by)
	}
	s.must(errors.Join(st.SaveTopology(s.t.Context(), t), st.Close()))
}

// dieAsAHost ends everything on the hub, takes what it had in the kernel, and AWS with it.
func (s *scene) dieAsAHost() {
	s.t.Helper()
	s.must(errors.Join(s.KillUnit(lab.UnitHubd), s.KillUnit(lab.UnitServer)))
	for _, p := range s.probes {
		p.end() // they cannot outlive it
	}
	s.inject()
}

// bootNetwork is what the boot does before hubd: the fail-closed rules, then OpenVPN.
func (s *scene) bootNetwork() {
	s.t.Helper()
	s.exec(lab.HostHub, filepath.Join(failing(s.t), "hubd"), "--config", s.configPath(), "--fail-closed")
	s.must(s.StartUnit(s.t.Context(), lab.UnitServer))
}

// reconnect starts the clients anew, which would find out by themselves in a minute.
func (s *scene) reconnect() {
	s.t.Helper()
	for _, u := range []string{lab.UnitLaptop1, lab.UnitLaptop2, lab.UnitOffice} {
		s.must(s.RestartUnit(s.t.Context(), u))
	}
}

// staleSince is content when the hub's own source has not answered for at least that long.
func (s *scene) staleSince(least time.Duration) error {
	s.t.Helper()
	var st struct {
		Sources []struct {
			Account string
			Fresh   bool
			At      *time.Time
		}
	}
	s.hubctlJSON(&st, "status")
	for _, src := range st.Sources {
		if src.Account != s.Spec.HubAccount || src.Fresh || src.At == nil {
			continue
		}
		if age := time.Since(*src.At); age < least {
			return fmt.Errorf("its age is %s", age)
		}
		return s.hasProblem(hub.SourceStale, s.Spec.HubAccount)
	}
	return fmt.Errorf("the hub's source is not stale: %+v", st.Sources)
}
