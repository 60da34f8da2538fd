package fabric

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// IP protocol numbers the router looks into.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

const ethLen = 14 // an Ethernet header without VLAN tag

// header is what the rules look at. Port fields are zero for protocols without
// ports; for ICMP, kind and code are set and an echo's id is in id.
type header struct {
	v6               bool
	src, dst         netip.Addr
	proto            uint8
	hlen, total      int // bytes of the IP header, of the packet as the header states it
	df               bool
	first, more      bool // fragment bits: first is true for unfragmented packets
	fragID           uint32
	known            bool // the transport fields below are known
	srcPort, dstPort uint16
	kind, code       uint8
	id               uint16
}

// packet is one IP packet inside its Ethernet frame. It lives in the buffer of
// the port that read it and is changed in place.
type packet struct {
	header
	frame []byte
	ip    []byte // the packet without padding; aliases frame
}

var errShort = errors.New("short packet")

// parseFrame reads the IP packet in frame.
func (pk *packet) parseFrame(frame []byte) error {
	pk.frame, pk.ip = frame, nil
	if err := pk.header.parse(frame[ethLen:]); err != nil {
		return err
	}
	if pk.total < pk.hlen || pk.total > len(frame)-ethLen {
		return errShort
	}
	pk.frame = frame[:ethLen+pk.total]
	pk.ip = pk.frame[ethLen:]
	return nil
}

// parse reads the headers at the start of b, which may be cut off after them, as
// in the payload of an ICMP error.
func (h *header) parse(b []byte) error {
	*h = header{}
	if len(b) < 20 {
		return errShort
	}
	switch b[0] >> 4 {
	case 4:
		h.hlen = int(b[0]&15) * 4
		if h.hlen < 20 || len(b) < h.hlen {
			return errShort
		}
		h.total = int(binary.BigEndian.Uint16(b[2:]))
		frag := binary.BigEndian.Uint16(b[6:])
		h.df = frag&0x4000 != 0
		h.more = frag&0x2000 != 0
		h.first = frag&0x1fff == 0
		h.fragID = uint32(binary.BigEndian.Uint16(b[4:]))
		h.proto = b[9]
		h.src, _ = netip.AddrFromSlice(b[12:16])
		h.dst, _ = netip.AddrFromSlice(b[16:20])
	case 6:
		if len(b) < 40 {
			return errShort
		}
		h.v6, h.df, h.first = true, true, true
		h.hlen, h.total = 40, 40+int(binary.BigEndian.Uint16(b[4:]))
		h.src, _ = netip.AddrFromSlice(b[8:24])
		h.dst, _ = netip.AddrFromSlice(b[24:40])
		if err := h.skipExtensions(b[6], b); err != nil {
			return err
		}
	default:
		return fmt.Errorf("IP version %d", b[0]>>4)
	}
	if h.first && h.total >= h.hlen {
		h.parseTransport(b[h.hlen:min(h.total, len(b))])
	}
	return nil
}

// skipExtensions moves hlen behind the extension headers of an IPv6 packet
// (RFC 8200, 4), of which the first has number next.
func (h *header) skipExtensions(next uint8, b []byte) error {
	for {
		h.proto = next
		if !h.first || next != 0 && next != 43 && next != 44 && next != 60 {
			return nil
		}
		if len(b) < h.hlen+8 {
			return errShort
		}
		ext := b[h.hlen:]
		length := 8 + 8*int(ext[1])
		if next == 44 {
			length = 8
			offset := binary.BigEndian.Uint16(ext[2:])
			h.first, h.more = offset&0xfff8 == 0, offset&1 != 0
			h.fragID = binary.BigEndian.Uint32(ext[4:])
		}
		h.hlen += length
		if len(b) < h.hlen {
			return errShort
		}
		next = ext[0]
	}
}

func (h *header) parseTransport(b []byte) {
	switch h.proto {
	case protoTCP, protoUDP:
		if len(b) < 4 {
			return
		}
		h.srcPort, h.dstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	case protoICMP, protoICMPv6:
		if len(b) < 8 {
			return
		}
		h.kind, h.code = b[0], b[1]
		if h.isEcho() {
			h.id = binary.BigEndian.Uint16(b[4:])
		}
	}
	h.known = true
}

func (h *header) isICMP() bool {
	return !h.v6 && h.proto == protoICMP || h.v6 && h.proto == protoICMPv6
}

func (h *header) isEcho() bool { return h.isEchoRequest() || h.isEchoReply() }

func (h *header) isEchoRequest() bool {
	return h.isICMP() && (!h.v6 && h.kind == 8 || h.v6 && h.kind == 128)
}

func (h *header) isEchoReply() bool {
	return h.isICMP() && (!h.v6 && h.kind == 0 || h.v6 && h.kind == 129)
}

// isICMPError tells messages that carry the packet they complain about.
func (h *header) isICMPError() bool {
	if !h.isICMP() || !h.known {
		return false
	}
	if h.v6 {
		return h.kind >= 1 && h.kind <= 4
	}
	return h.kind == 3 || h.kind == 4 || h.kind == 5 || h.kind == 11 || h.kind == 12
}

// payload is what follows the IP header.
func (pk *packet) payload() []byte { return pk.ip[pk.hlen:] }

// String is the form used in Drop.Last: "proto src:port > dst:port".
func (h *header) String() string {
	switch {
	case h.isICMP() && h.known:
		return fmt.Sprintf("icmp %s > %s type %d code %d", h.src, h.dst, h.kind, h.code)
	case h.proto == protoTCP && h.known:
		return fmt.Sprintf("tcp %s > %s", netip.AddrPortFrom(h.src, h.srcPort), netip.AddrPortFrom(h.dst, h.dstPort))
	case h.proto == protoUDP && h.known:
		return fmt.Sprintf("udp %s > %s", netip.AddrPortFrom(h.src, h.srcPort), netip.AddrPortFrom(h.dst, h.dstPort))
	case !h.first:
		return fmt.Sprintf("fragment of proto %d %s > %s", h.proto, h.src, h.dst)
	}
	return fmt.Sprintf("proto %d %s > %s", h.proto, h.src, h.dst)
}
