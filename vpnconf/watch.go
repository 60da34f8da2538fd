package vpnconf

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// events are those after which a directory's files read differently.
	events = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_CREATE | unix.IN_DELETE |
		unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR
	// lookAgain is how often a directory that is not there is looked for.
	lookAgain = 10 * time.Second
)

// Watch calls back when somebody else changed a file of a client directory, until ctx
// ends.
func (p *Plane) Watch(ctx context.Context, changed func()) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("watch client directories: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer func() {
		if stop() {
			f.Close()
		}
	}()
	w := watch{p: p, file: f, fd: fd, dirs: map[int32]string{}}
	w.add()
	p.stale.Store(true) // nobody listened until now
	p.watching.Add(1)
	defer p.watching.Add(-1)
	buf := make([]byte, 64<<10)
	for {
		if err := w.deadline(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("watch client directories: %w", err)
		}
		n, err := f.Read(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil:
			return fmt.Errorf("watch client directories: %w", err)
		}
		heard := w.concerns(buf[:max(n, 0)])
		if w.add() || heard {
			p.stale.Store(true)
			changed()
		}
	}
}

// watch is the state of one Watch.
type watch struct {
	p    *Plane
	file *os.File
	fd   int
	dirs map[int32]string // by watch descriptor
}

// add watches the directories that are not watched yet and reports whether there were any.
func (w *watch) add() bool {
	known := map[string]bool{}
	for _, d := range w.dirs {
		known[d] = true
	}
	added := false
	for d := range w.p.labels {
		if known[d] {
			continue
		}
		if wd, err := unix.InotifyAddWatch(w.fd, d, events); err == nil {
			w.dirs[int32(wd)] = d
			added = true
		}
	}
	return added
}

// deadline lets the next read end early while a directory is missing.
func (w *watch) deadline() error {
	if len(w.dirs) == len(w.p.labels) {
		return w.file.SetReadDeadline(time.Time{})
	}
	return w.file.SetReadDeadline(time.Now().Add(lookAgain))
}

// concerns reports whether one of the events is about a file that counts and is not our
// own doing.
func (w *watch) concerns(b []byte) bool {
	yes := false
	for len(b) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(b))
		mask := binary.NativeEndian.Uint32(b[4:])
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
		if size > len(b) {
			break
		}
		name := unix.ByteSliceToString(b[unix.SizeofInotifyEvent:size])
		b = b[size:]
		switch {
		case mask&unix.IN_IGNORED != 0: // the directory went; look for it again
			delete(w.dirs, wd)
			yes = true
		case mask&unix.IN_MOVE_SELF != 0:
			_, _ = unix.InotifyRmWatch(w.fd, uint32(wd)) // IN_IGNORED follows
		case mask&unix.IN_Q_OVERFLOW != 0:
			yes = true
		case name == "" || name[0] == '.':
		default:
			yes = yes || !w.p.isOwnDoing(filepath.Join(w.dirs[wd], name))
		}
	}
	return yes
}

// isOwnDoing reports whether a file is as we left it.
func (p *Plane) isOwnDoing(path string) bool {
	p.wroteMu.Lock()
	text, known := p.wrote[path]
	p.wroteMu.Unlock()
	if !known {
		return false
	}
	now, _, there, err := readFile(path)
	return err == nil && there == (text != nil) && bytes.Equal(now, text)
}
