package fabric

import "encoding/binary"

// quoteMax is how much of a packet an ICMP error carries back, such that the
// whole stays within 576 bytes (RFC 1812, 4.3.2.3).
const quoteMax = 576 - 28

// tooBig refuses a packet above the path's MTU. The sender is told unless the
// no-frag-needed fault is on or the packet may be fragmented, which this router
// never does. The ICMP message passes the subnet's ACL and the interface's
// groups like any other, as part of the flow it is about.
func (f *Fabric) tooBig(e *eni, pk *packet, h hop) {
	f.drop(h.place, ReasonMTU, pk.String())
	if !pk.df || f.faults.Load().quietMTU {
		return
	}
	frame := fragNeeded(e, pk, h.mtu)
	if pk.v6 {
		frame = tooBig6(pk, h.mtu)
	}
	var answer packet
	if err := answer.parseFrame(frame); err != nil {
		f.opt.Logf("fabric: build fragmentation needed: %v", err)
		return
	}
	f.deliver(nil, e, &answer)
}

// fragNeeded builds ICMP type 3 code 4 from the subnet's router to the sender.
func fragNeeded(e *eni, pk *packet, mtu int) []byte {
	quote := pk.ip[:min(len(pk.ip), quoteMax)]
	frame := make([]byte, ethLen+28+len(quote))
	binary.BigEndian.PutUint16(frame[12:], etherIPv4)
	ip := frame[ethLen:]
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	ip[8], ip[9] = 64, protoICMP
	copy(ip[12:], e.subnet.router().AsSlice())
	copy(ip[16:], pk.src.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:20], 0))
	message := ip[20:]
	message[0], message[1] = 3, 4
	binary.BigEndian.PutUint16(message[6:], uint16(mtu))
	copy(message[8:], quote)
	binary.BigEndian.PutUint16(message[2:], checksum(message, 0))
	return frame
}

// tooBig6 builds ICMPv6 type 2 (RFC 4443); the whole stays within 1280 bytes.
func tooBig6(pk *packet, mtu int) []byte {
	body := binary.BigEndian.AppendUint32(nil, uint32(mtu))
	body = append(body, pk.ip[:min(len(pk.ip), 1280-48)]...)
	return icmp6Frame(2, 0, routerLinkLocal, pk.src, 64, body)
}
