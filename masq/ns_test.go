package masq

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ns is a network namespace without a name: it goes with the test process, also when that
// is killed.
type ns struct {
	file *os.File
	name string
}

func newNS(t *testing.T, name string) *ns {
	t.Helper()
	type result struct {
		file *os.File
		err  error
	}
	done := make(chan result)
	go func() {
		// Not unlocked: the thread is in the new namespace and ends with the goroutine.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{err: err}
			return
		}
		f, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		done <- result{f, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatalf("new network namespace (needs root): %v", r.err)
	}
	t.Cleanup(func() { _ = r.file.Close() })
	n := &ns{r.file, name}
	n.run(t, "ip link set lo up")
	return n
}

func (n *ns) fd() int { return int(n.file.Fd()) }

func (n *ns) command(ctx context.Context, script string) *exec.Cmd {
	// timeout ends it also when this process is killed.
	c := exec.CommandContext(ctx, "nsenter", "--net=/proc/self/fd/3", "timeout", "-k1", "300", "bash", "-c", script)
	c.ExtraFiles = []*os.File{n.file}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	return c
}

// try runs a script and returns what it printed.
func (n *ns) try(t *testing.T, script string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := n.command(ctx, script).CombinedOutput()
	return string(out), err
}

func (n *ns) run(t *testing.T, script string) string {
	t.Helper()
	out, err := n.try(t, script)
	if err != nil {
		t.Fatalf("%s: %.300s: %v\n%.2000s", n.name, script, err, out)
	}
	return out
}

// buffer is written by one goroutine and read by another.
type buffer struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.Write(p)
}

func (b *buffer) output() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out.String()
}

// process is something that runs in the background; what it prints can be waited for.
type process struct {
	buffer
	cmd *exec.Cmd
	in  io.WriteCloser
}

func (n *ns) start(t *testing.T, script string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cmd: n.command(ctx, script)}
	p.cmd.Stdout, p.cmd.Stderr = &p.buffer, &p.buffer
	var err error
	if p.in, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatalf("%s: start %s: %v", n.name, script, err)
	}
	t.Cleanup(func() {
		cancel()
		_ = p.cmd.Wait()
	})
	return p
}

// await waits until ok says so.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
		<-tick.C
	}
}

func (p *process) await(t *testing.T, want string) {
	t.Helper()
	await(t, fmt.Sprintf("%q in the output of %v", want, p.cmd.Args[len(p.cmd.Args)-1]), func() bool { return strings.Contains(p.output(), want) })
}

// link joins two namespaces by a veth pair.
func link(t *testing.T, a *ns, aName, aAddr string, b *ns, bName, bAddr string) {
	t.Helper()
	a.run(t, fmt.Sprintf("ip link add %s type veth peer name %s netns /proc/%d/fd/%d", aName, bName, os.Getpid(), b.fd()))
	a.run(t, fmt.Sprintf("ip addr add %s dev %s; ip link set %s up", aAddr, aName, aName))
	b.run(t, fmt.Sprintf("ip addr add %s dev %s; ip link set %s up", bAddr, bName, bName))
}
