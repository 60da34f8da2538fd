package masq

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// kind is the type of a set's key or data, as nft numbers it (include/datatype.h).
type kind struct {
	name  string // in nft text
	typ   uint32
	bytes uint32
	order uint32 // byte order as nft wants to be told: 1 host, 2 network, 0 none
}

var (
	kindIfname = kind{"ifname", 41, 16, 1}
	kindAddr   = kind{"ipv4_addr", 7, 4, 2}
	kindMark   = kind{"mark", 19, 4, 1}
	// A concatenation has six bits of type per part, and every part fills whole words.
	kindService = kind{"ifname . inet_proto . inet_service", 41<<12 | 12<<6 | 13, 16 + 4 + 4, 0}
)

// setDef is one set or map of the skeleton.
type setDef struct {
	name     string
	key      kind
	data     kind // zero: a set
	interval bool
	counted  bool // every element counts packets and bytes
	dynamic  bool // packets add the elements, which are nobody's want
	note     string
}

// The sets, in the order of the table.
var sets = []setDef{
	{name: "tunnels", key: kindIfname, note: "tunnel interfaces"},
	{name: "leave", key: kindIfname, note: "tunnels whose other traffic is left alone"},
	{name: "origins4", key: kindAddr, interval: true, note: "pools and sites"},
	{name: "spokes4", key: kindAddr, data: kindMark, interval: true, note: "prefix to way out and spoke number"},
	{name: "out", key: kindMark, counted: true, note: "live spokes, toward them"},
	{name: "back", key: kindMark, counted: true, note: "live spokes, back from them"},
	{name: "flows", key: kindAddr, dynamic: true, note: "flows of each source"},
	{name: "address4", key: kindIfname, data: kindAddr, note: "source address by way out"},
	{name: "hub_ports", key: kindService, note: "what a tunnel may open on the hub"},
	{name: "hub_echo", key: kindIfname, note: "tunnels that may ping the hub"},
}

// dynamicSize is how many elements a dynamic set has room for. Sources beyond are not counted.
const dynamicSize = 65535

func setByName(name string) (setDef, bool) {
	i := slices.IndexFunc(sets, func(d setDef) bool { return d.name == name })
	if i < 0 {
		return setDef{}, false
	}
	return sets[i], true
}

// flags are the set's NFT_SET_* bits.
func (d setDef) flags() uint32 {
	var f uint32
	if d.interval {
		f |= unix.NFT_SET_INTERVAL
	}
	if d.data.bytes > 0 {
		f |= unix.NFT_SET_MAP
	}
	if d.dynamic {
		f |= unix.NFT_SET_EVAL
	}
	return f
}

// User data of a set as nft reads it (include/udata.h): without the byte orders it prints
// numbers swapped and names empty, or aborts.
const (
	udataKeyOrder  = 0
	udataDataOrder = 1
	udataDataRange = 6
	udataSetNote   = 7
)

func udata(typ byte, value []byte) []byte {
	return append([]byte{typ, byte(len(value))}, value...)
}

// note is a comment in the user data of a table, a rule or an element (type 0), or a set.
func note(typ byte, s string) []byte { return appendNote(nil, typ, s) }

func appendNote(b []byte, typ byte, s string) []byte {
	const most = 254 // the length is one byte, and there is an end
	s = s[:min(len(s), most)]
	return append(append(append(b, typ, byte(len(s)+1)), s...), 0)
}

// attributes describe the set as NEWSET wants it and GETSET returns it.
func (d setDef) attributes() []byte {
	b := slices.Concat(
		attrStr(unix.NFTA_SET_NAME, d.name),
		attr32(unix.NFTA_SET_FLAGS, d.flags()),
		attr32(unix.NFTA_SET_KEY_TYPE, d.key.typ),
		attr32(unix.NFTA_SET_KEY_LEN, d.key.bytes),
	)
	if d.data.bytes > 0 {
		b = slices.Concat(b, attr32(unix.NFTA_SET_DATA_TYPE, d.data.typ), attr32(unix.NFTA_SET_DATA_LEN, d.data.bytes))
	}
	if d.counted {
		b = append(b, nest(attrSetExpr, attrStr(unix.NFTA_EXPR_NAME, "counter"))...)
	}
	if d.dynamic {
		b = append(b, nest(unix.NFTA_SET_DESC, attr32(unix.NFTA_SET_DESC_SIZE, dynamicSize))...)
	}
	return b
}

// userdata is what nft needs to print the set. Packets do not depend on it, and newer
// releases of nft write more, so it is no part of what a set is compared by.
func (d setDef) userdata() []byte {
	b := udata(udataKeyOrder, host(d.key.order))
	if d.data.bytes > 0 {
		b = slices.Concat(b, udata(udataDataOrder, host(d.data.order)), udata(udataDataRange, host(0)))
	}
	return append(b, note(udataSetNote, d.note)...)
}

// element is one element of a set, in nft's own words.
type element struct {
	set     string
	key     string // tun0, 10.1.0.0/16, 0x01000007, tun0 . tcp . 53
	data    string // 0x01000007, 10.0.0.10; "" in a set
	comment string
	packets uint64 // counted sets
	bytes   uint64
}

// objectKey is an element's identity in the plane, elementValue its canonical value.
func objectKey(set, key string) string { return elementPrefix + set + " " + key }

const elementPrefix = "element "

func elementValue(data, comment string) string {
	switch {
	case comment == "":
		return data
	case data == "":
		return strconv.Quote(comment)
	}
	return data + " " + strconv.Quote(comment)
}

// elementOf is the reverse of objectKey and elementValue.
func elementOf(object, value string) (element, error) {
	name, isElement := strings.CutPrefix(object, elementPrefix)
	set, key, hasKey := strings.Cut(name, " ")
	if !isElement || !hasKey {
		return element{}, fmt.Errorf("%q names no set element", object)
	}
	e := element{set: set, key: key}
	if i := strings.IndexByte(value, '"'); i >= 0 {
		c, err := strconv.Unquote(value[i:])
		if err != nil {
			return element{}, fmt.Errorf("comment of %s: %w", object, err)
		}
		e.comment, value = c, strings.TrimSuffix(value[:i], " ")
	}
	e.data = value
	return e, nil
}
