package lab

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// root is the tree's root, seen from this package.
const root = "../.."

// TestTheManualHasTheRecipe holds docs/lab.md against the code.
func TestTheManualHasTheRecipe(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "docs", "lab.md"))
	must(t, err)
	manual := string(b)
	s := DefaultSpec()
	for _, l := range s.Recipe(RunDir(s.Prefix)) {
		if !strings.Contains(manual, l.String()) {
			t.Errorf("docs/lab.md lacks or has another form of:\n%s", l)
		}
	}
	for _, f := range catalogue {
		if !strings.Contains(manual, "`"+f.Name+"`") {
			t.Errorf("docs/lab.md lacks the fault %s", f.Name)
		}
	}
	for _, h := range s.Hosts() {
		if !strings.Contains(manual, "| `"+h.Name+"` | "+h.Addresses[0].String()) {
			t.Errorf("docs/lab.md lacks the host %s with its address %s", h.Name, h.Addresses[0])
		}
	}
}

// TestRolesAreThoseOfDeploy holds the lab's roles against the policies we ship, so
// that a lab which works shows that these suffice.
func TestRolesAreThoseOfDeploy(t *testing.T) {
	for _, c := range []struct {
		role  string
		have  []string
		files []string
	}{
		{HubRole, hubActions, []string{"hub-role.json", "operator.json"}},
		{SpokeRole, spokeActions, []string{"spoke-role.json"}},
	} {
		var want []string
		for _, f := range c.files {
			want = append(want, actionsOf(t, f)...)
		}
		if d := cmp.Diff(sorted(want), sorted(c.have)); d != "" {
			t.Errorf("role %s (-deploy/iam +lab):\n%s", c.role, d)
		}
	}
}

func sorted(in []string) []string { return slices.Compact(slices.Sorted(slices.Values(in))) }

// actionsOf lists the actions that a policy allows.
func actionsOf(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "deploy", "iam", file))
	must(t, err)
	var policy struct{ Statement []struct{ Action any } }
	must(t, json.Unmarshal(b, &policy))
	var out []string
	for _, s := range policy.Statement {
		switch a := s.Action.(type) {
		case string:
			out = append(out, a)
		case []any:
			for _, x := range a {
				out = append(out, x.(string))
			}
		}
	}
	return out
}
