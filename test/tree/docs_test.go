package tree

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
	"peerhub/masq"
	"peerhub/test/tree/reference"
)

// TestGeneratedPagesAreThoseOfTheCode fails when a page of docs says what the code does
// not any more.
func TestGeneratedPagesAreThoseOfTheCode(t *testing.T) {
	hubctl := filepath.Join(t.TempDir(), "hubctl")
	cmd := exec.Command("go", "build", "-o", hubctl, "./cmd/hubctl")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build hubctl: %v\n%s", err, out)
	}
	pages, err := reference.Pages(root, hubctl)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range pages {
		have, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Errorf("%v: make docs writes it", err)
			continue
		}
		if d := cmp.Diff(want, string(have)); d != "" {
			t.Errorf("%s is not what the code says; make docs writes it anew (-code +page):\n%s", path, d)
		}
	}
}

// TestGeneratedPagesHaveEverything looks for what must be on them, by other ways than the
// generator's.
func TestGeneratedPagesHaveEverything(t *testing.T) {
	for _, c := range []struct {
		page, source string
		find         *regexp.Regexp
		form         string // of what is found, on the page
		least        int
	}{
		{"problems.md", "hub/problem.go", regexp.MustCompile(`(?m)^\t(?:\w+ +Code += )"([A-Z_]+)"`), "| `%` |", 30},
		{"metrics.md", "hub/daemon/metrics.go", regexp.MustCompile(`(?:kind(?:Gauge|Counter), |addTo\(p, )"([a-z_]+)"`), "| `hubd_%` |", 15},
		{"hubctl.md", "cmd/hubctl/root.go", regexp.MustCompile(`\b([a-z]+)(?:[A-Z][a-z]+)?Command,`), "## hubctl ", 8},
	} {
		page, err := os.ReadFile(filepath.Join(root, "docs", c.page))
		if err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(filepath.Join(root, c.source))
		if err != nil {
			t.Fatal(err)
		}
		found := c.find.FindAllSubmatch(source, -1)
		if len(found) < c.least {
			t.Errorf("%d found in %s, expected %d at least: has its form changed?", len(found), c.source, c.least)
		}
		for _, m := range found {
			if want := strings.ReplaceAll(c.form, "%", string(m[1])); !strings.Contains(string(page), want) {
				t.Errorf("docs/%s lacks %q, which %s has", c.page, want, c.source)
			}
		}
	}
}

// TestArchitectureShowsTheImportRules holds the table of docs/architecture.md against rules.
func TestArchitectureShowsTheImportRules(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(b), "\n## Packages")
	section, _, _ = strings.Cut(section, "\n## ")
	shown := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\| [^|]+ \\| ([^|]+) \\|$").FindAllStringSubmatch(section, -1) {
		shown[m[1]] = m[2]
	}
	want := map[string]string{}
	for pkg, r := range rules {
		want[pkg] = r.text()
	}
	if d := cmp.Diff(want, shown); d != "" {
		t.Errorf("docs/architecture.md (-rules +page):\n%s", d)
	}
}

// names are what the pages written by hand may speak of only if it is on a generated one.
var names = []struct {
	what string
	find *regexp.Regexp
	page string
	form string // of the name on the page
}{
	{"a command of hubctl", regexp.MustCompile("(?m)(?:`|: |^\\s*(?:# )?)hubctl ([a-z]+(?:-[a-z]+)*)"), "hubctl.md", "## hubctl %\n"},
	{"a metric", regexp.MustCompile(`\bhubd_([a-z_]+)\b`), "metrics.md", "| `hubd_%` |"},
	{"a problem", regexp.MustCompile("`((?:SOURCE|ROLE|ANSWER|ROUTE|CLIENT|REMOVAL|LEDGER|OTHER|OVERLAPS)_[A-Z]+)`"), "problems.md", "| `%` |"},
}

// unknownNames lists what a text names and the generated pages have not.
func unknownNames(t *testing.T, text string) []string {
	t.Helper()
	var out []string
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(root, "docs", n.page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range n.find.FindAllStringSubmatch(text, -1) {
			ours := m[0] == "hubd_keep" // the table, no metric
			if !ours && !strings.Contains(string(b), strings.ReplaceAll(n.form, "%", m[1])) {
				out = append(out, n.what+": "+m[0])
			}
		}
	}
	return out
}

func TestPagesNameOnlyWhatExists(t *testing.T) {
	for _, page := range []string{"README.md", "docs/install.md", "docs/operations.md", "docs/architecture.md"} {
		b, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range unknownNames(t, string(b)) {
			t.Errorf("%s names %s, which there is not", page, u)
		}
	}
	text := "`hubctl frobnicate`, see `hubd_wonders_total` and `ROUTE_LOST`; `hubctl status`, see `hubd_ready` and `ROLE_DENIED`"
	want := []string{"a command of hubctl: `hubctl frobnicate", "a metric: hubd_wonders_total", "a problem: `ROUTE_LOST`"}
	if d := cmp.Diff(want, unknownNames(t, text)); d != "" {
		t.Errorf("control (-want +got):\n%s", d)
	}
}

// TestPagesNameChainsAndCounters holds two tables against the firewall's own text.
func TestPagesNameChainsAndCounters(t *testing.T) {
	ruleset := masq.Text(hub.Desired{})
	for _, c := range []struct{ page, what, header string }{
		{"architecture.md", "chain", "| chain | hook | what it does |"},
		{"operations.md", "counter", "| counter | dropped because |"},
	} {
		b, err := os.ReadFile(filepath.Join(root, "docs", c.page))
		if err != nil {
			t.Fatal(err)
		}
		var want, shown []string
		for _, m := range regexp.MustCompile(`(?m)^\t`+c.what+` ([a-z0-9_]+) \{`).FindAllStringSubmatch(ruleset, -1) {
			want = append(want, m[1])
		}
		_, table, _ := strings.Cut(string(b), c.header)
		table, _, _ = strings.Cut(table, "\n\n")
		for row := range strings.Lines(table) {
			cells := strings.Split(row, "|")
			for _, m := range regexp.MustCompile("`([a-z0-9_]+)`").FindAllStringSubmatch(cells[min(1, len(cells)-1)], -1) {
				shown = append(shown, m[1])
			}
		}
		slices.Sort(want)
		slices.Sort(shown)
		if d := cmp.Diff(want, shown); d != "" || len(want) == 0 {
			t.Errorf("docs/%s (-firewall +page):\n%s", c.page, d)
		}
	}
}
