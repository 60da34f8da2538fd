package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// holding is what a running hubd holds.
type holding struct {
	pid, rss, files, goroutines int // rss in KiB
}

func (h holding) String() string {
	return fmt.Sprintf("%d KiB, %d files, %d goroutines (process %d)", h.rss, h.files, h.goroutines, h.pid)
}

// How much more hubd may hold at a later look than at the first: pools fill, and the look
// itself may meet a request.
const (
	moreRSS        = 20 << 10
	moreFiles      = 8
	moreGoroutines = 12
)

// flat fails when hubd held much more later.
func (h holding) flat(later holding) error {
	if h.pid != later.pid {
		return fmt.Errorf("hubd was process %d and is %d, though nobody ended it", h.pid, later.pid)
	}
	if later.rss > h.rss+moreRSS || later.files > h.files+moreFiles || later.goroutines > h.goroutines+moreGoroutines {
		return fmt.Errorf("hubd grows: it held %v and holds %v", h, later)
	}
	return nil
}

// holds asks the kernel and hubd's metrics.
func (s *Soak) holds(ctx context.Context) (h holding, err error) {
	p := s.lab.Process(lab.UnitHubd)
	if p == nil {
		return h, errors.New("hubd does not run")
	}
	h.pid = p.PID
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
	if err != nil {
		return h, err
	}
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID))
	if err != nil {
		return h, err
	}
	h.files = len(list)
	page, err := fabric.Exec(ctx, s.lab.Spec.Prefix+lab.HostHub, "curl", "-sS", "--max-time", "5", "http://127.0.0.1:9586/metrics")
	if err != nil {
		return h, err
	}
	for line := range strings.Lines(string(status) + page) {
		for name, to := range map[string]*int{"VmRSS:": &h.rss, "hubd_goroutines ": &h.goroutines} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				if _, err := fmt.Sscan(rest, to); err != nil {
					return h, fmt.Errorf("read %q: %w", line, err)
				}
			}
		}
	}
	if h.rss == 0 || h.goroutines == 0 {
		err = fmt.Errorf("hubd tells too little: %v", h)
	}
	return h, err
}
