// Run runs every test of the tree with the race detector and closes with one line:
// "N passed, N failed, N skipped". A skipped test, a package that does not build, and a
// namespace, a process or a file left behind are failures.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

func main() {
	packages := flag.String("packages", "./...", "packages to test, separated by commas")
	flag.Parse()
	os.Exit(run(strings.Split(*packages, ","), os.Stdout, os.Stderr))
}

// run tests the packages between two looks at the machine and returns the exit code.
func run(packages []string, w, stderr io.Writer) int {
	before, err := look()
	if err != nil {
		fmt.Fprintln(stderr, "test/run:", err)
		return 1
	}
	temp, err := makeTemp()
	if err != nil {
		fmt.Fprintln(stderr, "test/run:", err)
		return 1
	}
	t := newTally(w)
	testErr := goTest(packages, temp, t, stderr)
	files, tempErr := endTemp(temp)
	after, lookErr := look()
	if err := errors.Join(testErr, tempErr, lookErr); err != nil {
		fmt.Fprintln(stderr, "test/run:", err)
		t.failed++
	}
	for _, left := range append(files, leftBehind(before, after)...) {
		fmt.Fprintf(w, "--- LEFT BEHIND: %s\n", left)
		t.failed++
	}
	fmt.Fprintln(w, t)
	return t.exitCode()
}

// goTest feeds the tally with what go test says as it says it. Its exit code counts only
// when it names no failure: go itself failed then.
func goTest(packages []string, temp string, t *tally, stderr io.Writer) error {
	cmd := exec.Command("go", append([]string{"test", "-json", "-race", "-count=1", "-timeout=30m"}, packages...)...)
	cmd.Stderr, cmd.Env = stderr, append(os.Environ(), "TMPDIR="+temp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("open a pipe to go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start go test: %w", err)
	}
	readErr := t.read(out)
	if err := cmd.Wait(); err != nil && t.failed == 0 {
		return fmt.Errorf("go test: %w", err)
	}
	return readErr
}
