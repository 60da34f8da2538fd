package hub

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// egressClass is the class of the hub's first interface. There is one way out in this
// version; the mark and the routing tables have room for more.
const egressClass = 1

// base is the shared part: it follows the policy and the hub's interfaces, not the spokes.
func (d *decision) base() Base {
	p, hub := d.policy, d.topology.Hub
	b := Base{SetSysctls: p.SetSysctls, Masquerade: p.Masq.Masquerade, MaxFlows: p.Masq.MaxFlows, Ownership: p.Masq.Ownership, HubPrefix: sortedPrefixes(hub.Prefixes), Override: sortedPrefixes(p.Override)}
	for _, vpn := range p.VPNs {
		b.Tunnels = append(b.Tunnels, tunnels(vpn)...)
		b.Servers = append(b.Servers, Server{Name: vpn.Name, ClientDir: vpn.ClientDir, OwnFiles: vpn.OwnFiles,
			Aggregates: sortedPrefixes(vpn.Aggregates), Sites: vpn.Sites})
	}
	slices.SortFunc(b.Tunnels, func(a, b Tunnel) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(b.Servers, func(a, b Server) int { return strings.Compare(a.Name, b.Name) })
	if d.egress = d.wayOut(); d.egress != nil {
		b.Egresses = []Egress{*d.egress}
	}
	return b
}

func tunnels(vpn VPN) []Tunnel {
	var sites []netip.Prefix
	for _, s := range vpn.Sites {
		sites = append(sites, s.Networks...)
	}
	var out []Tunnel
	for _, name := range vpn.Interfaces {
		t := Tunnel{Name: name, Origins: sortedPrefixes(slices.Concat(vpn.Pools, sites)), Sites: sortedPrefixes(sites),
			ToHub: slices.Clone(vpn.ToHub), Other: vpn.Other}
		slices.SortFunc(t.ToHub, func(a, b Service) int {
			return cmp.Or(strings.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
		})
		out = append(out, t)
	}
	return out
}

// wayOut returns the hub's way out: its device 0. Without a kernel name or an address it
// cannot be one, and what stands on it is left as it is.
func (d *decision) wayOut() *Egress {
	if d.topology.Hub.VPC == "" {
		return nil
	}
	i, ok := d.device()
	switch {
	case !ok:
		d.report(NoEgress, "hub", "no network interface of the hub is known", "state hub.interfaces in hubd.yaml")
		return nil
	case i.Name == "":
		d.report(NoEgress, string(i.ID), fmt.Sprintf("no kernel interface has the MAC address %s of %s", i.MAC, i.ID), "ip link; or state hub.interfaces in hubd.yaml")
		return nil
	case !i.Address.IsValid():
		d.report(NoEgress, string(i.ID), fmt.Sprintf("%s (%s) has no private address that is known here", i.ID, i.Name), "state hub.interfaces in hubd.yaml, or wait for IMDS")
		return nil
	}
	e := &Egress{ID: EgressID(i.Name), Class: egressClass, Address: i.Address}
	if i.SubnetPrefix.IsValid() {
		e.Subnet = i.SubnetPrefix.Masked()
		e.Gateway = e.Subnet.Addr().Next() // the VPC router: first address of the subnet
	}
	return e
}

// device returns the interface that everything goes out of.
func (d *decision) device() (Interface, bool) {
	if len(d.topology.Hub.Interfaces) == 0 {
		return Interface{}, false
	}
	return d.topology.Hub.Interfaces[0], true
}

// sortedPrefixes returns the valid ones of ps, masked, sorted, each once.
func sortedPrefixes(ps []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range ps {
		if p.IsValid() {
			out = append(out, p.Masked())
		}
	}
	slices.SortFunc(out, ComparePrefixes)
	return slices.Compact(out)
}
