package e2e

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFaultList holds the rows against the closed list.
func TestFaultList(t *testing.T) {
	var have []string
	for _, f := range faults() {
		have = append(have, f.id)
		if f.run == nil || f.harm == nil || f.inject == "" || f.expect == "" || f.control == "" {
			t.Errorf("%s lacks a part", f.id)
		}
	}
	if d := cmp.Diff(closedList, have); d != "" {
		t.Errorf("rows (-wanted +there):\n%s", d)
	}
}
