// Faults runs the whole fault suite of test/e2e: it tells each row as it ends, prints the
// table, writes faults.json, and writes docs/faults.md from it.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func main() {
	rows := flag.String("rows", "all", "rows to run: all, short, or F01,F02,...")
	modes := flag.String("modes", "persist,plain", "ownership modes to run them in")
	file := flag.String("o", "faults.json", "where to write the results")
	seeds := flag.Int("seeds", 20, "F56: how often hubd is killed at each failpoint")
	docs := flag.String("docs", "", "where to write the table as a page; empty: nowhere")
	with := flag.String("with", "", "results of earlier runs, separated by commas, for the rows that this one does not play")
	flag.Parse()
	ok, err := run(*rows, *modes, *seeds, *file, *with, *docs, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run runs the suite and reports whether every row is well.
func run(rows, modes string, seeds int, file, with, docs string, w io.Writer) (bool, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return false, fmt.Errorf("find %s: %w", file, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("remove old results: %w", err)
	}
	testErr := goTest([]string{"-faults", rows, "-fault-modes", modes, "-crash-seeds", strconv.Itoa(seeds), "-fault-file", path}, w)
	list, err := read(path)
	if err != nil {
		return false, errors.Join(testErr, err)
	}
	if list, err = joined(list, with); err != nil {
		return false, err
	}
	if err := write(path, list); err != nil {
		return false, err
	}
	fmt.Fprint(w, table(list))
	bad := missing(list, rows, modes, w)
	for _, v := range list {
		if !v.OK {
			bad++
		}
	}
	fmt.Fprintf(w, "%d rows, %d failed; %s\n", len(list), bad, file)
	if docs != "" {
		if err := os.WriteFile(docs, []byte(page(list)), 0o644); err != nil {
			return false, fmt.Errorf("write the page: %w", err)
		}
	}
	return bad == 0 && len(list) > 0, testErr
}

// missing tells which rows that were asked for by name, or that a row was played in one
// mode only, have no result, and counts them.
func missing(list []verdict, rows, modes string, w io.Writer) int {
	have, ids := map[string]bool{}, map[string]bool{}
	for _, v := range list {
		have[v.ID+" "+v.Ownership], ids[v.ID] = true, true
	}
	if rows == "short" {
		return 0 // each of them in one mode
	}
	if rows != "all" { // of all of them TestFaultList tells whether one is missing
		for id := range strings.SplitSeq(rows, ",") {
			ids[id] = true
		}
	}
	n := 0
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		for mode := range strings.SplitSeq(modes, ",") {
			if !have[id+" "+mode] {
				fmt.Fprintf(w, "MISSING %s %s\n", id, mode)
				n++
			}
		}
	}
	return n
}

// goTest runs the tests and tells each row as it ends; what a failed row said follows it.
func goTest(flags []string, w io.Writer) error {
	cmd := exec.Command("go", append([]string{"test", "-json", "-count=1", "-timeout=4h", "./test/e2e", "-run", "^(TestFaults|TestFaultList)$"}, flags...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("open a pipe to go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start go test: %w", err)
	}
	tell(out, w)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	return nil
}

// tell follows the events of go test.
func tell(in io.Reader, w io.Writer) {
	said := map[string]*strings.Builder{}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<22)
	for lines.Scan() {
		var e struct {
			Action, Test, Output string
			Elapsed              float64
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(w, lines.Text()) // what go itself says
			continue
		}
		if said[e.Test] == nil {
			said[e.Test] = &strings.Builder{}
		}
		switch e.Action {
		case "output":
			said[e.Test].WriteString(e.Output)
		case "pass":
			if row(e.Test) {
				fmt.Fprintf(w, "ok     %s  %.0f s\n", strings.TrimPrefix(e.Test, "TestFaults/row/"), e.Elapsed)
			}
		case "fail":
			fmt.Fprintf(w, "FAILED %s  %.0f s\n%s", e.Test, e.Elapsed, said[e.Test])
		}
	}
}

// row tells whether a test is a row of the suite in one mode.
func row(test string) bool {
	rest, ok := strings.CutPrefix(test, "TestFaults/row/")
	return ok && strings.Count(rest, "/") == 1
}
