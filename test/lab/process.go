package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"peerhub/test/fabric"
)

// Process is a program that the lab keeps running in a host.
type Process struct {
	Name string   `json:"name"` // also of its log, NAME.log in the run directory
	Host string   `json:"host"`
	PID  int      `json:"pid"`
	Args []string `json:"args"`
	Log  string   `json:"log"`

	logStart int64 // where this life of it begins in the log

	cmd  *exec.Cmd
	done chan struct{} // closed when it ended
	err  error         // why, valid once done is closed
}

// stopPatience is how long a program may take to end before it is killed.
const stopPatience = 3 * time.Second

// start runs a program in a host, its output in a log file. It is a session of its
// own: a terminal's signals do not reach it.
func (l *Lab) start(name, host string, env []string, args ...string) (*Process, error) {
	p := &Process{Name: name, Host: host, Args: args, Log: filepath.Join(l.Dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", name, err)
	}
	defer log.Close()
	if st, err := log.Stat(); err == nil {
		p.logStart = st.Size()
	}
	// Not bound to a context: the lab stops it, gently first.
	p.cmd = fabric.Command(context.Background(), l.Spec.Prefix+host, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = Environ(env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", name, host, err)
	}
	p.PID = p.cmd.Process.Pid
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	l.mu.Lock()
	l.processes = append(l.processes, p)
	l.mu.Unlock()
	return p, nil
}

// stop ends the program: SIGTERM, and SIGKILL when that does not help.
func (p *Process) stop() {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if p.cmd.Process.Signal(sig) != nil {
			break // ended already
		}
		select {
		case <-p.done:
			return
		case <-time.After(stopPatience):
		}
	}
	<-p.done
}

// ended tells whether the program is over.
func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Killed tells whether the program is over, and whether a SIGKILL ended it.
func (p *Process) Killed() (over, killed bool) {
	if !p.ended() {
		return false, false
	}
	st, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return true, ok && st.Signaled() && st.Signal() == syscall.SIGKILL
}

// lastLines is the end of a program's log, for error messages.
func (p *Process) lastLines(n int) string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}

// await waits until a condition holds, while the programs it depends on live.
func await(ctx context.Context, what string, cond func() bool, needs ...*Process) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		for _, p := range needs {
			if p.ended() {
				return fmt.Errorf("wait until %s: %s ended (%v); its last lines:\n%s", what, p.Name, p.err, p.lastLines(10))
			}
		}
		select {
		case <-ctx.Done():
			var logs strings.Builder
			for _, p := range needs {
				fmt.Fprintf(&logs, "\nlast lines of %s:\n%s", p.Name, p.lastLines(10))
			}
			return fmt.Errorf("wait until %s: %w%s", what, ctx.Err(), logs.String())
		case <-tick.C:
		}
	}
	return nil
}
