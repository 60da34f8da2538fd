package tree

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub/failpoint"
)

// TestFailpointsAreListed holds the lists that the fault suite goes through against the
// calls in the tree: a point that nobody calls proves nothing.
func TestFailpointsAreListed(t *testing.T) {
	called := map[string][]string{}
	call := regexp.MustCompile(`failpoint\.(Hit|Off)\("([a-z0-9.-]+)"\)`)
	for _, dir := range []string{"hub", "discovery", "masq", "vpnconf", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" {
				return err
			}
			b, err := os.ReadFile(path)
			for _, m := range call.FindAllStringSubmatch(string(b), -1) {
				if !slices.Contains(called[m[1]], m[2]) {
					called[m[1]] = append(called[m[1]], m[2])
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for what, listed := range map[string][]string{"Hit": failpoint.Points, "Off": failpoint.Defences} {
		have, want := slices.Sorted(slices.Values(called[what])), slices.Sorted(slices.Values(listed))
		if d := cmp.Diff(want, have); d != "" {
			t.Errorf("failpoint.%s (-listed +called):\n%s", what, d)
		}
	}
}
