package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// tally counts tests and shows one line a package, and the whole output of what failed or
// was skipped.
type tally struct {
	passed, failed, skipped int

	w       io.Writer
	start   time.Time
	output  map[string][]string // by package and test, until the test ends
	running map[string]bool     // tests that began and have not ended
	bad     map[string]int      // failed tests by package
}

func newTally(w io.Writer) *tally {
	return &tally{w: w, start: time.Now(), output: map[string][]string{}, running: map[string]bool{}, bad: map[string]int{}}
}

func (t *tally) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.passed, t.failed, t.skipped)
}

// exitCode is 0 only when something passed and nothing failed or was skipped.
func (t *tally) exitCode() int {
	if t.failed > 0 || t.skipped > 0 || t.passed == 0 {
		return 1
	}
	return 0
}

// read takes the events of a stream. What is not an event is shown as it is.
func (t *tally) read(r io.Reader) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 1<<20), 64<<20)
	for sc.Scan() {
		var e event
		if json.Unmarshal(sc.Bytes(), &e) != nil {
			fmt.Fprintln(t.w, sc.Text())
			continue
		}
		t.take(e)
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("read what go test says: %w", err)
	}
	return nil
}

func (t *tally) take(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "run":
		t.running[key] = true
	case "output":
		t.output[key] = append(t.output[key], e.Output)
	case "build-output":
		fmt.Fprint(t.w, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			t.endPackage(e)
			return
		}
		delete(t.running, key)
		t.endTest(e, key)
	}
}

func (t *tally) endTest(e event, key string) {
	switch e.Action {
	case "pass":
		t.passed++
	case "fail":
		t.failed++
		t.bad[e.Package]++
	case "skip":
		t.skipped++
	}
	if e.Action != "pass" {
		fmt.Fprintf(t.w, "=== %s\n%s", key, strings.Join(t.output[key], ""))
	}
	delete(t.output, key)
}

// endPackage ends a package. One without tests is skipped by go, which is no skipped test.
// One that fails without a failing test did not build, panicked, ran out of time or exited.
func (t *tally) endPackage(e event) {
	fmt.Fprintf(t.w, "%-4s %s %.1fs (at %.0fs)\n", e.Action, e.Package, e.Elapsed, time.Since(t.start).Seconds())
	if e.Action != "fail" || t.bad[e.Package] > 0 {
		return
	}
	t.failed++
	fmt.Fprint(t.w, strings.Join(t.output[e.Package+" "], ""))
	for key := range t.running {
		if strings.HasPrefix(key, e.Package+" ") {
			fmt.Fprintf(t.w, "=== %s did not end\n%s", key, strings.Join(t.output[key], ""))
		}
	}
}
