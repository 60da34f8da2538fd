package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// group is a memory control group; "" is none.
type group string

// makeGroup makes one with a limit in bytes, in the hierarchy that is mounted: version 2, or 1
// with its memory controller. 0 makes none.
func makeGroup(limit int64) (group, error) {
	if limit == 0 {
		return "", nil
	}
	root, file := "/sys/fs/cgroup", "memory.max"
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); errors.Is(err, fs.ErrNotExist) {
		root, file = filepath.Join(root, "memory"), "memory.limit_in_bytes"
	} else if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
		return "", fmt.Errorf("let groups have memory limits: %w", err)
	}
	g := group(filepath.Join(root, "supervise-"+strconv.Itoa(os.Getpid())))
	if err := os.Mkdir(string(g), 0o755); err != nil {
		return "", fmt.Errorf("make a memory group: %w", err)
	}
	if err := os.WriteFile(filepath.Join(string(g), file), []byte(strconv.FormatInt(limit, 10)), 0); err != nil {
		return "", errors.Join(fmt.Errorf("limit a memory group: %w", err), g.remove())
	}
	return g, nil
}

// enter is the shell's line that moves it into the group.
func (g group) enter() string {
	if g == "" {
		return ""
	}
	return "echo $$ >" + string(g) + "/cgroup.procs; "
}

func (g group) remove() error {
	if g == "" {
		return nil
	}
	return os.Remove(string(g))
}
