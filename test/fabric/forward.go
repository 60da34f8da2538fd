package fabric

import (
	"bytes"
	"encoding/binary"
	"net/netip"

	"peerhub/test/ec2sim"
)

// receive judges one frame that a host sent. It runs on the port's reader and
// owns the frame until it returns.
func (f *Fabric) receive(p *port, frame []byte) {
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherARP:
		f.answerARP(p, frame)
		return
	case etherIPv4, etherIPv6:
	default:
		return
	}
	pk := &p.pk
	if err := pk.parseFrame(frame); err != nil {
		f.drop(p.name(), ReasonMalformed, err.Error())
		return
	}
	if f.answerND(p, pk) {
		return
	}
	if frame[0]&1 != 0 {
		f.drop(p.name(), ReasonBroadcast, pk.String())
		return
	}
	if !p.frags.complete(&pk.header) {
		f.drop(p.name(), ReasonMalformed, pk.String())
		return
	}
	if f.faults.Load().loses() {
		f.drop(p.name(), ReasonLoss, pk.String())
		return
	}
	switch p.kind {
	case portENI:
		f.fromENI(p, pk)
	case portInternet:
		f.fromInternet(p, pk)
	case portCloud:
		f.fromCloud(pk)
	}
}

// fromENI carries what an instance sent.
func (f *Fabric) fromENI(p *port, pk *packet) {
	s := f.snap.Load()
	e := s.interfaces[p.eni]
	switch {
	case e == nil:
		f.drop(p.eni, ReasonNoInterface, pk.String())
		return
	case !bytes.Equal(pk.frame[6:12], e.mac), e.check && !e.holds(pk.src):
		f.drop(e.id, ReasonSourceCheck, pk.String())
		return
	case f.toService(e, pk):
		return
	case !e.flows.admits(pk, true, e.out, f.now()):
		f.drop(e.id, ReasonGroup, pk.String())
		return
	}
	h := s.route(e, pk)
	if h.reason != "" {
		f.drop(h.place, h.reason, pk.String())
		return
	}
	if h.leaves(e.subnet) && !permits(e.subnet.acl.out, &pk.header, pk.dst) {
		f.drop(e.subnet.acl.id, ReasonACL, pk.String())
		return
	}
	if len(pk.ip) > h.mtu {
		f.tooBig(e, pk, h)
		return
	}
	if h.eni == nil {
		f.leave(s, e.subnet.vpc, pk)
		return
	}
	f.deliver(e, h.eni, pk)
}

// deliver brings a packet to an interface, if its side agrees. from is the
// sending interface, nil for the internet and the router itself.
func (f *Fabric) deliver(from, to *eni, pk *packet) {
	src := routerMAC
	if from != nil && from.subnet == to.subnet {
		src = from.mac
	} else if !permits(to.subnet.acl.in, &pk.header, pk.src) {
		f.drop(to.subnet.acl.id, ReasonACL, pk.String())
		return
	}
	if to.check && !to.holds(pk.dst) {
		f.drop(to.id, ReasonSourceCheck, pk.String())
		return
	}
	if !to.flows.admits(pk, false, to.in, f.now()) {
		f.drop(to.id, ReasonGroup, pk.String())
		return
	}
	p := f.wires.Load().enis[to.id]
	if p == nil {
		f.drop(to.id, ReasonNoHost, pk.String())
		return
	}
	f.send(p, src, pk)
}

// hop is what routing decided: refused (place and reason), to an interface, or,
// with neither, out through the VPC's internet gateway.
type hop struct {
	place  string // who refuses, or who carries the packet
	reason string
	eni    *eni
	mtu    int
}

func refuse(place, reason string) hop { return hop{place: place, reason: reason} }

// leaves tells whether the packet crosses the border of the subnet.
func (h hop) leaves(s *subnet) bool { return h.eni == nil || h.eni.subnet != s }

// route decides where a packet of interface e goes. A frame addressed to the MAC
// of a neighbour in the subnet goes there, whatever its destination address is.
func (s *snapshot) route(e *eni, pk *packet) hop {
	sub := e.subnet
	if to := sub.byMAC[[6]byte(pk.frame[:6])]; to != nil {
		return hop{place: sub.id, eni: to, mtu: mtuRegion}
	}
	r, ok := sub.table.lookup(pk.dst)
	if !ok {
		return refuse(sub.table.id, ReasonNoRoute)
	}
	if r.Blackhole {
		return refuse(sub.table.id, ReasonBlackhole)
	}
	switch r.Kind {
	case ec2sim.TargetLocal:
		return sub.vpc.local(pk.dst, sub.id)
	case ec2sim.TargetENI:
		to := s.interfaces[r.Target]
		if to == nil || to.subnet.vpc != sub.vpc {
			return refuse(sub.table.id, ReasonBlackhole)
		}
		return hop{place: sub.id, eni: to, mtu: mtuRegion}
	case ec2sim.TargetPeering:
		return s.cross(r.Target, sub, &pk.header)
	case ec2sim.TargetInternet:
		if r.Target != sub.vpc.gateway {
			return refuse(sub.table.id, ReasonBlackhole)
		}
		return hop{place: r.Target, mtu: mtuInternet}
	}
	return refuse(sub.table.id, ReasonTarget)
}

// local finds the holder of an address of the VPC; carrier is the place of what
// is too big on the way.
func (v *vpc) local(dst netip.Addr, carrier string) hop {
	if to := v.hosts[dst]; to != nil {
		return hop{place: carrier, eni: to, mtu: mtuRegion}
	}
	for _, s := range v.subnets {
		if s.prefix.Contains(dst) {
			return refuse(s.id, ReasonNoHost)
		}
	}
	return refuse(v.id, ReasonNoHost)
}

// cross passes a packet over a peering: only between the prefixes of the two
// VPCs, and only to an interface there. That is why nothing transits, and why
// the gateways of the other VPC are out of reach.
func (s *snapshot) cross(id string, sub *subnet, h *header) hop {
	p := s.peerings[id]
	if p == nil {
		return refuse(sub.table.id, ReasonBlackhole)
	}
	far := p.sides[0]
	if far == sub.vpc {
		far = p.sides[1]
	}
	switch {
	case !p.active || far == nil || p.sides[0] != sub.vpc && p.sides[1] != sub.vpc:
		return refuse(p.id, ReasonPeerDown)
	case !sub.vpc.holds(h.src):
		return refuse(p.id, ReasonPeerSource)
	case !far.holds(h.dst):
		return refuse(p.id, ReasonPeerDest)
	}
	out := far.local(h.dst, p.id)
	if p.interRegion {
		out.mtu = mtuInterReg
	}
	return out
}
