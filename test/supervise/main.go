// Supervise runs a service as systemd does, as far as the fault suite needs it: readiness and
// watchdog by NOTIFY_SOCKET and WATCHDOG_USEC, Restart=on-failure, MemoryMax by a memory group.
//
//	supervise [-set KEY=VALUE]... [-first NAME=VALUE]... UNIT
//
// -set is a drop-in's line, -first a variable of the first start only. It prints what happens,
// a line each: "start PID", "ready PID", "watchdog PID", "end PID WHY". HUP is `systemctl restart`,
// TERM is `systemctl stop`.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// words is a flag that may be given again.
type words []string

func (w *words) String() string     { return strings.Join(*w, " ") }
func (w *words) Set(s string) error { *w = append(*w, s); return nil }

func main() {
	var dropIns, first words
	flag.Var(&dropIns, "set", "KEY=VALUE of the unit")
	flag.Var(&first, "first", "NAME=VALUE in the environment of the first start")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: supervise [-set KEY=VALUE]... [-first NAME=VALUE]... UNIT")
		os.Exit(64)
	}
	u, err := readUnit(flag.Arg(0), dropIns)
	if err == nil {
		err = run(u, first)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "supervise:", err)
		os.Exit(1)
	}
}

// run keeps the service running until a signal ends it.
func run(u unit, first []string) (err error) {
	dir, err := os.MkdirTemp("", "supervise")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		return err
	}
	defer socket.Close()
	said := make(chan string)
	go listen(socket, said)
	g, err := makeGroup(u.memory)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.remove()) }()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	for extra := first; ; extra = nil {
		again, err := life(u, append(extra, "NOTIFY_SOCKET="+filepath.Join(dir, "notify")), g, said, signals)
		if !again || err != nil {
			return err
		}
	}
}

// listen passes on what services say, until the socket closes.
func listen(socket *net.UnixConn, said chan<- string) {
	buf := make([]byte, 4096)
	for {
		n, err := socket.Read(buf)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(buf[:n])) {
			said <- strings.TrimSpace(line)
		}
	}
}

// life is one start of the service, up to its end. again: it is to be started once more.
func life(u unit, env []string, g group, said <-chan string, signals <-chan os.Signal) (again bool, err error) {
	// The shell becomes the service, inside its group and with its own process id told.
	line := `export WATCHDOG_PID=$$; ` + g.enter() + `exec "$@"`
	cmd := exec.Command("/bin/sh", append([]string{"-c", line, "sh"}, u.exec...)...)
	cmd.Env = append(append(os.Environ(), u.environment...), env...)
	if u.watchdog > 0 {
		cmd.Env = append(cmd.Env, "WATCHDOG_USEC="+strconv.FormatInt(u.watchdog.Microseconds(), 10))
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		return false, err
	}
	pid := cmd.Process.Pid
	fmt.Println("start", pid)
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(ended)
	}()
	stopping := false
	var alarm, last <-chan time.Time
	for {
		select {
		case word := <-said:
			switch {
			case word == "READY=1":
				fmt.Println("ready", pid)
			case word != "WATCHDOG=1":
				continue
			}
			if u.watchdog > 0 {
				alarm = time.After(u.watchdog)
			}
		case <-alarm:
			fmt.Println("watchdog", pid)
			alarm, last = nil, time.After(u.patience)
			err = cmd.Process.Signal(syscall.SIGABRT)
		case <-last:
			err = cmd.Process.Kill()
		case sig := <-signals:
			stopping, again = true, sig == syscall.SIGHUP
			last = time.After(u.patience)
			err = cmd.Process.Signal(syscall.SIGTERM)
		case <-ended:
			fmt.Println("end", pid, cmd.ProcessState)
			if stopping || cmd.ProcessState.Success() || !u.restart {
				return again, nil
			}
			select {
			case <-time.After(u.pause):
				return true, nil
			case sig := <-signals:
				return sig == syscall.SIGHUP, nil
			}
		}
		if err != nil && !errors.Is(err, os.ErrProcessDone) {
			return false, err
		}
	}
}
