package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"peerhub/test/fabric"
)

// rigNamespace is the name of a rig's namespace; it holds the id of the bench's process.
var rigNamespace = regexp.MustCompile(`^bench-(\d+)-\d+-(client|hub|beyond)$`)

// sweep removes what benches left that were killed: their rigs and who still runs inside.
// A lab is removed by the next one of its prefix.
func sweep(ctx context.Context) error {
	entries, err := os.ReadDir("/run/netns")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for the rest of a killed bench: %w", err)
	}
	var errs []error
	for _, e := range entries {
		m := rigNamespace.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		if _, err := os.Stat("/proc/" + m[1]); err == nil {
			continue // somebody with that id lives
		}
		out, err := exec.CommandContext(ctx, "ip", "netns", "pids", e.Name()).Output()
		if err != nil {
			errs = append(errs, fmt.Errorf("who runs in %s: %w", e.Name(), err))
			continue
		}
		for _, word := range strings.Fields(string(out)) {
			if pid, err := strconv.Atoi(word); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
			}
		}
		errs = append(errs, fabric.Delete(e.Name()))
	}
	return errors.Join(errs...)
}
