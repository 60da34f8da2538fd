package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Claim is one line of demo.json: what is said, and what shows it.
type Claim struct {
	Claim   string `json:"claim"`
	Command string `json:"command"`
	Output  string `json:"output"`
	Expect  string `json:"expect"`
	OK      bool   `json:"ok"`
}

// story runs commands and keeps what they proved.
type story struct {
	ctx    context.Context
	bin    string
	start  time.Time
	claims []Claim
	ns     map[string]string // host -> namespace
	addr   map[string]string // host -> first address
	ids    map[string]string // host -> vpc id
}

// lab, ctl are command lines of our own programs: they set the scene, they prove nothing.
func (s *story) lab(args ...string) []string {
	return append([]string{filepath.Join(s.bin, "hublab")}, args...)
}

func (s *story) ctl(args ...string) []string {
	return append([]string{"ip", "netns", "exec", s.ns["hub"], filepath.Join(s.bin, "hubctl"), "--socket", s.socket()}, args...)
}

// aws is the aws program with an account's keys, inside the lab.
func (s *story) aws(account string, args ...string) []string {
	return append(s.lab("aws", account, "--"), args...)
}

// in is a program inside a host.
func (s *story) in(host string, args ...string) []string {
	return append([]string{"ip", "netns", "exec", s.ns[host]}, args...)
}

// curl asks a service for its name, once, within three seconds.
func (s *story) curl(from, to string) []string {
	return s.in(from, "curl", "-sS", "--max-time", "3", "http://"+s.addr[to]+"/")
}

// exec runs a command and returns all it printed and its exit code, -1 if it did not run.
func (s *story) exec(argv []string) (string, int) {
	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return string(out), 0
	case errors.As(err, &exit):
		return string(out), exit.ExitCode()
	}
	return string(out) + err.Error(), -1
}

// do sets the scene; what fails ends the story.
func (s *story) do(argv ...string) error {
	fmt.Printf("  $ %s\n", quote(argv))
	out, code := s.exec(argv)
	indent(out)
	if code != 0 {
		return fmt.Errorf("%s: exit code %d", quote(argv), code)
	}
	return nil
}

// say prints a headline.
func say(format string, args ...any) { fmt.Printf("\n## "+format+"\n", args...) }

// check decides whether an output shows the claim.
type check struct {
	expect string // in words
	ok     func(out string, code int) bool
}

func contains(words ...string) check {
	return check{"prints " + strings.Join(words, " and "), func(out string, code int) bool {
		for _, w := range words {
			if !strings.Contains(out, w) {
				return false
			}
		}
		return code == 0
	}}
}

// lacks wants the command to succeed and none of the words in its output.
func lacks(words ...string) check {
	return check{"does not print " + strings.Join(words, " nor "), func(out string, code int) bool {
		for _, w := range words {
			if strings.Contains(out, w) {
				return false
			}
		}
		return code == 0
	}}
}

// refused wants the command to fail.
func refused() check {
	return check{"fails", func(_ string, code int) bool { return code != 0 }}
}

// show runs a command once and keeps what it proved.
func (s *story) show(claim string, c check, argv ...string) bool {
	out, code := s.exec(argv)
	return s.keep(claim, c, argv, out, c.ok(out, code))
}

// await runs a command until it shows the claim or time is up.
func (s *story) await(limit time.Duration, claim string, c check, argv ...string) bool {
	start := time.Now()
	for {
		out, code := s.exec(argv)
		ok := c.ok(out, code)
		took := time.Since(start)
		if ok || took > limit || s.ctx.Err() != nil {
			return s.keep(fmt.Sprintf("%s (after %.1f s)", claim, took.Seconds()), c, argv, out, ok)
		}
		pause(s.ctx, 100*time.Millisecond)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (s *story) keep(claim string, c check, argv []string, out string, ok bool) bool {
	s.claims = append(s.claims, Claim{Claim: claim, Command: quote(argv), Output: out, Expect: c.expect, OK: ok})
	verdict := "ok"
	if !ok {
		verdict = "NOT SHOWN: expected that it " + c.expect
	}
	fmt.Printf("- %s\n  $ %s\n", claim, quote(argv))
	indent(out)
	fmt.Printf("  %s\n", verdict)
	return ok
}

func indent(out string) {
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	const most = 24
	for i, l := range lines {
		if i == most {
			fmt.Printf("  | ... %d more lines\n", len(lines)-most)
			return
		}
		if l != "" {
			fmt.Printf("  | %s\n", l)
		}
	}
}

// quote renders a command so that it can be pasted into a shell.
func quote(argv []string) string {
	out := make([]string, len(argv))
	for i, a := range argv {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\|&;<>()$*?[]{}`!#~") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		out[i] = a
	}
	return strings.Join(out, " ")
}
