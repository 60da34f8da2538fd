package fabric

import "net/netip"

// internetPlace is the place of drops out in the internet.
const internetPlace = "internet"

// leave takes a packet out of a VPC: the gateway maps the private source to its
// public address, whoever sent the packet.
func (f *Fabric) leave(s *snapshot, v *vpc, pk *packet) {
	owner := v.hosts[pk.src]
	if owner == nil {
		f.drop(v.gateway, ReasonNoPublic, pk.String())
		return
	}
	if pk.v6 { // its addresses are public ones, and no host of the internet speaks IPv6 here
		f.drop(internetPlace, ReasonNoHost, pk.String())
		return
	}
	public, ok := owner.public[pk.src]
	if !ok {
		f.drop(v.gateway, ReasonNoPublic, pk.String())
		return
	}
	pk.rewriteSource(public)
	f.overInternet(s, pk, v.gateway)
}

// fromInternet carries what a host of the internet sent.
func (f *Fabric) fromInternet(p *port, pk *packet) {
	switch {
	case pk.src != p.addr:
		f.drop(p.name(), ReasonSpoofed, pk.String())
	case len(pk.ip) > mtuInternet:
		f.drop(internetPlace, ReasonMTU, pk.String())
	default:
		f.overInternet(f.snap.Load(), pk, internetPlace)
	}
}

// overInternet delivers between public addresses. from is where the packet
// entered, the place of private destinations, which no provider routes.
func (f *Fabric) overInternet(s *snapshot, pk *packet, from string) {
	w := f.wires.Load()
	if at, ok := s.public[pk.dst]; ok && at.eni.subnet.vpc.gateway != "" {
		pk.rewriteDest(at.private)
		f.deliver(nil, at.eni, pk)
		return
	}
	if p := w.internet[pk.dst]; p != nil {
		f.send(p, routerMAC, pk)
		return
	}
	switch {
	case pk.dst == f.opt.API && w.cloud != nil:
		f.send(w.cloud, routerMAC, pk)
	case inAny(notPublic, pk.dst):
		f.drop(from, ReasonNoRoute, pk.String())
	default:
		f.drop(internetPlace, ReasonNoHost, pk.String())
	}
}

// notPublic are the IPv4 ranges that the internet does not route (RFC 6890).
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"),
}
