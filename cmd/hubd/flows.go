package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"peerhub/hub"
	"peerhub/hub/daemon"
)

// flows lists what conntrack knows of connections that come from the tunnels' origins.
func flows(_ context.Context, want hub.Desired) ([]daemon.Flow, error) {
	list, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
	if err != nil {
		return nil, fmt.Errorf("read conntrack: %w", err)
	}
	local, err := localAddresses()
	if err != nil {
		return nil, err
	}
	var out []daemon.Flow
	for _, c := range list {
		source, ok1 := netip.AddrFromSlice(c.Forward.SrcIP.To4())
		target, ok2 := netip.AddrFromSlice(c.Forward.DstIP.To4())
		if !ok1 || !ok2 || !fromTunnel(want, source) {
			continue
		}
		back, _ := netip.AddrFromSlice(c.Reverse.DstIP.To4())
		translated := back != source && slices.ContainsFunc(want.Base.HubPrefix, func(p netip.Prefix) bool { return p.Contains(back) })
		out = append(out, daemon.Flow{Translated: translated, Protocol: protocol(c.Forward.Protocol), Ours: c.Mark&hub.MarkClassMask != 0, Local: local[target],
			Source: netip.AddrPortFrom(source, c.Forward.SrcPort), Target: netip.AddrPortFrom(target, c.Forward.DstPort)})
	}
	return out, nil
}

// localAddresses are the hub's own.
func localAddresses() (map[netip.Addr]bool, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the hub's addresses: %w", err)
	}
	out := map[netip.Addr]bool{}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out[ip.Unmap()] = true
			}
		}
	}
	return out, nil
}

func fromTunnel(want hub.Desired, a netip.Addr) bool {
	for _, t := range want.Base.Tunnels {
		for _, p := range t.Origins {
			if p.Contains(a) {
				return true
			}
		}
	}
	return false
}

func protocol(number uint8) string {
	switch number {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_ICMP:
		return "icmp"
	}
	return fmt.Sprintf("protocol %d", number)
}

// occupied says that a VPN works here already without hubd: one of the tunnels is there, and
// its traffic is not kept in by the rules of hubd --fail-closed. Where those rules stand,
// nothing went through that a first pass could cut.
func (p *parts) occupied(ctx context.Context, policy hub.Policy) (string, error) {
	name, ok := hasTunnel(policy)
	if !ok {
		return "", nil
	}
	view, err := p.kroute.Observe(ctx)
	if err != nil {
		return "", err
	}
	for _, c := range hub.Additions(view.Plan(hub.Desired{Base: baseOf(policy)})) {
		if strings.HasPrefix(c.Object, "rule ") && strings.Contains(c.Object, " iif "+name+" ") {
			return "tunnel " + name + " works without hubd", nil
		}
	}
	return "", nil
}
