package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

var (
	faultRows  = flag.String("faults", "short", "rows of the fault suite: short, all, or F01,F02,...")
	faultModes = flag.String("fault-modes", "persist,plain", "ownership modes of the fault suite")
	faultFile  = flag.String("fault-file", "", "where to write the suite's results, as JSON")
)

// shortFaults is what `make test` runs: one row of each kind, each mode once.
var shortFaults = map[string]string{"F03": "plain", "F21": "persist", "F23": "plain", "F24": "persist", "F64": "plain"}

// verdict is one row of faults.json.
type verdict struct {
	ID          string  `json:"id"`
	Fault       string  `json:"fault"`
	Ownership   string  `json:"ownership"`
	Injected    string  `json:"injected"`
	Expected    string  `json:"expected"`
	Seen        string  `json:"seen"`
	Control     string  `json:"control"` // the defence that was off, and the harm that was seen
	Lost        int     `json:"lost"`    // packets of the probes
	Lossy       string  `json:"lossy"`   // why some may be, "" when none may
	ConvergedMS float64 `json:"converged_ms"`
	OK          bool    `json:"ok"`
}

// TestFaults makes every fault happen in a lab of its own, in both ownership modes, and
// once more with the defence off.
func TestFaults(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var list []verdict
	t.Run("row", func(t *testing.T) { // ends when all rows have
		for _, f := range faults() {
			for mode := range strings.SplitSeq(*faultModes, ",") {
				if wanted(f.id, mode) {
					t.Run(f.id+"/"+mode, func(t *testing.T) {
						t.Parallel()
						v := f.play(t, mode)
						mu.Lock()
						defer mu.Unlock()
						list = append(list, v)
						t.Logf("%s: seen: %s; control: %s; lost %d; %0.f ms", f.id, v.Seen, v.Control, v.Lost, v.ConvergedMS)
					})
				}
			}
		}
	})
	slices.SortFunc(list, func(a, b verdict) int { return strings.Compare(a.ID+a.Ownership, b.ID+b.Ownership) })
	if *faultFile != "" {
		b, err := json.MarshalIndent(list, "", "  ")
		if err == nil {
			err = os.WriteFile(*faultFile, append(b, '\n'), 0o644)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func wanted(id, mode string) bool {
	switch *faultRows {
	case "all":
		return true
	case "short":
		return shortFaults[id] == mode
	}
	return slices.Contains(strings.Split(*faultRows, ","), id)
}

// play runs a fault with its defence and, in another lab, without.
func (f fault) play(t *testing.T, mode string) (v verdict) {
	v = verdict{ID: f.id, Fault: f.name, Ownership: mode, Injected: f.inject, Expected: f.expect, Control: f.control, Lossy: f.losses(mode)}
	defended := t.Run("defended", func(t *testing.T) {
		s := build(t, f, mode, nil)
		s.begin()
		f.run(s)
		v.Lost = s.finish()
		v.Seen, v.ConvergedMS = strings.Join(s.seen, "; "), float64(s.took.Microseconds())/1000
	})
	harmed := t.Run("control", func(t *testing.T) {
		s := build(t, f, mode, f.off)
		harm := f.harm(s)
		if harm == "" {
			t.Errorf("without %s nothing was harmed: the row proves nothing", f.control)
		}
		v.Control = fmt.Sprintf("without %s: %s", f.control, harm)
	})
	v.OK = defended && harmed
	return v
}

// failing builds programs that know failpoints and probes, once, and tells where.
var failing = func() func(*testing.T) string {
	build := sync.OnceValue(func() error {
		dir := filepath.Join(bin, "failing")
		cmd := exec.Command("go", "build", "-trimpath", "-tags", "failpoints", "-o", dir+"/", "peerhub/cmd/hubd")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build hubd with failpoints: %w\n%s", err, out)
		}
		return os.Chmod(dir, 0o755)
	})
	return func(t *testing.T) string {
		t.Helper()
		if err := build(); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(bin, "failing")
	}
}()
