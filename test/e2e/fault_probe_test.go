package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"peerhub/test/fabric"
)

// probe is test/probe at work in a host.
type probe struct {
	s    *scene
	name string
	cmd  *exec.Cmd

	mu   sync.Mutex
	out  bytes.Buffer
	over *probeResult
}

// probeResult is what it counted.
type probeResult struct {
	Sent, Back int
	Lost       []int
	GapMS      float64 `json:"gap_ms"`
	Ended      string
}

func (p *probe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

// probe starts one, 50 packets a second, and waits until its packets go both ways.
func (s *scene) probe(network, from, to string, flags ...string) *probe {
	s.t.Helper()
	s.preferVPN()
	p := &probe{s: s, name: fmt.Sprintf("%s %s to %s", network, from, to)}
	argv := append([]string{filepath.Join(bin, "probe")}, flags...)
	p.cmd = fabric.Command(s.t.Context(), s.ns(from), append(argv, network, s.addr(to)+":7")...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	s.must(p.cmd.Start())
	s.t.Cleanup(func() { p.end() })
	p.more(10)
	return p
}

// counts is what it said last.
func (p *probe) counts() (sent, back int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(p.out.String()), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if n, err := fmt.Sscan(lines[i], &sent, &back); n == 2 && err == nil {
			return sent, back
		}
	}
	return 0, 0
}

// more waits until n more packets have come back.
func (p *probe) more(n int) {
	p.s.t.Helper()
	_, before := p.counts()
	eventually(p.s.t, fmt.Sprintf("%d more packets of %s are back", n, p.name), func() error {
		if _, now := p.counts(); now < before+n {
			return fmt.Errorf("%d came back", now-before)
		}
		return nil
	})
}

// stalls waits until n packets were sent one after the other and none came back.
func (p *probe) stalls(n int) {
	p.s.t.Helper()
	sent, back := p.counts()
	eventually(p.s.t, p.name+" stalls", func() error {
		nowSent, nowBack := p.counts()
		if nowBack != back {
			sent, back = nowSent, nowBack
		}
		if nowSent < sent+n {
			return fmt.Errorf("%d came back", nowBack)
		}
		return nil
	})
}

// end stops it and tells what it counted. It may be called again.
func (p *probe) end() probeResult {
	p.s.t.Helper()
	if p.over != nil {
		return *p.over
	}
	p.over = &probeResult{Ended: "it told nothing"}
	if err := errors.Join(p.cmd.Process.Signal(syscall.SIGTERM), p.cmd.Wait()); err != nil {
		p.over.Ended = fmt.Sprintf("%v: %s", err, p.out.String())
		return *p.over
	}
	lines := strings.Split(strings.TrimSpace(p.out.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), p.over); err != nil {
		p.over.Ended = fmt.Sprintf("%v: %s", err, lines[len(lines)-1])
	}
	return *p.over
}
