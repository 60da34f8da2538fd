package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"peerhub/hub"
	"peerhub/hub/control"
	"peerhub/hub/daemon"
	"peerhub/masq"
)

// handmade is how the daemon finds and takes over what a person made on this host.
func (p *parts) handmade() daemon.Handmade {
	return daemon.Handmade{Inherit: p.masq.Inherit, Routes: p.vpcroute.Adoptable, Adopt: p.vpcroute.Adopt, Things: p.things}
}

// things lists translation and kernel routes that a person made.
func (p *parts) things(ctx context.Context, want hub.Desired) (superfluous, left []control.ByHand, err error) {
	ours, others, err := p.masq.Handmade(ctx, want)
	if err != nil {
		return nil, nil, err
	}
	shown := func(list []masq.Handmade) (out []control.ByHand) {
		for _, h := range list {
			out = append(out, control.ByHand{What: "masquerade", Object: h.Object, Line: h.Line})
		}
		return out
	}
	routes, err := siteRoutes(want)
	if err != nil {
		return nil, nil, err
	}
	ways, err := otherWays(want)
	if err != nil {
		return nil, nil, err
	}
	return append(shown(ours), routes...), append(shown(others), ways...), nil
}

// ownProtocol is the protocol number of our kernel routes: docs/architecture.md.
const ownProtocol = 104

// siteRoutes are kernel routes to the networks of sites into their tunnel that are neither
// ours nor the kernel's own.
func siteRoutes(want hub.Desired) ([]control.ByHand, error) {
	list, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list the kernel's routes: %w", err)
	}
	var out []control.ByHand
	for _, t := range want.Base.Tunnels {
		link, err := netlink.LinkByName(t.Name)
		if err != nil {
			continue // the tunnel is down: nothing leads into it
		}
		for _, r := range list {
			if r.LinkIndex != link.Attrs().Index || r.Dst == nil || r.Protocol == ownProtocol || r.Protocol == unix.RTPROT_KERNEL {
				continue
			}
			dst, err := netip.ParsePrefix(r.Dst.String())
			if err != nil || !slices.Contains(t.Sites, dst) {
				continue
			}
			// kroute leaves a route alone that leads where it should, and makes its own when that
			// one goes: handing it over in one step loses nothing in between.
			out = append(out, control.ByHand{What: "route", Object: fmt.Sprintf("%s dev %s proto %d", dst, t.Name, int(r.Protocol)),
				Line: fmt.Sprintf("ip route replace %s dev %s proto %d", dst, t.Name, ownProtocol)})
		}
	}
	return out, nil
}
