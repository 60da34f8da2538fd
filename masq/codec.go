package masq

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// appendElement encodes the element for one message: with its data, comment and counter to
// add it, without to delete it. An interval is two elements: where it begins and where it
// ends.
func (d setDef) appendElement(b []byte, e element, add bool) ([]byte, error) {
	const nested = unix.NLA_F_NESTED
	from, to, err := d.key.encode(e.key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", objectKey(e.set, e.key), err)
	}
	b, elem := begin(b, unix.NFTA_LIST_ELEM|nested)
	b = appendValue(b, unix.NFTA_SET_ELEM_KEY, from)
	if add && d.data.bytes > 0 {
		data, _, err := d.data.encode(e.data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", objectKey(e.set, e.key), err)
		}
		b = appendValue(b, unix.NFTA_SET_ELEM_DATA, data)
	}
	if add && e.comment != "" {
		var at int
		b, at = begin(b, unix.NFTA_SET_ELEM_USERDATA)
		b = end(appendNote(b, 0, e.comment), at)
	}
	if add && d.counted {
		b = append(b, nest(unix.NFTA_SET_ELEM_EXPR, attrStr(unix.NFTA_EXPR_NAME, "counter"),
			nest(unix.NFTA_EXPR_DATA, attr64(unix.NFTA_COUNTER_BYTES, e.bytes), attr64(unix.NFTA_COUNTER_PACKETS, e.packets)))...)
	}
	b = end(b, elem)
	if d.interval && to != nil {
		b, elem = begin(b, unix.NFTA_LIST_ELEM|nested)
		b = appendValue(b, unix.NFTA_SET_ELEM_KEY, to)
		b = append(b, intervalEnd...)
		b = end(b, elem)
	}
	return b, nil
}

var intervalEnd = attr32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)

// appendValue encodes a key or data.
func appendValue(b []byte, typ uint16, v []byte) []byte {
	b, at := begin(b, typ|unix.NLA_F_NESTED)
	return end(appendAttr(b, unix.NFTA_DATA_VALUE, v), at)
}

// encode turns text into bytes. to is the first address after a prefix or range, nil where
// there is none.
func (k kind) encode(s string) (from, to []byte, err error) {
	switch k {
	case kindIfname:
		if s == "" || len(s) >= unix.IFNAMSIZ {
			return nil, nil, fmt.Errorf("%q is no interface name", s)
		}
		return append([]byte(s), make([]byte, unix.IFNAMSIZ-len(s))...), nil, nil
	case kindMark:
		v, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 32)
		if err != nil {
			return nil, nil, fmt.Errorf("mark %q: %w", s, err)
		}
		return host(uint32(v)), nil, nil
	case kindAddr:
		first, last, err := addrRange(s)
		if err != nil {
			return nil, nil, err
		}
		if next := last.Next(); next.IsValid() {
			to = next.AsSlice()
		}
		return first.AsSlice(), to, nil
	case kindService:
		return encodeService(s)
	}
	return nil, nil, fmt.Errorf("no encoding for %q", s)
}

// addrRange reads an IPv4 address, prefix or range A-B.
func addrRange(s string) (first, last netip.Addr, err error) {
	if a, b, ok := strings.Cut(s, "-"); ok {
		first, err = netip.ParseAddr(a)
		if err == nil {
			last, err = netip.ParseAddr(b)
		}
	} else if strings.Contains(s, "/") {
		var p netip.Prefix
		if p, err = netip.ParsePrefix(s); err == nil {
			first, last = p.Masked().Addr(), lastAddr(p)
		}
	} else {
		first, err = netip.ParseAddr(s)
		last = first
	}
	if err == nil && (!first.Is4() || !last.Is4()) {
		err = fmt.Errorf("%q is not IPv4", s)
	}
	return first, last, err
}

// overlap reports whether two ranges have an address in common.
func overlap(a, b string) bool {
	aFirst, aLast, aErr := addrRange(a)
	bFirst, bLast, bErr := addrRange(b)
	return aErr == nil && bErr == nil && aFirst.Compare(bLast) <= 0 && bFirst.Compare(aLast) <= 0
}

func lastAddr(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() {
		return p.Addr()
	}
	b := p.Masked().Addr().As4()
	v := binary.BigEndian.Uint32(b[:]) | uint32(uint64(1)<<(32-p.Bits())-1)
	binary.BigEndian.PutUint32(b[:], v)
	return netip.AddrFrom4(b)
}

var protoNumber = map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP}

// encodeService reads "IFNAME . PROTO . PORT".
func encodeService(s string) (key, none []byte, err error) {
	parts := strings.Split(s, " . ")
	if len(parts) != 3 {
		return nil, nil, fmt.Errorf("%q is no service", s)
	}
	name, _, err := kindIfname.encode(parts[0])
	if err != nil {
		return nil, nil, err
	}
	p, ok := protoNumber[parts[1]]
	if !ok {
		n, err := strconv.ParseUint(parts[1], 10, 8)
		if err != nil {
			return nil, nil, fmt.Errorf("protocol of %q: %w", s, err)
		}
		p = byte(n)
	}
	port, err := strconv.ParseUint(parts[2], 10, 16)
	if err != nil {
		return nil, nil, fmt.Errorf("port of %q: %w", s, err)
	}
	return slices.Concat(name, []byte{p, 0, 0, 0, byte(port >> 8), byte(port), 0, 0}), nil, nil
}

