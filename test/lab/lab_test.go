package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// testSpec is the default lab under a prefix of this test process.
func testSpec(name string) Spec {
	s := DefaultSpec()
	s.Prefix = fmt.Sprintf("l%s%d-", name, os.Getpid())
	return s
}

// testDir is a run directory with a short path: unix sockets allow 108 bytes.
func testDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "run")
}

// startLab starts a lab without hubd and removes it at the end of the test.
func startLab(t *testing.T, spec Spec) *Lab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	l, err := Start(ctx, spec, Options{Dir: testDir(t), WithoutHubd: true, Talk: testWriter{t}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		checkGone(t, l)
	})
	return l
}

// checkGone fails for every namespace, process and file that a lab left.
func checkGone(t *testing.T, l *Lab) {
	t.Helper()
	for _, h := range l.Spec.Hosts() {
		if _, ok := nsInode(h.Namespace); ok {
			t.Errorf("namespace %s is still there", h.Namespace)
		}
	}
	for _, p := range l.Processes() {
		t.Errorf("process %d (%s) still runs", p.PID, p.Name)
	}
	if _, err := os.Stat(l.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("run directory %s is still there (%v)", l.Dir, err)
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}
