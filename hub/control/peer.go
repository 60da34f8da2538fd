package control

import (
	"fmt"
	"net"
	"os/user"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Peer is the process at the other end, as the kernel tells.
type Peer struct {
	UID    uint32
	PID    int32
	groups []uint32
	known  bool
}

func (p Peer) String() string {
	if !p.known {
		return "an unknown peer"
	}
	if u, err := user.LookupId(strconv.Itoa(int(p.UID))); err == nil {
		return fmt.Sprintf("%s (uid %d)", u.Username, p.UID)
	}
	return fmt.Sprintf("uid %d", p.UID)
}

// peerOf asks the kernel who connected. Peer.known is false when it does not say.
func peerOf(c net.Conn) Peer {
	if wrapped, ok := c.(*conn); ok {
		c = wrapped.Conn
	}
	var p Peer
	sc, ok := c.(syscall.Conn)
	if !ok {
		return p
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return p
	}
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return
		}
		p = Peer{UID: cred.Uid, PID: cred.Pid, groups: append(peerGroups(fd), cred.Gid), known: true}
	})
	if err != nil {
		return Peer{}
	}
	return p
}

// peerGroups lists the supplementary groups that the peer had when it connected; none when
// the kernel does not tell (before 4.13). x/sys has no call for this option.
func peerGroups(fd uintptr) []uint32 {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4]
		case errno == unix.ERANGE && int(size/4) > len(groups) && size/4 <= 65536:
			groups = make([]uint32, size/4)
		default:
			return nil
		}
	}
}
