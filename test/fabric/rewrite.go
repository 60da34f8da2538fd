package fabric

import (
	"encoding/binary"
	"net/netip"
)

// rewriteSource and rewriteDest change an IPv4 address as an internet gateway
// does: the header, its checksum, the checksum of the transport, and in an ICMP
// error the same address inside the packet it carries.
func (pk *packet) rewriteSource(to netip.Addr) {
	pk.rewrite(12, to)
	pk.src = to
}

func (pk *packet) rewriteDest(to netip.Addr) {
	pk.rewrite(16, to)
	pk.dst = to
}

// rewrite replaces the address at byte offset at (12 source, 16 destination).
func (pk *packet) rewrite(at int, to netip.Addr) {
	var from, into [4]byte
	copy(from[:], pk.ip[at:at+4])
	into = to.As4()
	if from == into {
		return
	}
	copy(pk.ip[at:], into[:])
	fix(pk.ip[10:12], from, into)
	if !pk.first {
		return
	}
	if pk.isICMPError() {
		pk.rewriteQuoted(at, from, into)
		return
	}
	fixTransport(pk.proto, pk.payload(), from, into)
}

// rewriteQuoted follows a changed address into the packet that an ICMP error
// quotes: what is the source outside is the destination inside, and the reverse.
func (pk *packet) rewriteQuoted(at int, from, into [4]byte) {
	message := pk.payload()
	if len(message) < 8+20 {
		return
	}
	quoted := message[8:]
	inner := 28 - at // 12 <-> 16
	if [4]byte(quoted[inner:inner+4]) != from {
		return
	}
	copy(quoted[inner:], into[:])
	fix(quoted[10:12], from, into)
	if hlen := int(quoted[0]&15) * 4; hlen >= 20 && hlen <= len(quoted) {
		fixTransport(quoted[9], quoted[hlen:], from, into)
	}
	message[2], message[3] = 0, 0
	binary.BigEndian.PutUint16(message[2:], checksum(message, 0))
}

// fixTransport adjusts the checksum of TCP or UDP, which covers the addresses.
// The transport header may be cut off.
func fixTransport(proto uint8, b []byte, from, into [4]byte) {
	switch {
	case proto == protoTCP && len(b) >= 18:
		fix(b[16:18], from, into)
	case proto == protoUDP && len(b) >= 8:
		if b[6] == 0 && b[7] == 0 { // no checksum (RFC 768)
			return
		}
		fix(b[6:8], from, into)
		if b[6] == 0 && b[7] == 0 {
			b[6], b[7] = 0xff, 0xff
		}
	}
}

// fix updates a checksum for four changed bytes (RFC 1624, equation 3).
func fix(sum []byte, from, into [4]byte) {
	s := uint32(^binary.BigEndian.Uint16(sum))
	for i := 0; i < 4; i += 2 {
		s += uint32(^binary.BigEndian.Uint16(from[i:]))
		s += uint32(binary.BigEndian.Uint16(into[i:]))
	}
	binary.BigEndian.PutUint16(sum, fold(s))
}

// checksum is the internet checksum (RFC 1071) of b on top of a partial sum.
func checksum(b []byte, partial uint32) uint16 {
	for len(b) >= 2 {
		partial += uint32(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		partial += uint32(b[0]) << 8
	}
	return fold(partial)
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// setTTL changes the TTL of an IPv4 packet.
func (pk *packet) setTTL(ttl uint8) {
	from := [4]byte{pk.ip[8], pk.ip[9]}
	pk.ip[8] = ttl
	fix(pk.ip[10:12], from, [4]byte{pk.ip[8], pk.ip[9]})
}
