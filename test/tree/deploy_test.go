package tree

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPoliciesAllowWhatTheCodeCalls holds deploy/iam against the source: an action that
// nobody calls is too much, one that is missing is a hub that cannot.
func TestPoliciesAllowWhatTheCodeCalls(t *testing.T) {
	calls, err := called(root, shipped(tracked(t)))
	if err != nil {
		t.Fatal(err)
	}
	calls["sts:AssumeRole"] = true // asked by the SDK's own provider
	allowed := map[string]bool{}
	for _, name := range []string{"hub-role.json", "operator.json", "spoke-role.json", "spoke-trust.json"} {
		p, err := readPolicy(filepath.Join(root, "deploy/iam", name))
		if err != nil {
			t.Fatal(err)
		}
		if p.Version != "2012-10-17" || len(p.Statement) == 0 {
			t.Errorf("%s: version %q with %d statements", name, p.Version, len(p.Statement))
		}
		for _, s := range p.Statement {
			if s.Effect != "Allow" || (s.Resource == nil) == (s.Principal == nil) {
				t.Errorf("%s, statement %q: effect %q, resource %v, principal %v", name, s.Sid, s.Effect, s.Resource, s.Principal)
			}
			for _, a := range s.Action {
				allowed[a] = true
				if reads := strings.HasPrefix(a, "ec2:Describe"); !reads && s.Resource == "*" {
					t.Errorf("%s, statement %q: %s on every resource", name, s.Sid, a)
				}
			}
		}
	}
	if d := cmp.Diff(slices.Sorted(maps.Keys(calls)), slices.Sorted(maps.Keys(allowed))); d != "" {
		t.Errorf("actions (-called +allowed):\n%s", d)
	}
}

func TestPoliciesThatAreWrongAreFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.json")
	for text, want := range map[string]bool{
		`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "a:b", "Resource": "*"}]}`:   true,
		`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["a:b"], "Resource": "*"}]}`: true,
		`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Actions": "a:b", "Resource": "*"}]}`:  false,
		`{"Version": "2012-10-17", "Statement": [`:                                                          false,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readPolicy(path); (err == nil) != want {
			t.Errorf("%s: %v, want readable = %v", text, err, want)
		}
	}
}

// verify says what systemd does not understand of a unit, whose program need not be there.
func verify(t *testing.T, name, unit string) string {
	t.Helper()
	text := strings.ReplaceAll(unit, "/usr/sbin/hubd", "/bin/true")
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
	if err != nil {
		return err.Error() + ": " + string(out)
	}
	return string(out)
}

// exposure is systemd's score of a unit, 0 to 10, less is better.
func exposure(t *testing.T, path string) float64 {
	t.Helper()
	cmd := exec.Command("systemd-analyze", "--no-pager", "security", "--offline=yes", path)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	m := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("systemd-analyze security %s: no score (%v):\n%s", path, err, out)
	}
	score, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return score
}

func TestUnitsAreUnderstoodBySystemd(t *testing.T) {
	for _, name := range []string{"hubd.service", "hubd-fail-closed.service"} {
		b, err := os.ReadFile(filepath.Join(root, "deploy/systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		if said := verify(t, name, string(b)); said != "" {
			t.Errorf("%s: %s", name, said)
		}
		if said := verify(t, name, string(b)+"\n[Service]\nProtectEverything=yes\n"); !strings.Contains(said, "ProtectEverything") {
			t.Errorf("%s with a key that systemd does not know passes: %q", name, said)
		}
	}
}

func TestTheDaemonIsHardlyExposed(t *testing.T) {
	const most = 1.7
	unit := filepath.Join(root, "deploy/systemd/hubd.service")
	score := exposure(t, unit)
	t.Logf("hubd.service: %.1f", score)
	if score > most {
		t.Errorf("exposure %.1f, more than %.1f", score, most)
	}
	// The control: the same unit without its user and its bounding set.
	b, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(t.TempDir(), "hubd.service")
	text := regexp.MustCompile(`(?m)^(User|CapabilityBoundingSet|SystemCallFilter)=.*\n`).ReplaceAll(b, nil)
	if err := os.WriteFile(open, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if score := exposure(t, open); score <= most {
		t.Errorf("a unit without user, bounding set and system call filter has exposure %.1f", score)
	}
}

// syscalls expands a group of systemd's (systemd-analyze syscall-filter @name).
func syscalls(t *testing.T, name string) []string {
	t.Helper()
	if !strings.HasPrefix(name, "@") {
		return []string{name}
	}
	out, err := exec.Command("systemd-analyze", "syscall-filter", name).Output()
	if err != nil {
		t.Fatalf("systemd-analyze syscall-filter %s: %v", name, err)
	}
	var all []string
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 1 && f[0] != name && f[0] != "#" {
			all = append(all, syscalls(t, f[0])...)
		}
	}
	return all
}

// allowed are the system calls that a unit leaves, by systemd.exec's rule: the first line
// begins a list of what is allowed, a line with ~ takes away, another one adds again.
func allowed(t *testing.T, unit string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^SystemCallFilter=(~?)(.*)$`).FindAllStringSubmatch(unit, -1) {
		for _, name := range strings.Fields(m[2]) {
			for _, call := range syscalls(t, name) {
				out[call] = m[1] == ""
			}
		}
	}
	return out
}

// TestTheDaemonMayDoWhatItDoes looks at calls that a filter takes easily: the socket is given
// to its group, files are replaced, the kernel is spoken to.
func TestTheDaemonMayDoWhatItDoes(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "deploy/systemd/hubd.service"))
	if err != nil {
		t.Fatal(err)
	}
	left := allowed(t, string(b))
	for _, call := range []string{"chown", "fchownat", "fchmod", "fchmodat", "renameat", "fsync", "flock", "socket", "bind", "sendmsg", "recvmsg", "setsockopt", "prlimit64"} {
		if !left[call] {
			t.Errorf("the unit's SystemCallFilter takes %s from hubd", call)
		}
	}
	for _, call := range []string{"setuid", "mount", "ptrace", "init_module", "reboot"} {
		if left[call] {
			t.Errorf("the unit's SystemCallFilter leaves %s to hubd", call)
		}
	}
}
