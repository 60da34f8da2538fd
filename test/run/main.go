// Run runs every test of the tree with the race detector and closes with one line:
// "N passed, N failed, N skipped". A skipped test, a namespace, a process or a file
// left behind is a failure.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

func main() {
	packages := flag.String("packages", "./...", "packages to test, separated by commas")
	flag.Parse()
	before, err := machineState()
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/run:", err)
		os.Exit(1)
	}
	res, err := run(strings.Split(*packages, ","), os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/run:", err)
		res.failed++
	}
	after, err := machineState()
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/run:", err)
		res.failed++
	}
	for _, left := range leftBehind(before, after) {
		fmt.Printf("--- LEFT BEHIND: %s\n", left)
		res.failed++
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", res.passed, res.failed, res.skipped)
	if res.failed > 0 || res.skipped > 0 || res.passed == 0 {
		os.Exit(1)
	}
}

type result struct{ passed, failed, skipped int }

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string
	Elapsed                       float64
}

// run streams one line a package, and the whole output of what failed or was skipped.
func run(packages []string, w io.Writer) (result, error) {
	var res result
	args := append([]string{"test", "-json", "-race", "-count=1", "-timeout=30m"}, packages...)
	cmd := exec.Command("go", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return res, fmt.Errorf("open a pipe to go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return res, fmt.Errorf("start go test: %w", err)
	}
	start := time.Now()
	lines := map[string][]string{} // output by package and test
	failedTests := map[string]int{}
	sc := bufio.NewScanner(out)
	sc.Buffer(make([]byte, 1<<20), 64<<20)
	for sc.Scan() {
		var e event
		if json.Unmarshal(sc.Bytes(), &e) != nil {
			fmt.Fprintln(w, sc.Text())
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output":
			lines[key] = append(lines[key], e.Output)
		case "build-output":
			fmt.Fprint(w, e.Output)
		case "pass", "fail", "skip":
			if e.Test == "" {
				fmt.Fprintf(w, "%-4s %s %.1fs (at %.0fs)\n", e.Action, e.Package, e.Elapsed, time.Since(start).Seconds())
				// A package that fails without a failing test: build error, panic, exit in TestMain.
				if e.Action == "fail" && failedTests[e.Package] == 0 {
					res.failed++
					fmt.Fprint(w, strings.Join(lines[key], ""))
				}
				break
			}
			switch e.Action {
			case "pass":
				res.passed++
			case "fail":
				res.failed++
				failedTests[e.Package]++
			case "skip":
				res.skipped++
			}
			if e.Action != "pass" {
				fmt.Fprintf(w, "=== %s\n%s", key, strings.Join(lines[key], ""))
			}
			delete(lines, key)
		}
	}
	scanErr := sc.Err()
	if err := cmd.Wait(); err != nil && res.failed == 0 && res.skipped == 0 {
		return res, fmt.Errorf("go test: %w", err)
	}
	return res, scanErr
}

// machineState lists what a test might leave: namespaces, processes of ours, lab state, files in the tree.
func machineState() (map[string]bool, error) {
	state := map[string]bool{}
	for _, dir := range []string{"/run/netns", "/run/hublab", "/run/hubd"} {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsNotExist(err) {
			return nil, fmt.Errorf("list %s: %w", dir, err)
		}
		for _, e := range entries {
			state[dir+"/"+e.Name()] = true
		}
	}
	procs, err := exec.Command("ps", "-eo", "pid=,comm=").Output()
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	for line := range strings.Lines(string(procs)) {
		if f := strings.Fields(line); len(f) == 2 && slices.Contains([]string{"openvpn", "hubd", "hublab", "tcpdump", "iperf3", "socat"}, f[1]) {
			state["process "+f[0]+" "+f[1]] = true
		}
	}
	files, err := exec.Command("git", "status", "--porcelain").Output()
	if err != nil {
		return nil, fmt.Errorf("git status: %w", err)
	}
	for line := range strings.Lines(string(files)) {
		state["file "+strings.TrimSpace(line)] = true
	}
	rules, err := exec.Command("sh", "-c", "nft list ruleset; ip rule; ip route show table all; sysctl -a 2>/dev/null | grep -E 'ip_forward|rp_filter|src_valid_mark|accept_ra '").Output()
	if err != nil {
		return nil, fmt.Errorf("read this machine's own ruleset and routes: %w", err)
	}
	for line := range strings.Lines(string(rules)) {
		state["own ruleset, routes, sysctls: "+strings.TrimSpace(line)] = true
	}
	return state, nil
}

// leftBehind says what is there now and was not before, or the other way round for the machine's own rules.
func leftBehind(before, after map[string]bool) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(after)) {
		if !before[k] {
			out = append(out, k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(before)) {
		if !after[k] && strings.HasPrefix(k, "own ") {
			out = append(out, "gone: "+k)
		}
	}
	return out
}
