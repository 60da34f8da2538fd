package vpnconf

import (
	"context"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestWatchHearsOthersAndNotUs(t *testing.T) {
	dir, now := t.TempDir(), start
	p := newPlane(dir, &now)
	ctx, stop := context.WithCancel(t.Context())
	var calls atomic.Int64
	ended := make(chan error, 1)
	go func() { ended <- p.Watch(ctx, func() { calls.Add(1) }) }()
	eventually(t, "Watch listens", func() bool { return p.watching.Load() == 1 })
	pass(t, p, desired(dir))
	write(t, dir, ".anna.swp", "x")
	seen, err := p.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := p.Observe(t.Context()); again != seen {
		t.Error("the directory was read again although nothing changed")
	}
	// Events come in order: when this one is heard, ours have been.
	write(t, dir, "anna", "x")
	eventually(t, "a call", func() bool { return calls.Load() > 0 })
	eventually(t, "anna's file is seen", func() bool { return len(problems(t, p, desired(dir))) == 1 })
	before := calls.Load()
	if before > 2 { // created, closed
		t.Errorf("%d calls for one file of somebody else", before)
	}
	write(t, dir, routesName, header+"\n")
	eventually(t, "a call for our file", func() bool { return calls.Load() > before })
	eventually(t, "our file is put back", func() bool {
		pass(t, p, desired(dir))
		return strings.Contains(read(t, dir, routesName), "10.200.0.0")
	})
	before = calls.Load()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a call for the directory", func() bool { return calls.Load() > before })
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Watch ended with %v", err)
	}
}

// eventually waits for a condition that events bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}
