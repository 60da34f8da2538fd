package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// TestWhatTamperingCosts takes the firewall, the routes and the routing rules away while a TCP
// stream and a probe of 1 kHz run, with hubd alive, stopped and dead, in both ownership modes.
// It asserts that nothing leaves the hub untranslated and that all comes back; what was lost
// and for how long it prints; docs/operations.md has figures of such a run.
func TestWhatTamperingCosts(t *testing.T) {
	t.Parallel()
	bothModes(t, "t", func(r *rig) {
		r.reaches(everybody, r.Spec.Targets())
		var rows []string
		for _, harm := range []struct{ name, line string }{
			{"nft flush ruleset", "nft flush ruleset"},
			{"ip route flush proto 104", "ip route flush table all proto 104"},
			{"ip rule del", "ip rule del pref 26740; ip rule del pref 26799; ip -6 rule del pref 26799"},
		} {
			for _, hubd := range []string{"alive", "stopped", "dead"} {
				r.t.Run(harm.name+", hubd "+hubd, func(t *testing.T) {
					rows = append(rows, fmt.Sprintf("%-26s %-8s %s", harm.name, hubd, r.in(t).tamper(harm.line, hubd)))
				})
			}
		}
		r.t.Logf("ownership %s\n%-26s %-8s %s\n%s", r.t.Name(), "what", "hubd", "lost of sent at 1 kHz (of these by a busy machine), longest gap, TCP, back after hubd, untranslated", strings.Join(rows, "\n"))
	})
}

// tamper does one harm while probes run and tells what it cost.
func (r *rig) tamper(line, hubd string) string {
	r.t.Helper()
	s := &scene{rig: r}
	p := r.Process(lab.UnitHubd)
	if p == nil {
		r.t.Fatal("hubd does not run")
	}
	leaks := s.watchLeaks()
	s.leaks = leaks
	udp, tcp := s.probe("udp", lab.HostLaptop1, "svc1", "-every", "1ms"), s.probe("tcp", lab.HostLaptop2, "svc2")
	udp.more(500)
	full := r.fullBuffers()
	switch hubd {
	case "stopped":
		r.must(syscall.Kill(p.PID, syscall.SIGSTOP))
	case "dead":
		r.must(r.KillUnit(lab.UnitHubd))
	}
	r.sh(lab.HostHub, line)
	sent, _ := udp.counts()
	eventually(r.t, "500 packets were sent since", func() error {
		if now, _ := udp.counts(); now < sent+500 {
			return fmt.Errorf("%d", now-sent)
		}
		return nil
	})
	began := time.Now()
	switch hubd {
	case "stopped":
		r.must(syscall.Kill(p.PID, syscall.SIGCONT))
	case "dead":
		r.must(r.StartUnit(r.t.Context(), lab.UnitHubd))
	}
	udp.more(1)
	took := time.Since(began)
	eventually(r.t, "hubd has nothing left to do", s.quiet)
	udp.more(200)
	u, c := udp.end(), tcp.end()
	foreign := r.dropped(lab.HostHub, fabric.ReasonSourceCheck)
	for _, d := range r.Drops() {
		if d.Reason == fabric.ReasonPeerSource {
			foreign += d.Count
		}
	}
	if seen := s.leaked(); len(seen) > 0 || foreign > 0 {
		r.t.Errorf("%d packets left untranslated as tcpdump sees it, %d as the network does: %q", len(seen), foreign, seen)
	}
	leaks.stop()
	stream := "lives"
	if c.Ended != "" {
		stream = "ended: " + c.Ended
	}
	return fmt.Sprintf("%d of %d (%d), %.0f ms, %s, %d ms, %d", len(u.Lost), u.Sent, r.fullBuffers()-full, u.GapMS, stream, took.Milliseconds(), foreign)
}

// fullBuffers counts datagrams that found no room in the socket of an OpenVPN that had to wait
// for the machine: no tampering lost these.
func (r *rig) fullBuffers() int {
	r.t.Helper()
	sum := 0
	for _, host := range []string{lab.HostHub, lab.HostLaptop1} {
		var n int
		r.must(scan(r.sh(host, "awk '/^Udp:/ {n = $6} END {print n}' /proc/net/snmp"), &n))
		sum += n
	}
	return sum
}
