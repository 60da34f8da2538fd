package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// ownWords begins what is said of the machine's own rules, routes and sysctls, which must
// be afterwards what they were before: nothing more and nothing less.
const ownWords = "own ruleset, routes, sysctls: "

// ownState prints what no test may touch.
const ownState = `nft list ruleset; ip rule; ip -6 rule; ip route show table all
sysctl -a 2>/dev/null | grep -E '(all|default|lo)\.(forwarding|rp_filter|src_valid_mark|accept_ra) |ip_forward '`

// programs are those that tests start and must end.
var programs = []string{"openvpn", "hubd", "hublab", "tcpdump", "iperf3", "socat"}

// look lists what a test might leave: namespaces, links, processes of ours, lab state, files
// in the tree, and the machine's own rules.
func look() (map[string]bool, error) {
	state := map[string]bool{}
	for _, dir := range []string{"/run/netns", "/run/hublab", "/run/hubd"} {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("look for what tests leave: %w", err)
		}
		for _, e := range entries {
			state[dir+"/"+e.Name()] = true
		}
	}
	for _, c := range []struct {
		what string
		args []string
		keep func(line string) string // "" leaves the line out
	}{
		{"process ", []string{"ps", "-eo", "pid=,comm="}, func(l string) string {
			if f := strings.Fields(l); len(f) == 2 && slices.Contains(programs, f[1]) {
				return f[0] + " " + f[1]
			}
			return ""
		}},
		{"link ", []string{"ip", "-o", "link"}, func(l string) string {
			if f := strings.Split(l, ": "); len(f) > 1 {
				return f[1]
			}
			return ""
		}},
		{"file ", []string{"git", "status", "--porcelain"}, strings.TrimSpace},
		{ownWords, []string{"sh", "-c", ownState}, strings.TrimSpace},
	} {
		out, err := exec.Command(c.args[0], c.args[1:]...).Output()
		if err != nil {
			return nil, fmt.Errorf("look for what tests leave, %s: %w", strings.Join(c.args[:2], " "), err)
		}
		for line := range strings.Lines(string(out)) {
			if s := c.keep(line); s != "" {
				state[c.what+s] = true
			}
		}
	}
	return state, nil
}

// leftBehind says what is there now and was not before, and what is gone of the machine's own.
func leftBehind(before, after map[string]bool) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(after)) {
		if !before[k] {
			out = append(out, k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(before)) {
		if !after[k] && strings.HasPrefix(k, ownWords) {
			out = append(out, "gone: "+k)
		}
	}
	return out
}

// makeTemp makes the folder that tests find as TMPDIR. Some of them go on as another user,
// so everybody may enter. Its name is short: paths of sockets end at 108 bytes.
func makeTemp() (string, error) {
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		return "", fmt.Errorf("make a folder for temporary files: %w", err)
	}
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		return "", fmt.Errorf("open the folder for temporary files: %w", err)
	}
	return dir, nil
}

// endTemp lists what tests left in their folder for temporary files, and removes it.
func endTemp(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var out []string
	for _, e := range entries {
		out = append(out, "temporary file "+e.Name())
	}
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		return out, fmt.Errorf("look for temporary files: %w", err)
	}
	return out, nil
}
