package kroute

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// groups are the events a view depends on. The NETCONF groups tell of changed forwarding
// and rp_filter.
var groups = []uint{
	unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV4_NETCONF,
	unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_IPV6_NETCONF,
}

// Watch calls back when somebody else changed what a view depends on, until ctx ends. It
// also calls back once when events were lost. Our own writes are told by their port.
func (p *Plane) Watch(ctx context.Context, changed func()) error {
	sock, err := nl.SubscribeAt(p.ns, netns.None(), unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return fmt.Errorf("subscribe to route events: %w", err)
	}
	if sock.SetReceiveBufferSize(rcvBuffer, true) != nil {
		_ = sock.SetReceiveBufferSize(rcvBuffer, false)
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
	for {
		msgs, _, err := sock.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
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
			matters = matters || m.Header.Pid != p.conn.pid && concerns(m)
		}
		if matters {
			p.stale.Store(true)
			changed()
		}
	}
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
