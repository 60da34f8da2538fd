package tree

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// faultGaps lists what a page of faults lacks: a fault, one of its two modes, or its success.
func faultGaps(page string) []string {
	var out []string
	sections := map[string]string{}
	for _, s := range strings.Split(page, "\n## ")[1:] {
		id, _, _ := strings.Cut(s, ":")
		sections[id] = s
	}
	for _, span := range [][2]int{{1, 31}, {33, 41}, {54, 54}, {56, 65}} {
		for n := span[0]; n <= span[1]; n++ {
			id := fmt.Sprintf("F%02d", n)
			for _, mode := range []string{"persist", "plain"} {
				row := regexp.MustCompile(`(?m)^\| ` + mode + ` \|.*$`).FindString(sections[id])
				if row == "" || strings.Contains(row, "**failed**") {
					out = append(out, id+" "+mode)
				}
			}
		}
	}
	return out
}

// TestFaultsPageIsWhole holds docs/faults.md, which make faults writes, against the closed list.
func TestFaultsPageIsWhole(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "docs", "faults.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range faultGaps(string(b)) {
		t.Errorf("docs/faults.md has no success of %s", g)
	}
	if n := len(faultGaps(strings.Replace(string(b), "\n| plain |", "\n| elsewhere |", 1))); n != 1 {
		t.Errorf("control: with a row taken out, %d are missing, want 1", n)
	}
}