// decode turns bytes into text; odd bytes come out as hexadecimal, which no want has.
func (k kind) decode(b []byte) string {
	switch {
	case uint32(len(b)) != k.bytes:
	case k == kindIfname:
		return text(b)
	case k == kindMark:
		return markText(binary.NativeEndian.Uint32(b))
	case k == kindAddr:
		return netip.AddrFrom4([4]byte(b)).String()
	case k == kindService:
		p := strconv.Itoa(int(b[16]))
		for name, n := range protoNumber {
			if n == b[16] {
				p = name
			}
		}
		return text(b[:16]) + " . " + p + " . " + strconv.Itoa(int(binary.BigEndian.Uint16(b[20:])))
	}
	return fmt.Sprintf("%x", b)
}

func markText(m uint32) string {
	const digits = "0123456789abcdef"
	b := []byte("0x00000000")
	for i := 9; i > 1; i-- {
		b[i] = digits[m&0xf]
		m >>= 4
	}
	return string(b)
}

// decodeAll reads the elements of a set's GETSETELEM messages.
func (d setDef) decodeAll(msgs [][]byte) []element {
	var edges []edge
	for _, m := range msgs {
		for _, f := range list(fields(m)[unix.NFTA_SET_ELEM_LIST_ELEMENTS]) {
			edges = append(edges, d.decodeEdge(f.data))
		}
	}
	if !d.interval {
		out := make([]element, len(edges))
		for i, e := range edges {
			out[i] = e.element
			out[i].key = d.key.decode(e.at)
		}
		return out
	}
	return joinEdges(edges)
}

// edge is one element as the kernel has it.
type edge struct {
	element
	at  []byte
	end bool
}

func (d setDef) decodeEdge(b []byte) edge {
	e := edge{element: element{set: d.name}}
	for _, f := range list(b) {
		switch f.typ {
		case unix.NFTA_SET_ELEM_KEY:
			e.at = fields(f.data)[unix.NFTA_DATA_VALUE]
		case unix.NFTA_SET_ELEM_DATA:
			e.data = d.data.decode(fields(f.data)[unix.NFTA_DATA_VALUE])
		case unix.NFTA_SET_ELEM_FLAGS:
			e.end = num32(f.data)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		case unix.NFTA_SET_ELEM_USERDATA:
			e.comment = noteOf(f.data)
		case unix.NFTA_SET_ELEM_EXPR:
			c := fields(fields(f.data)[unix.NFTA_EXPR_DATA])
			e.packets, e.bytes = num64(c[unix.NFTA_COUNTER_PACKETS]), num64(c[unix.NFTA_COUNTER_BYTES])
		}
	}
	return e
}

// noteOf finds the comment (type 0) in user data.
func noteOf(ud []byte) string {
	for len(ud) >= 2 && len(ud) >= 2+int(ud[1]) {
		if ud[0] == 0 {
			return text(ud[2 : 2+int(ud[1])])
		}
		ud = ud[2+int(ud[1]):]
	}
	return ""
}

// joinEdges makes prefixes and ranges of beginnings and ends.
func joinEdges(edges []edge) []element {
	slices.SortStableFunc(edges, func(a, b edge) int {
		if c := bytes.Compare(a.at, b.at); c != 0 || a.end == b.end {
			return c
		}
		if a.end {
			return -1
		}
		return 1
	})
	var out []element
	var open *edge
	closeAt := func(next []byte) {
		if open != nil {
			e := open.element
			e.key = rangeText(open.at, next)
			out = append(out, e)
			open = nil
		}
	}
	for i := range edges {
		closeAt(edges[i].at)
		if !edges[i].end {
			open = &edges[i]
		}
	}
	closeAt(nil)
	return out
}

// rangeText names the addresses from up to, and not including, next (nil: to the last one).
func rangeText(from, next []byte) string {
	if len(from) != 4 || (next != nil && len(next) != 4) {
		return fmt.Sprintf("%x-%x", from, next)
	}
	first, last := netip.AddrFrom4([4]byte(from)), netip.AddrFrom4([4]byte{255, 255, 255, 255})
	if next != nil {
		last = netip.AddrFrom4([4]byte(next)).Prev()
	}
	size := uint64(binary.BigEndian.Uint32(last.AsSlice())) - uint64(binary.BigEndian.Uint32(from)) + 1
	for bits := 32; bits >= 0; bits-- {
		if p := netip.PrefixFrom(first, bits); size == uint64(1)<<(32-bits) && p.Masked() == p {
			return p.String()
		}
	}
	return first.String() + "-" + last.String()
}
