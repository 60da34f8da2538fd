// Package planted holds bugs that were made on purpose, each plausible, as patches of the
// tree: the property tests must find every one of them, or they prove nothing.
package planted

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var all = flag.Bool("all", false, "look for every planted bug, not only the first")

// within is how long the property tests may take to find one, with building them.
const within = 60 * time.Second

// TestPlantedBugsAreFound applies each patch to a copy of the core and runs the property
// tests there. The short form does so with the first patch and sees that the others apply.
// The control is the copy without a patch, which passes.
func TestPlantedBugsAreFound(t *testing.T) {
	patches, err := filepath.Glob("*.patch")
	if err != nil || len(patches) < 3 {
		t.Fatalf("%d patches, %v; want three", len(patches), err)
	}
	t.Run("no bug", func(t *testing.T) {
		t.Parallel()
		if out, err := properties(t, copyOfTheCore(t), "2000"); err != nil {
			t.Errorf("without a bug: %v\n%s", err, out)
		}
	})
	for i, patch := range patches {
		t.Run(strings.TrimSuffix(patch, ".patch"), func(t *testing.T) {
			t.Parallel()
			dir := copyOfTheCore(t)
			apply(t, dir, patch)
			if i > 0 && !*all {
				return
			}
			began := time.Now()
			out, err := properties(t, dir, "200000")
			if err == nil {
				t.Fatalf("200,000 passes did not find it:\n%s", out)
			}
			if !strings.Contains(out, "--- FAIL: TestLivesOfCompanies") {
				t.Fatalf("it did not fail by a property: %v\n%s", err, out)
			}
			t.Logf("found in %s: %s", time.Since(began).Round(time.Millisecond), reason(out))
		})
	}
}

// copyOfTheCore copies the module's file and package hub into a folder.
func copyOfTheCore(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files, err := filepath.Glob("../../hub/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range append(files, "../../go.mod", "../../go.sum") {
		to := filepath.Join(dir, strings.TrimPrefix(from, "../../"))
		b, err := os.ReadFile(from)
		if err = errors.Join(err, os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func apply(t *testing.T, dir, patch string) {
	t.Helper()
	path, err := filepath.Abs(patch)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "git", "apply", path)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s does not apply any more: %v\n%s", patch, err, out)
	}
}

// properties runs the property tests of a copy.
func properties(t *testing.T, dir, passes string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "./hub", "-run", "TestLivesOfCompanies", "-passes", passes)
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	out, err := cmd.CombinedOutput()
	return string(out), errors.Join(err, ctx.Err())
}

// reason is the line that says what was found.
func reason(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "seed ") {
			return strings.TrimSpace(line)
		}
	}
	return out
}
