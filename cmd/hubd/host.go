package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"peerhub/hub/failpoint"
)

// hostName is bound by the one hubd that may write in this network namespace. An abstract
// socket belongs to the namespace, as routes and rules do, and is gone with its process.
const hostName = "@peerhub-hubd"

// OccupiedError says that another hubd works in this network namespace.
type OccupiedError struct{ PID int }

func (e *OccupiedError) Error() string {
	return fmt.Sprintf("another hubd (process %d) keeps this host's routes and rules: one hubd per network namespace, whatever its config, state and socket", e.PID)
}

// host is this process's right to write here.
type host struct{ listener *net.UnixListener } // nil: somebody squats on the name

// takeHost makes this process the only hubd of its network namespace until release, or fails
// with *OccupiedError. Anybody may bind a name: who could not be a hubd, for lack of the right
// to change routes, hinders nobody, and note says that then a second hubd would not be noticed.
func takeHost(proc string) (h host, note string, err error) {
	if failpoint.Off("one-hub") {
		return h, "", nil
	}
	for range 3 { // who held the name may end between the two questions
		h.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: hostName, Net: "unix"})
		if err == nil {
			go h.answer()
			return h, "", nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
		var who *unix.Ucred
		if who, err = holder(); errors.Is(err, unix.ECONNREFUSED) {
			continue
		}
		switch {
		case err != nil: // a hubd takes every connection at once
			return h, fmt.Sprintf("somebody holds the name %s and does not answer (%v): that is no hubd; a second hubd would not be noticed until it ends", hostName, err), nil
		case !couldBeHubd(proc, who):
			return h, fmt.Sprintf("process %d of user %d holds the name %s and cannot be a hubd, it may not change routes: end it, until then a second hubd would not be noticed", who.Pid, who.Uid, hostName), nil
		}
		return h, "", &OccupiedError{PID: int(who.Pid)}
	}
	return h, "", fmt.Errorf("take the name %s, which only one hubd may have: %w", hostName, err)
}

// answer takes connections, so that whoever asks who we are need not wait in a queue that
// somebody else has filled.
func (h host) answer() {
	for {
		c, err := h.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			c.Close()
		}
	}
}

// release lets the next hubd in. The end of the process does the same.
func (h host) release() {
	if h.listener != nil {
		h.listener.Close()
	}
}

// holder asks the kernel which process listens on the name.
func holder() (*unix.Ucred, error) {
	c, err := net.DialTimeout("unix", hostName, 2*time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var who *unix.Ucred
	cerr := raw.Control(func(fd uintptr) { who, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return who, errors.Join(cerr, err)
}

// couldBeHubd tells a hubd from a squatter: it is root, or our own user, or it may change
// the routes here. A process that may do so only in a user namespace of its own may not here.
func couldBeHubd(proc string, who *unix.Ucred) bool {
	if who.Uid == 0 || who.Uid == uint32(os.Geteuid()) {
		return true
	}
	dir := filepath.Join(proc, strconv.Itoa(int(who.Pid)))
	theirs, err := os.Readlink(filepath.Join(dir, "ns/user"))
	if err != nil {
		return false // of another user, and nothing shows that it is one
	}
	ours, err := os.Readlink(filepath.Join(proc, "self/ns/user"))
	return err == nil && theirs == ours && mayChangeRoutes(filepath.Join(dir, "status"))
}

// mayChangeRoutes reads from a process's status file whether it has CAP_NET_ADMIN.
func mayChangeRoutes(status string) bool {
	text, err := os.ReadFile(status)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && caps&(1<<unix.CAP_NET_ADMIN) != 0
		}
	}
	return false
}
