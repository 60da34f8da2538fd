package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"peerhub/hub/failpoint"
)

// ErrRunning means that another hubd answers on the socket.
var ErrRunning = errors.New("another hubd is running")

// Listener is the control socket. It gives every user a share of connections; a newcomer beyond it
// takes the place of that user's oldest connection that is not being worked for, so that idle and
// slow ones keep nobody from being answered.
type Listener struct {
	*net.UnixListener
	path  string
	file  fs.FileInfo // the socket as we made it
	group int         // gid of those who may write; -1: root only

	mu   sync.Mutex
	open map[uint32][]*conn // connections by uid, the oldest first
}

// Listen opens the socket at path, 0660 and owned by group. A socket that nobody answers on
// is replaced; one that is alive is ErrRunning. note says what is less than wanted: without
// the group, or the right to give it the socket, only root may write.
func Listen(path, group string) (l *Listener, note string, err error) {
	if err := clear(path); err != nil {
		return nil, "", err
	}
	gid, note := lookup(group)
	// Bound under another name and renamed: nobody meets it with the wrong mode.
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("control socket: %w", err)
	}
	inner, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, "", fmt.Errorf("control socket: %w", err)
	}
	inner.SetUnlinkOnClose(false)
	defer func() {
		if err != nil {
			inner.Close()
			os.Remove(temporary)
		}
	}()
	if gid >= 0 {
		if err := os.Chown(temporary, -1, gid); err != nil {
			note = fmt.Sprintf("the socket cannot be given to group %s: %v; only root may use hubctl to change things", group, err)
			gid = -1
		}
	}
	if err := os.Chmod(temporary, 0o660); err != nil {
		return nil, "", fmt.Errorf("control socket: %w", err)
	}
	file, err := os.Lstat(temporary)
	if err != nil {
		return nil, "", fmt.Errorf("control socket: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return nil, "", fmt.Errorf("control socket: %w", err)
	}
	return &Listener{UnixListener: inner, path: path, file: file, group: gid, open: map[uint32][]*conn{}}, note, nil
}

// clear removes a socket that nobody answers on. It connects first: a live one is not stolen.
func clear(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("control socket: %s is there and is not a socket; remove it or set control.socket", path)
	}
	c, err := net.DialTimeout("unix", path, 2*time.Second)
	if err == nil {
		pid := peerOf(c).PID
		c.Close()
		return fmt.Errorf("%w (process %d answers on %s)", ErrRunning, pid, path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("control socket: see who is behind %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("control socket: remove the one of a hubd that is gone: %w", err)
	}
	return nil
}

func lookup(group string) (gid int, note string) {
	g, err := user.LookupGroup(group)
	if err == nil {
		if gid, err = strconv.Atoi(g.Gid); err == nil {
			return gid, ""
		}
	}
	return -1, fmt.Sprintf("there is no group %s: only root may use hubctl; addgroup --system %s", group, group)
}

// admins says whether a peer may use the writing verbs.
func (l *Listener) admins(p Peer) bool {
	return p.known && (p.UID == 0 || l.group >= 0 && slices.Contains(p.groups, uint32(l.group)))
}

// Accept waits for a peer that gets a place; others are closed at once.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.UnixListener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: inner, from: l, uid: peerOf(inner).UID}
		evicted, ok := l.admit(c)
		if evicted != nil {
			evicted.Conn.Close() // its place is c's already
		}
		if ok {
			return c, nil
		}
		inner.Close()
	}
}

// admit gives c a place among its user's, if need be that of another, which it returns. ok is false
// when all of them are being worked for.
func (l *Listener) admit(c *conn) (evicted *conn, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.open[c.uid]
	if len(list) >= perUser && !failpoint.Off("client-limits") {
		i := slices.IndexFunc(list, func(o *conn) bool { return !o.working.Load() })
		if i < 0 {
			return nil, false
		}
		evicted = list[i]
		list = slices.Delete(list, i, i+1)
	}
	l.open[c.uid] = append(list, c)
	return evicted, true
}

// release gives up c's place, unless somebody has taken it.
func (l *Listener) release(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c.uid] = slices.DeleteFunc(l.open[c.uid], func(o *conn) bool { return o == c })
	if len(l.open[c.uid]) == 0 {
		delete(l.open, c.uid)
	}
}

// Close stops listening and removes the socket if it is still ours.
func (l *Listener) Close() error {
	err := l.UnixListener.Close()
	if now, serr := os.Lstat(l.path); serr == nil && os.SameFile(now, l.file) {
		err = errors.Join(err, os.Remove(l.path))
	}
	return err
}

// conn gives its place back when it is closed.
type conn struct {
	net.Conn
	from    *Listener
	uid     uint32
	working atomic.Bool // a verb of its is under way: not for another to take
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.from.release(c)
	return err
}
