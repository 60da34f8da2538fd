package masq

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Netlink attributes as bytes. Everything encoded here is one element, rule or set and
// far below the 65,535 bytes that an attribute's length can say; a set's elements are
// never put into one attribute, whose length would silently wrap.

const attrHeader = 4

// header is the nfgenmsg in front of every netfilter message.
func header(family uint8, resource uint16) []byte {
	return []byte{family, unix.NFNETLINK_V0, byte(resource >> 8), byte(resource)}
}

// appendAttr encodes one attribute, padded.
func appendAttr(b []byte, typ uint16, data []byte) []byte {
	b, at := begin(b, typ)
	return end(append(b, data...), at)
}

// begin opens an attribute, end closes it: what is appended between them is its data.
func begin(b []byte, typ uint16) ([]byte, int) {
	b = binary.NativeEndian.AppendUint16(b, 0)
	b = binary.NativeEndian.AppendUint16(b, typ)
	return b, len(b) - attrHeader
}

func end(b []byte, at int) []byte {
	binary.NativeEndian.PutUint16(b[at:], uint16(len(b)-at))
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func appendStr(b []byte, typ uint16, s string) []byte {
	b, at := begin(b, typ)
	return end(append(append(b, s...), 0), at)
}

// attr is one attribute by itself.
func attr(typ uint16, data []byte) []byte { return appendAttr(nil, typ, data) }

// nest encodes an attribute that holds attributes.
func nest(typ uint16, parts ...[]byte) []byte {
	return attr(typ|unix.NLA_F_NESTED, bytes.Join(parts, nil))
}

func attr32(typ uint16, v uint32) []byte  { return attr(typ, binary.BigEndian.AppendUint32(nil, v)) }
func attr64(typ uint16, v uint64) []byte  { return attr(typ, binary.BigEndian.AppendUint64(nil, v)) }
func attrStr(typ uint16, s string) []byte { return appendStr(nil, typ, s) }

// field is one decoded attribute.
type field struct {
	typ    uint16
	nested bool
	data   []byte
}

// list decodes attributes in order; what is cut off at the end is left out.
func list(b []byte) []field {
	var out []field
	for len(b) >= attrHeader {
		n := int(binary.NativeEndian.Uint16(b))
		if n < attrHeader || n > len(b) {
			break
		}
		typ := binary.NativeEndian.Uint16(b[2:])
		out = append(out, field{
			typ:    typ &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER),
			nested: typ&unix.NLA_F_NESTED != 0,
			data:   b[attrHeader:n],
		})
		b = b[min((n+3)&^3, len(b)):]
	}
	return out
}

// fields decodes attributes by type; the last of a type wins.
func fields(b []byte) map[uint16][]byte {
	out := make(map[uint16][]byte)
	for _, f := range list(b) {
		out[f.typ] = f.data
	}
	return out
}

// text reads a NUL-terminated string.
func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

func num32(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func num64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// holds reports whether every attribute of want is in got with the same value. The kernel
// adds attributes to what it was given (handles, defaults), so got may have more; with
// strict only such as are zero: a default. Lists must have the same length.
func holds(got, want []byte, strict bool) bool {
	g, w := list(got), list(want)
	if isList(w) {
		if len(g) != len(w) {
			return false
		}
		for i := range w {
			if !sameField(g[i], w[i], strict) {
				return false
			}
		}
		return true
	}
	wanted := make(map[uint16]field, len(w))
	for _, f := range w {
		wanted[f.typ] = f
	}
	for _, gf := range g {
		wf, ok := wanted[gf.typ]
		delete(wanted, gf.typ)
		switch {
		case ok && !sameField(gf, wf, strict):
			return false
		case !ok && strict && len(bytes.Trim(gf.data, "\x00")) > 0:
			return false
		}
	}
	return len(wanted) == 0
}

func sameField(got, want field, strict bool) bool {
	if got.typ != want.typ {
		return false
	}
	if want.nested {
		return holds(got.data, want.data, strict)
	}
	return bytes.Equal(got.data, want.data)
}

// isList reports whether fs is a list of elements rather than a structure whose first
// field happens to have type 1.
func isList(fs []field) bool {
	for _, f := range fs {
		if f.typ != unix.NFTA_LIST_ELEM || !f.nested {
			return false
		}
	}
	return len(fs) > 0
}
