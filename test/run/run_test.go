package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTheTally(t *testing.T) {
	const pass = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"quiet\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
`
	for _, c := range []struct {
		name, stream, line string
		code               int
		shown, hidden      []string
	}{
		{"all pass", pass + `{"Action":"pass","Package":"p"}`, "1 passed, 0 failed, 0 skipped", 0, []string{"pass p"}, []string{"quiet"}},
		{"one fails", pass + `{"Action":"output","Package":"p","Test":"TestB","Output":"b_test.go:1: why\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}`, "1 passed, 1 failed, 0 skipped", 1, []string{"=== p TestB", "why", "fail p"}, []string{"quiet"}},
		{"one is skipped", pass + `{"Action":"output","Package":"p","Test":"TestB","Output":"no root\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p"}`, "1 passed, 0 failed, 1 skipped", 1, []string{"no root"}, nil},
		{"a package without tests", pass + `{"Action":"pass","Package":"p"}
{"Action":"skip","Package":"q"}`, "1 passed, 0 failed, 0 skipped", 0, []string{"skip q"}, nil},
		{"a package does not build", pass + `{"Action":"pass","Package":"p"}
{"ImportPath":"q [q.test]","Action":"build-output","Output":"q/q.go:1:1: expected 'package'\n"}
{"ImportPath":"q [q.test]","Action":"build-fail"}
{"Action":"fail","Package":"q","FailedBuild":"q [q.test]"}`, "1 passed, 1 failed, 0 skipped", 1, []string{"expected 'package'", "fail q"}, nil},
		{"a package panics", `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"panic: oh\n"}
{"Action":"fail","Package":"p"}`, "0 passed, 1 failed, 0 skipped", 1, []string{"=== p TestA did not end", "panic: oh"}, nil},
		{"nothing ran", "", "0 passed, 0 failed, 0 skipped", 1, nil, nil},
		{"text that is no event", "go: downloading\n" + pass, "1 passed, 0 failed, 0 skipped", 0, []string{"go: downloading"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w bytes.Buffer
			tally := newTally(&w)
			if err := tally.read(strings.NewReader(c.stream)); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([]any{c.line, c.code}, []any{tally.String(), tally.exitCode()}); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			for _, s := range c.shown {
				if !strings.Contains(w.String(), s) {
					t.Errorf("%q is not shown:\n%s", s, w.String())
				}
			}
			for _, s := range c.hidden {
				if strings.Contains(w.String(), s) {
					t.Errorf("%q is shown:\n%s", s, w.String())
				}
			}
		})
	}
}

// TestARealGoTest runs go on packages of its own: one that passes, one that does not build.
func TestARealGoTest(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":           "module m\n",
		"good/a_test.go":   "package good\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) {}\n",
		"broken/a_test.go": "package broken\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) { undefined() }\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for _, c := range []struct{ pkg, line string }{
		{"./good", "1 passed, 0 failed, 0 skipped"},
		{"./broken", "0 passed, 1 failed, 0 skipped"},
	} {
		var w, stderr bytes.Buffer
		tally := newTally(&w)
		if err := goTest([]string{c.pkg}, t.TempDir(), tally, &stderr); err != nil {
			t.Fatalf("%s: %v\n%s", c.pkg, err, stderr.String())
		}
		if tally.String() != c.line {
			t.Errorf("%s: %s, want %s\n%s", c.pkg, tally, c.line, w.String())
		}
	}
	tally := newTally(&bytes.Buffer{})
	if err := goTest([]string{"./nowhere"}, t.TempDir(), tally, &bytes.Buffer{}); err == nil && tally.exitCode() == 0 {
		t.Error("a package that is not there is no failure")
	}
}

// TestANamespaceThatStays makes one, sees it named, removes it, and sees that nothing is.
func TestANamespaceThatStays(t *testing.T) {
	name := fmt.Sprintf("testrun%d", os.Getpid())
	mine := func(before map[string]bool) []string {
		after, err := look()
		if err != nil {
			t.Fatal(err)
		}
		// Others may make and remove namespaces at the same time.
		return slices.DeleteFunc(leftBehind(before, after), func(s string) bool { return !strings.Contains(s, name) })
	}
	before, err := look()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns add %s: %v: %s", name, err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() }) // again, if the test ends early
	if d := cmp.Diff([]string{"/run/netns/" + name}, mine(before)); d != "" {
		t.Errorf("with a namespace left (-want +got):\n%s", d)
	}
	if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil {
		t.Fatalf("ip netns del %s: %v: %s", name, err, out)
	}
	if left := mine(before); len(left) > 0 {
		t.Errorf("with the namespace gone: %v", left)
	}
}

func TestWhatIsLeftBehind(t *testing.T) {
	before := map[string]bool{"file M a.go": true, ownWords + "default via 10.0.0.1": true, "process 1 openvpn": true}
	after := map[string]bool{"file M a.go": true, "file ?? b.go": true, "process 2 hubd": true, ownWords + "table inet hubd {": true}
	want := []string{"file ?? b.go", ownWords + "table inet hubd {", "process 2 hubd", "gone: " + ownWords + "default via 10.0.0.1"}
	if d := cmp.Diff(want, leftBehind(before, after)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestTemporaryFilesThatStay(t *testing.T) {
	for _, name := range []string{"", "left"} {
		dir, err := makeTemp()
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		if name != "" {
			want = []string{"temporary file " + name}
			if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		left, err := endTemp(dir)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, left); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there (%v)", dir, err)
		}
	}
}
