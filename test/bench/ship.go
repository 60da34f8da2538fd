package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// binarySize is the size of hubd, stripped. Sabotage: not stripped.
func binarySize(ctx context.Context, sabotage bool) ([]Result, error) {
	const limit = 20.0
	dir, err := os.MkdirTemp("", "hubd-bench-")
	if err != nil {
		return nil, fmt.Errorf("make room for the binary: %w", err)
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "hubd")
	args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", bin, "./cmd/hubd"}
	if sabotage {
		args = []string{"build", "-o", bin, "./cmd/hubd"}
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, out)
	}
	fi, err := os.Stat(bin)
	if err != nil {
		return nil, fmt.Errorf("look at the binary: %w", err)
	}
	r := Result{Name: "hubd binary", Bar: "<= 20 MB stripped", Unit: "MB", Measured: float64(fi.Size()) / 1e6, Samples: 1}
	return []Result{below(r, r.Measured, limit)}, nil
}

var exposure = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

// sandbox is systemd's exposure score of hubd's unit, lower is better. Sabotage: the
// unit without its sandbox.
func sandbox(ctx context.Context, sabotage bool) ([]Result, error) {
	const limit = 1.7
	text, err := os.ReadFile("deploy/systemd/hubd.service")
	if err != nil {
		return nil, fmt.Errorf("read the unit: %w", err)
	}
	if sabotage {
		var kept []string
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "Protect") && !strings.HasPrefix(line, "Restrict") {
				kept = append(kept, line)
			}
		}
		text = []byte(strings.Join(kept, ""))
	}
	dir, err := os.MkdirTemp("", "hubd-bench-")
	if err != nil {
		return nil, fmt.Errorf("make room for the unit: %w", err)
	}
	defer os.RemoveAll(dir)
	unit := filepath.Join(dir, "hubd.service")
	if err := os.WriteFile(unit, text, 0o644); err != nil {
		return nil, fmt.Errorf("write the unit: %w", err)
	}
	out, err := exec.CommandContext(ctx, "systemd-analyze", "--no-pager", "security", "--offline=yes", unit).CombinedOutput()
	m := exposure.FindSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("systemd-analyze security gave no score: %w: %s", err, out)
	}
	score, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		return nil, fmt.Errorf("read the score: %w", err)
	}
	r := Result{Name: "systemd exposure score", Bar: "<= 1.7", Unit: "score", Measured: score, Samples: 1}
	return []Result{below(r, score, limit)}, nil
}
