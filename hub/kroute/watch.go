package kroute

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"peerhub/hub/failpoint"
)

// groups are the events a view depends on. The NETCONF groups tell of changed forwarding
// and rp_filter; the other sysctls have no event (net/ipv4/devinet.c, devinet_conf_proc).
var groups = []uint{
	unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_NETCONF,
	unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_IPV6_NETCONF,
}

// Watch calls back when somebody else changed what a view depends on, until ctx ends. It
// also calls back once when events were lost. What our own writes cause is not heard,
// except of sysctls. Two calls may be made at once.
func (p *Plane) Watch(ctx context.Context, changed func()) error {
	sock, err := nl.SubscribeAt(p.ns, netns.None(), unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return fmt.Errorf("subscribe to route events: %w", err)
	}
	if sock.SetReceiveBufferSize(rcvBuffer, true) != nil {
		_ = sock.SetReceiveBufferSize(rcvBuffer, false)
	}
	if err := deaf(sock.GetFd(), p.conn.pid); err != nil {
		sock.Close()
		return err
	}
	stop := context.AfterFunc(ctx, sock.Close)
	defer func() {
		if stop() {
			sock.Close()
		}
	}()
	p.stale.Store(true) // nobody listened until now
	p.watching.Add(1)
	defer p.watching.Add(-1)
	looking, endLooking := context.WithCancel(ctx)
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		p.lookAtSysctls(looking, changed)
	}()
	defer func() {
		endLooking()
		<-looked
	}()
	for {
		msgs, _, err := sock.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS) && failpoint.Off("overrun"):
			continue
		case errors.Is(err, unix.ENOBUFS): // nobody knows what was not heard
			p.stale.Store(true)
			changed()
			continue
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read route events: %w", err)
		}
		matters := false
		for _, m := range msgs {
			matters = matters || concerns(m)
		}
		if matters {
			p.stale.Store(true)
			changed()
		}
	}
}

// deaf lets the kernel drop events on socket fd that were caused through port pid: ten
// thousand routes of ours are ten thousand events, which would fill the socket's buffer
// and drown the one that matters.
func deaf(fd int, pid uint32) error {
	// BPF loads big-endian, netlink headers are in the machine's order.
	port := binary.BigEndian.Uint32(binary.NativeEndian.AppendUint32(nil, pid))
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 12}, // nlmsg_pid
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: port, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("filter our own route events: %w", err)
	}
	return nil
}

// concerns reports whether an event is about something in a view: rules in our range,
// routes in main and in our tables, every link and IPv4 address.
func concerns(m syscall.NetlinkMessage) bool {
	switch m.Header.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if len(m.Data) < unix.SizeofRtMsg {
			return false
		}
		h := nl.DeserializeRtMsg(m.Data)
		table := uint32(h.Table)
		for t, b := range attributes(m.Data[unix.SizeofRtMsg:]) {
			if t == unix.RTA_TABLE {
				table = number(b)
			}
		}
		return table == mainTable && h.Family == unix.AF_INET || ourTable(table)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		r, _, ok := ruleOf(m.Data)
		return ok && ours(r.Priority)
	case rtmNewNetconf, rtmDelNetconf:
		return true
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return true
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		// Bridges tell of their ports in the same group.
		return familyOf(m.Data) == unix.AF_UNSPEC
	}
	return false
}

// From linux/rtnetlink.h; the unix package lacks them.
const (
	rtmNewNetconf = 80
	rtmDelNetconf = 81
)
