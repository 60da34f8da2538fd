package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"peerhub/hub"
	"peerhub/hub/control"
)

// otherWays are kernel routes into networks of spokes and rules that name VPN pools, which are
// neither ours nor the system's own. Nobody can tell what else they serve: they are only named.
func otherWays(want hub.Desired) ([]control.ByHand, error) {
	routes, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list the kernel's routes: %w", err)
	}
	rules, err := netlink.RuleList(unix.AF_INET)
	if err != nil {
		return nil, fmt.Errorf("list the kernel's rules: %w", err)
	}
	var out []control.ByHand
	for _, r := range routes {
		switch r.Protocol {
		case ownProtocol, unix.RTPROT_KERNEL, unix.RTPROT_DHCP, unix.RTPROT_RA:
			continue
		}
		if dst, ok := prefixOf(r.Dst); ok && leadsToSpoke(dst, want) {
			out = append(out, control.ByHand{What: "route", Object: fmt.Sprintf("%s table %d%s", dst, r.Table, by(r))})
		}
	}
	for _, r := range rules {
		if r.Protocol == ownProtocol {
			continue
		}
		src, from := prefixOf(r.Src)
		dst, to := prefixOf(r.Dst)
		if from && namesPool(src, want) || to && namesPool(dst, want) {
			text := fmt.Sprintf("pref %d from %s", r.Priority, orAny(src))
			if to {
				text += " to " + dst.String()
			}
			out = append(out, control.ByHand{What: "rule", Object: fmt.Sprintf("%s lookup %d", text, r.Table)})
		}
	}
	return out, nil
}

// prefixOf is false for no prefix, and for the default route.
func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(n.String())
	return p, err == nil && p.Bits() > 0
}

// leadsToSpoke reports whether p is a wanted spoke's, or part of it. The hub's own VPC is none.
func leadsToSpoke(p netip.Prefix, want hub.Desired) bool {
	inside := func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) }
	return !slices.ContainsFunc(want.Base.HubPrefix, inside) &&
		slices.ContainsFunc(want.Reaches, func(r hub.Reach) bool { return inside(r.Real) })
}

// namesPool reports whether p is about addresses of clients of ours.
func namesPool(p netip.Prefix, want hub.Desired) bool {
	return slices.ContainsFunc(want.Base.Tunnels, func(t hub.Tunnel) bool {
		return slices.ContainsFunc(t.Origins, p.Overlaps)
	})
}

// by says how a route leaves.
func by(r netlink.Route) string {
	text := ""
	if r.Gw != nil {
		text = " via " + r.Gw.String()
	}
	if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
		text += " dev " + link.Attrs().Name
	}
	return text
}

func orAny(p netip.Prefix) string {
	if !p.IsValid() {
		return "all"
	}
	return p.String()
}
