package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"peerhub/test/lab"
)

// watchLeaks is tcpdump of what must never leave the hub: packets with a client's address,
// and packets to the stranger and to the metadata service.
func (s *scene) watchLeaks() *capture {
	s.t.Helper()
	return s.captureOf(fmt.Sprintf("(src net %s or src net %s or dst net %s) and not udp port 1194", s.Spec.Pool, s.Spec.OfficeLAN, s.service("stranger").VPC))
}

// leaked lists them, without ARP and without what tcpdump says of itself.
func (s *scene) leaked() []string {
	var out []string
	for _, l := range s.leaks.lines() {
		if strings.Contains(l, " IP ") {
			out = append(out, l)
		}
	}
	return out
}

// stands is content when what hubd keeps is there as it stood, handles aside.
func (s *scene) stands(before string) error {
	s.t.Helper()
	if a := s.try(lab.HostHub, "nft", "list", "table", "inet", "hubd"); a.code != 0 {
		return errors.New("no table inet hubd")
	}
	return same(handles.ReplaceAllString(before, ""), handles.ReplaceAllString(s.standing(), ""))
}

// overrun counts datagrams that this machine's own sockets and tunnels had no room for: an
// OpenVPN or a service that got no processor in time. hubd has no part in that.
func (s *scene) overrun() int {
	s.t.Helper()
	n := 0
	for _, h := range []string{lab.HostLaptop1, lab.HostLaptop2, lab.HostOffice, lab.HostOfficeGW, lab.HostHub, "svc1", "svc2"} {
		out := s.sh(h, `awk '/^Udp:/ && $2 ~ /^[0-9]+$/ { print $6 }' /proc/net/snmp; cat /sys/class/net/tun*/statistics/tx_dropped 2>/dev/null || true`)
		for word := range strings.FieldsSeq(out) {
			var one int
			if _, err := fmt.Sscan(word, &one); err == nil {
				n += one
			}
		}
	}
	return n
}

// finish checks the invariants and returns how many packets the probes lost.
func (s *scene) finish() int {
	s.t.Helper()
	lost, excused := 0, 0
	for _, p := range s.probes { // I1
		r := p.end()
		lost += len(r.Lost)
		if excused = max(0, s.overrun()-s.before.overrun); lost <= excused && r.Ended == "" {
			continue
		}
		if (len(r.Lost) > 0 || r.Ended != "") && s.fault.losses(s.mode) == "" {
			s.t.Errorf("I1: %s: %d of %d lost: %s; ended: %q; drops: %v; guard: %v", p.name, len(r.Lost), r.Sent, spans(r.Lost), r.Ended, s.drops(), s.guard())
		}
		if r.Back < 10 {
			s.t.Errorf("I1: %s: only %d packets came back: it shows nothing", p.name, r.Back)
		}
	}
	if lost > 0 && excused > 0 {
		s.saw("sockets and tunnels of the busy machine had no room for %d datagrams (RcvbufErrors, tx_dropped)", excused)
	}
	if err := same(s.foreign, s.others()); err != nil { // I2
		s.t.Errorf("I2: something foreign changed: %v", err)
	}
	if l := s.leaked(); len(l) > 0 { // I3
		s.t.Errorf("I3: %d packets left the hub that must not, the first: %s", len(l), l[0])
	}
	eventually(s.t, "I4: nothing is left to do", s.quiet)
	s.truthful() // I5
	s.flat()     // I6
	return lost
}

// truthful fails unless status calls working exactly the spokes that a packet reaches.
func (s *scene) truthful() {
	s.t.Helper()
	var st struct {
		Spokes []struct {
			Name  string
			VPC   string
			Works bool
		}
	}
	s.hubctlJSON(&st, "status")
	if len(st.Spokes) == 0 && s.fault.id != "F01" {
		s.t.Error("I5: status knows no spoke: it shows nothing")
	}
	for _, sp := range st.Spokes {
		for _, v := range s.Spec.Services {
			if s.Spec.ID("vpc", v.Host) != sp.VPC {
				continue
			}
			if err := s.arrives(lab.HostLaptop1, v.Host); sp.Works != (err == nil) {
				s.t.Errorf("I5: status says works=%v of %s, a packet says %v", sp.Works, sp.Name, err)
			}
		}
	}
}

// Bounds of I6: a hubd of three spokes stays far below the first two, and a fault may leave
// it no more than the others, which a new process and its first garbage need.
const (
	mostRSS, mostFiles           = 80 << 10, 64 // KiB, descriptors
	moreRSS, moreFiles, moreTask = 24 << 10, 12, 24
)

// footing is what hubd holds, and what the machine has lost by itself.
type footing struct{ rss, files, tasks, overrun int }

func (s *scene) footing() footing {
	s.t.Helper()
	f := footing{overrun: s.overrun()}
	if p := s.Process(lab.UnitHubd); p != nil {
		var err error
		f.rss, f.files, err = footprint(p.PID)
		s.must(err)
		out := s.try(lab.HostHub, "sh", "-c", "curl -sS --max-time 5 http://127.0.0.1:9586/metrics | awk '/^hubd_goroutines /{print $2}'").out
		if _, err := fmt.Sscan(out, &f.tasks); err != nil {
			f.tasks = 0 // metrics are off in this row
		}
	}
	return f
}

// flat fails when hubd, after the fault, holds more than a hubd ever needs, or much more than before.
func (s *scene) flat() {
	s.t.Helper()
	if s.Process(lab.UnitHubd) == nil {
		s.t.Error("I6: hubd does not run")
		return
	}
	now, was := s.footing(), s.before
	if now.rss > mostRSS || now.files > mostFiles {
		s.t.Errorf("I6: hubd has %d KiB and %d files open; want at most %d and %d", now.rss, now.files, mostRSS, mostFiles)
	}
	if s.fault.grown != "" {
		was.rss = max(was.rss, now.rss)
	}
	if was.rss > 0 && (now.rss > was.rss+moreRSS || now.files > was.files+moreFiles || was.tasks > 0 && now.tasks > was.tasks+moreTask) {
		s.t.Errorf("I6: hubd had %d KiB, %d files, %d goroutines, and has %d, %d, %d", was.rss, was.files, was.tasks, now.rss, now.files, now.tasks)
	}
}

// footprint is a process's resident memory in KiB and its open files.
func footprint(pid int) (rss, files int, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if _, err := fmt.Sscan(rest, &rss); err != nil {
				return 0, 0, err
			}
		}
	}
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if rss == 0 {
		err = errors.Join(err, errors.New("no VmRSS"))
	}
	return rss, len(list), err
}
