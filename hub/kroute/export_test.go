package kroute

import (
	"strings"
	"testing"

	"peerhub/hub"
)

// An export stands beside the plane's own routes and rules, does not trouble it, and is
// all there after the cleanup: no line of it is made anew by a second run.
func TestAnExportStandsBesideThePlaneAndSurvivesItsCleanup(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	d := twoWays()
	pass(t, p, d)
	n.sh("set -e\n" + Export(d))
	if got := pass(t, p, d); len(got) > 0 {
		t.Errorf("the export troubles the plane: %v", got)
	}
	if err := p.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := "ip rule; ip -6 rule; ip route show table all proto static; ip -6 route show table all proto static"
	kept := n.sh(list)
	for _, want := range []string{"26640:", "26699:", "lookup 26641", "table 26640", "metric 26640"} {
		if !strings.Contains(kept, want) {
			t.Errorf("%q is not there after the cleanup:\n%s", want, kept)
		}
	}
	if strings.Contains(kept, "2674") || strings.Contains(kept, "2679") {
		t.Errorf("control: the cleanup left something of ours:\n%s", kept)
	}
	n.sh("set -e\n" + Export(d))
	if again := n.sh(list); again != kept {
		t.Errorf("a second run changed something:\n%s\nwas:\n%s", again, kept)
	}
	if text := Export(hub.Desired{}); strings.Contains(text, "ip r") {
		t.Errorf("nothing wanted gives %s", text)
	}
}
