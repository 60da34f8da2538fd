package masq

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// listener is a second socket, for notifications only.
type listener struct {
	nl *netlink.Conn
}

// listen opens a listener that does not hear what the socket with port own has committed.
func listen(netns int, own uint32) (*listener, error) {
	nl, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: netns})
	if err != nil {
		return nil, fmt.Errorf("open a socket for nftables notifications: %w", err)
	}
	l := &listener{nl}
	err = l.ignore(own)
	if err == nil {
		err = nl.SetReadBuffer(bufferBytes)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up the socket for nftables notifications: %w", err), nl.Close())
	}
	return l, nil
}

// ignore lets the kernel leave out notifications about commits of one port, our own: a
// batch of 10,000 elements is 10,000 notifications.
func (l *listener) ignore(port uint32) error {
	const portOffset = 12 // nlmsghdr.nlmsg_pid; filters load in network byte order
	b := host(port)
	word := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: portOffset},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 0, Jf: 1, K: word},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	raw, err := l.nl.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Control(func(fd uintptr) {
		serr = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
	})
	return errors.Join(err, serr)
}

func (l *listener) close() error { return l.nl.Close() }

// Watch calls changed once for every commit of somebody else that touched one of our
// tables, and once when notifications were lost, until the context ends.
func (p *Plane) Watch(ctx context.Context, changed func()) error {
	l := p.watch.nl
	if err := l.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return fmt.Errorf("listen for nftables notifications: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = l.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	touched, lost := false, false
	for {
		msgs, err := l.Receive()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ENOBUFS):
			// One resync for a run of losses; what is read next may be half a commit.
			if !lost {
				changed()
			}
			touched, lost = false, true
			continue
		case errors.Is(err, os.ErrClosed):
			return fmt.Errorf("listen for nftables notifications: %w", err)
		case err != nil:
			return fmt.Errorf("read an nftables notification: %w", err)
		}
		for _, m := range msgs {
			kind := uint16(m.Header.Type) & 0xff
			switch {
			case kind != unix.NFT_MSG_NEWGEN:
				touched = touched || p.isOurs(m.Data)
			case touched:
				changed()
				touched, lost = false, false
			default:
				lost = false
			}
		}
	}
}

// isOurs reports whether a notification is about one of our tables. Whatever it is about,
// attribute 1 is the table's name.
func (p *Plane) isOurs(data []byte) bool {
	if len(data) < 4 || data[0] != unix.NFPROTO_INET {
		return false
	}
	name := text(fields(data[4:])[1])
	return name == p.table || name == keepName(p.table)
}
