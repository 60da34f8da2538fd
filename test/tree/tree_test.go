package tree

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// root is the tree's root: tests run in their package's folder.
const root = "../.."

func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	var files []string
	for _, f := range strings.Fields(string(out)) {
		if _, err := os.Stat(filepath.Join(root, f)); err == nil {
			files = append(files, f)
		}
	}
	return files
}

func packages(t *testing.T) []Package {
	t.Helper()
	pkgs, err := load(root, "./...")
	if err != nil {
		t.Fatal(err)
	}
	return pkgs
}

func TestPackagesImportOnlyWhatTheirRuleLists(t *testing.T) {
	for _, p := range importProblems(packages(t)) {
		t.Error(p)
	}
}

func TestImportRulesRefuse(t *testing.T) {
	for _, c := range []struct {
		pkg, imp string
		refused  bool
	}{
		{"hub", "net/netip", false},
		{"hub", "net/http", true},
		{"hub", "github.com/rs/zerolog", true},
		{"masq", "github.com/google/nftables/expr", false},
		{"masq", "github.com/vishvananda/netlink", true},
		{"hub/daemon", "peerhub/masq", true},
		{"cmd/hubd", "peerhub/masq", false},
		{"cmd/hubd", "peerhub/test/ec2sim", true},
		{"cmd/hubctl", "peerhub/test/lab", true},
		{"cmd/hublab", "peerhub/test/lab", false},
		{"test/ec2sim", "peerhub/hub", true},
		{"test/ec2sim", "github.com/aws/smithy-go", true},
		{"test/lab", "peerhub/hub", true},
		{"hub/nobody", "fmt", true},
	} {
		got := importProblems([]Package{{ImportPath: "peerhub/" + c.pkg, Imports: []string{c.imp}}})
		if (len(got) > 0) != c.refused {
			t.Errorf("%s importing %s: refused = %v, want %v (%v)", c.pkg, c.imp, len(got) > 0, c.refused, got)
		}
	}
}

func TestCommandsLinkNothingOfTheTests(t *testing.T) {
	deps := func(command string) []Package {
		pkgs, err := load(root, "-deps", command)
		if err != nil {
			t.Fatal(err)
		}
		return pkgs
	}
	for _, command := range []string{"./cmd/hubd", "./cmd/hubctl"} {
		if found := linked(deps(command)); len(found) > 0 {
			t.Errorf("%s links %v", command, found)
		}
	}
	// The control: the lab's own command does link them.
	if len(linked(deps("./cmd/hublab"))) == 0 {
		t.Error("nothing of test/ was found in ./cmd/hublab, so the check sees nothing")
	}
}

func TestFilesAreShort(t *testing.T) {
	long, tooLong, err := lengths(root, tracked(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range long {
		t.Logf("%s, more than %d: still one idea?", f, longLines)
	}
	for _, f := range tooLong {
		t.Errorf("%s, more than %d", f, tooLongLines)
	}
}

func TestLongFilesAreFound(t *testing.T) {
	dir := t.TempDir()
	for name, lines := range map[string]int{"short.go": 400, "long.go": 401, "too.go": 501, "too_test.go": 501} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat("\n", lines)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long, tooLong, err := lengths(dir, []string{"long.go", "short.go", "too.go", "too_test.go"})
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{{"long.go has 401 lines"}, {"too.go has 501 lines"}}
	if d := cmp.Diff(want, [][]string{long, tooLong}); d != "" {
		t.Errorf("long and too long (-want +got):\n%s", d)
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		if len(p.IgnoredGoFiles) > 0 && p.Path() != "hub/failpoint" { // the fault suite builds and runs it
			t.Errorf("%s has files that no build includes: %v", p.ImportPath, p.IgnoredGoFiles)
		}
	}
}

func TestForbiddenTextsAreAbsent(t *testing.T) {
	found, err := words(root, tracked(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

func TestForbiddenTextsAreFound(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"masq/a.go":         "c.AddTable(x)",
		"hub/b.go":          "time.Now()",
		"hub/state/c.go":    "time.Now()",
		"discovery/d.go":    "// see hublab",
		"test/lab/e.go":     "// see hublab",
		"hub/kroute/f.go":   `exec.Command("ip")`,
		"hub/x_test.go":     "t.Skip(1)",
		"cmd/hubctl/g.go":   `import "text/template"`,
		"docs/h.md":         "as an AI would",
		"docs/i.md":         "see /home/somebody/notes",
		"hub/j.go":          "// contract.md section 3",
		"hub/fine_test.go":  `import "peerhub/test/ec2sim"`,
		"discovery/fine.go": "package discovery",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := words(dir, []string{name})
		if err != nil {
			t.Fatal(err)
		}
		want := !strings.Contains(name, "fine") && name != "hub/state/c.go" && name != "test/lab/e.go"
		if (len(found) > 0) != want {
			t.Errorf("%s with %q: found %v, want found = %v", name, text, found, want)
		}
	}
}

func TestCommandsStayWithinTheirSize(t *testing.T) {
	const mega = 1 << 20
	for name, limit := range map[string]int64{"hubd": 20 * mega, "hubctl": 24 * mega} {
		bin := filepath.Join(t.TempDir(), name)
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "./cmd/"+name)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build ./cmd/%s: %v\n%s", name, err, out)
		}
		fi, err := os.Stat(bin)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %.1f MB stripped", name, float64(fi.Size())/mega)
		if fi.Size() > limit {
			t.Errorf("%s is %d bytes stripped, limit %d: is a template package linked?", name, fi.Size(), limit)
		}
	}
}
