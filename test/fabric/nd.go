package fabric

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
)

// ICMPv6 types of neighbour discovery (RFC 4861) and of multicast listeners.
const (
	ndRouterSolicit    = 133
	ndRouterAdvert     = 134
	ndNeighbourSolicit = 135
	ndNeighbourAdvert  = 136
	mldReport1         = 131
	mldDone            = 132
	mldReport2         = 143
)

var (
	routerLinkLocal = netip.MustParseAddr("fe80::fa:b0ff:fe00:1") // routerMAC as EUI-64
	allNodes        = netip.MustParseAddr("ff02::1")
)

// answerND does for IPv6 what answerARP does for IPv4, and names the router to
// who asks for one: managed addresses, no prefixes, as AWS does. True: the packet
// belonged to the link and goes no further.
func (f *Fabric) answerND(p *port, pk *packet) bool {
	if !pk.v6 || !pk.isICMP() || !pk.known {
		return false
	}
	switch pk.kind {
	case mldReport1, mldDone, mldReport2, ndNeighbourAdvert, ndRouterAdvert:
		return true
	case ndRouterSolicit:
		if p.kind == portENI {
			body := []byte{64, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // hop limit, managed, lifetime below
			binary.BigEndian.PutUint16(body[2:], 1800)
			f.sendND(p, pk, ndRouterAdvert, routerLinkLocal, append(body, linkLayer(1, routerMAC)...))
		}
		return true
	case ndNeighbourSolicit:
		if len(pk.payload()) < 24 || pk.src.IsUnspecified() {
			return true
		}
		target, _ := netip.AddrFromSlice(pk.payload()[8:24])
		if mac := f.neighbour(p, target); mac != nil {
			body := append([]byte{0x60, 0, 0, 0}, target.AsSlice()...) // solicited, override
			f.sendND(p, pk, ndNeighbourAdvert, target, append(body, linkLayer(2, mac)...))
		}
		return true
	}
	return false
}

// neighbour finds the MAC to answer with, or nil: the router itself, and every
// IPv6 address of the VPC but the asker's own.
func (f *Fabric) neighbour(p *port, target netip.Addr) net.HardwareAddr {
	e := f.snap.Load().interfaces[p.eni]
	switch {
	case p.kind != portENI || e == nil:
		return nil
	case target == routerLinkLocal:
		return routerMAC
	case e.holds(target) || !e.subnet.vpc.holds(target):
		return nil
	}
	if held := e.subnet.vpc.hosts[target]; held != nil && held.subnet == e.subnet {
		return held.mac
	}
	return routerMAC
}

// linkLayer is the option that carries a MAC: 1 of the source, 2 of the target.
func linkLayer(kind byte, mac net.HardwareAddr) []byte { return append([]byte{kind, 1}, mac...) }

// sendND answers a neighbour discovery packet on the port it came from.
func (f *Fabric) sendND(p *port, question *packet, kind byte, src netip.Addr, body []byte) {
	dst := question.src
	if dst.IsUnspecified() {
		dst = allNodes
	}
	frame := icmp6Frame(kind, 0, src, dst, 255, body)
	copy(frame, question.frame[6:12])
	copy(frame[6:], routerMAC)
	if _, err := p.file.Write(frame); err != nil && !errors.Is(err, os.ErrClosed) {
		f.opt.Logf("fabric: answer neighbour discovery on %s in %s: %v", p.ifname, p.ns, err)
	}
}

// icmp6Frame builds a frame without MACs around an ICMPv6 message.
func icmp6Frame(kind, code byte, src, dst netip.Addr, hops byte, body []byte) []byte {
	frame := make([]byte, ethLen+40+4+len(body))
	binary.BigEndian.PutUint16(frame[12:], etherIPv6)
	ip := frame[ethLen:]
	message := ip[40:]
	ip[0] = 0x60
	binary.BigEndian.PutUint16(ip[4:], uint16(len(message)))
	ip[6], ip[7] = protoICMPv6, hops
	copy(ip[8:], src.AsSlice())
	copy(ip[24:], dst.AsSlice())
	message[0], message[1] = kind, code
	copy(message[4:], body)
	pseudo := uint32(len(message)) + protoICMPv6
	for i := 8; i < 40; i += 2 {
		pseudo += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(message[2:], checksum(message, pseudo))
	return frame
}
