//go:build failpoints

package failpoint

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

var (
	point string
	what  = "kill"
	left  atomic.Int64
	off   []string
)

func init() {
	off = strings.Split(os.Getenv("HUBD_OFF"), ",")
	left.Store(1)
	for i, word := range strings.Split(os.Getenv("HUBD_FAILPOINT"), ":") {
		n, err := strconv.ParseInt(word, 10, 64)
		switch {
		case i == 0:
			point = word
		case err == nil:
			left.Store(n)
		default:
			what = word
		}
	}
}

// Hit ends or stops the program when it is at the point it was told of.
func Hit(name string) {
	if name != point || left.Add(-1) != 0 {
		return
	}
	if what == "kill" {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // nothing runs after it that could tell
	}
	select {}
}

// Off reports whether a defence is switched off.
func Off(name string) bool { return name != "" && slices.Contains(off, name) }
