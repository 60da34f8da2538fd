package fabric

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
)

// routerMAC is the router's address on every wire.
var routerMAC = net.HardwareAddr{0x02, 0xfa, 0xb0, 0x00, 0x00, 0x01}

// outsideRouter is the gateway of internet hosts and of the cloud namespace.
var outsideRouter = netip.MustParseAddr("169.254.0.1")

const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
	arpLen    = 28
)

// router is the address of the VPC router in a subnet: its first one.
func (s *subnet) router() netip.Addr { return s.prefix.Masked().Addr().Next() }

// answerARP answers requests as AWS does: for every address of the subnet, held
// or not, and for the link-local services; never for an address of the asking
// interface. Outside a VPC every address is behind the router.
func (f *Fabric) answerARP(p *port, frame []byte) {
	if len(frame) < ethLen+arpLen {
		return
	}
	arp := frame[ethLen : ethLen+arpLen]
	if !bytes.Equal(arp[:8], []byte{0, 1, 8, 0, 6, 4, 0, 1}) { // Ethernet, IPv4, request
		return
	}
	target, _ := netip.AddrFromSlice(arp[24:28])
	mac := f.resolve(p, target)
	if mac == nil {
		return
	}
	out := make([]byte, ethLen+arpLen)
	copy(out, frame[6:12])
	copy(out[6:], mac)
	binary.BigEndian.PutUint16(out[12:], etherARP)
	reply := out[ethLen:]
	copy(reply, arp[:8])
	reply[7] = 2
	copy(reply[8:], mac)
	copy(reply[14:], arp[24:28])
	copy(reply[18:], arp[8:18])
	if _, err := p.file.Write(out); err != nil && !errors.Is(err, os.ErrClosed) {
		f.opt.Logf("fabric: answer ARP on %s in %s: %v", p.ifname, p.ns, err)
	}
}

// resolve finds the MAC to answer with, or nil.
func (f *Fabric) resolve(p *port, target netip.Addr) net.HardwareAddr {
	if p.kind != portENI {
		if target == p.addr || p.kind == portCloud && (target == imdsAddr || target == resolverAddr) {
			return nil
		}
		return routerMAC
	}
	e := f.snap.Load().interfaces[p.eni]
	if e == nil || e.holds(target) {
		return nil
	}
	if target == imdsAddr || target == resolverAddr {
		return routerMAC
	}
	if !e.subnet.prefix.Contains(target) {
		return nil
	}
	if held := e.subnet.vpc.hosts[target]; held != nil && held.subnet == e.subnet {
		return held.mac
	}
	return routerMAC
}
