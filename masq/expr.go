package masq

import (
	"encoding/binary"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// step is one expression of a rule, encoded when it is asked for.
type step func() ([]byte, error)

// lib is an expression that google/nftables encodes as the kernel wants it.
func lib(e expr.Any) step {
	return func() ([]byte, error) { return expr.Marshal(unix.NFPROTO_INET, e) }
}

// own is an expression that google/nftables cannot encode in full.
func own(name string, attrs ...[]byte) step {
	return func() ([]byte, error) {
		return slices.Concat(attrStr(unix.NFTA_EXPR_NAME, name), nest(unix.NFTA_EXPR_DATA, attrs...)), nil
	}
}

// steps puts the parts of a rule together.
func steps(parts ...[]step) []step { return slices.Concat(parts...) }

// Registers as nft allots them: 16 bytes each from 1, and 4 bytes each from 8. The kernel
// prints 8 as 1, 12 as 2, and so on.
const (
	reg1   = unix.NFT_REG_1
	reg2   = unix.NFT_REG_2
	reg3   = unix.NFT_REG_3
	reg32b = unix.NFT_REG32_00 + 5 // the word after reg2's first
)

func host(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func compare(op expr.CmpOp, v []byte) step {
	return lib(&expr.Cmp{Op: op, Register: reg1, Data: v})
}

// eq and neq compare a mark or state in register 1.
func eq(v uint32) []step  { return []step{compare(expr.CmpOpEq, host(v))} }
func neq(v uint32) []step { return []step{compare(expr.CmpOpNeq, host(v))} }

// masked computes reg1 & mask.
func masked(mask uint32) step {
	return lib(&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 4, Mask: host(mask), Xor: host(0)})
}

// ctState is "ct state A,B".
func ctState(bits uint32) []step {
	return []step{lib(&expr.Ct{Key: expr.CtKeySTATE, Register: reg1}), masked(bits), compare(expr.CmpOpNeq, host(0))}
}

// ctConfirmed is IPS_CONFIRMED: the flow's first packet has left the host, or reached it.
const ctConfirmed = 1 << 3

// ctStatus is "ct status S".
func ctStatus(bits uint32) []step {
	return []step{lib(&expr.Ct{Key: expr.CtKeySTATUS, Register: reg1}), masked(bits), compare(expr.CmpOpNeq, host(0))}
}

// ctDirection is "ct direction original" (0) or "reply" (1).
func ctDirection(d byte) []step {
	return []step{lib(&expr.Ct{Key: expr.CtKeyDIRECTION, Register: reg1}), compare(expr.CmpOpEq, []byte{d})}
}

// ctMark is "ct mark & mask", wholeCtMark "ct mark".
func ctMark(mask uint32) []step { return append(wholeCtMark(), masked(mask)) }

func wholeCtMark() []step {
	return []step{lib(&expr.Ct{Key: expr.CtKeyMARK, Register: reg1})}
}

var (
	setCtMark = lib(&expr.Ct{Key: expr.CtKeyMARK, Register: reg1, SourceRegister: true})
	setMark   = lib(&expr.Meta{Key: expr.MetaKeyMARK, Register: reg1, SourceRegister: true})
)

func meta(key expr.MetaKey) []step { return []step{lib(&expr.Meta{Key: key, Register: reg1})} }

// proto is "meta l4proto P"; family is "meta nfproto F".
func proto(p byte) []step {
	return append(meta(expr.MetaKeyL4PROTO), compare(expr.CmpOpEq, []byte{p}))
}

func family(f byte) []step {
	return append(meta(expr.MetaKeyNFPROTO), compare(expr.CmpOpEq, []byte{f}))
}

// Offsets of the addresses in an IPv4 header.
const (
	saddr = 12
	daddr = 16
)

func load(base expr.PayloadBase, offset, length uint32) []step {
	return []step{lib(&expr.Payload{DestRegister: reg1, Base: base, Offset: offset, Len: length})}
}

// address loads "ip saddr" or "ip daddr".
func address(offset uint32) []step {
	return steps(family(unix.NFPROTO_IPV4), load(expr.PayloadBaseNetworkHeader, offset, 4))
}

// linkLocal is "ip daddr 169.254.0.0/16": nft loads the two bytes that count.
func linkLocal() []step {
	return steps(family(unix.NFPROTO_IPV4), load(expr.PayloadBaseNetworkHeader, daddr, 2),
		[]step{compare(expr.CmpOpEq, []byte{169, 254})})
}

// in is "@set", notIn "!= @set", mapped "map @set".
func in(set string) []step    { return []step{lookup(set, 0, false)} }
func notIn(set string) []step { return []step{lookup(set, unix.NFT_LOOKUP_F_INV, false)} }
func mapped(set string) []step {
	return []step{lookup(set, 0, true)}
}

func lookup(set string, flags uint32, data bool) step {
	attrs := [][]byte{attrStr(unix.NFTA_LOOKUP_SET, set), attr32(unix.NFTA_LOOKUP_SREG, reg1)}
	if data {
		attrs = append(attrs, attr32(unix.NFTA_LOOKUP_DREG, reg1))
	} else {
		attrs = append(attrs, attr32(unix.NFTA_LOOKUP_FLAGS, flags))
	}
	return own("lookup", attrs...)
}

// countOver is "add @set { KEY ct count over N }" for the key in register 1.
func countOver(set string, n int) []step {
	const (
		connlimitCount = 1 // NFTA_CONNLIMIT_COUNT
		connlimitFlags = 2 // NFTA_CONNLIMIT_FLAGS
		connlimitOver  = 1 // NFT_CONNLIMIT_F_INV
	)
	return []step{own("dynset", attrStr(unix.NFTA_DYNSET_SET_NAME, set), attr32(unix.NFTA_DYNSET_OP, unix.NFT_DYNSET_OP_ADD),
		attr32(unix.NFTA_DYNSET_SREG_KEY, reg1),
		nest(unix.NFTA_DYNSET_EXPR, attrStr(unix.NFTA_EXPR_NAME, "connlimit"),
			nest(unix.NFTA_EXPR_DATA, attr32(connlimitCount, uint32(n)), attr32(connlimitFlags, connlimitOver))))}
}

// iifname and oifname match an interface's name with a set.
func iifname(set string) []step { return steps(meta(expr.MetaKeyIIFNAME), in(set)) }
func oifname(set string) []step { return steps(meta(expr.MetaKeyOIFNAME), in(set)) }

// notLocal is "fib daddr type != local".
func notLocal() []step {
	return steps([]step{lib(&expr.Fib{Register: reg1, FlagDADDR: true, ResultADDRTYPE: true})}, neq(unix.RTN_LOCAL))
}

// immediate puts constant data into a register.
func immediate(reg uint32, data ...byte) step {
	return lib(&expr.Immediate{Register: reg, Data: data})
}

func verdict(kind expr.VerdictKind) []step { return []step{lib(&expr.Verdict{Kind: kind})} }

func accept() []step { return verdict(expr.VerdictAccept) }
func back() []step   { return verdict(expr.VerdictReturn) }
func jump(chain string) []step {
	return []step{lib(&expr.Verdict{Kind: expr.VerdictJump, Chain: chain})}
}

// drop is `counter name "C" drop`. The library sends the name without its end.
func drop(counter string) []step {
	return steps([]step{own("objref",
		attr32(unix.NFTA_OBJREF_IMM_TYPE, unix.NFT_OBJECT_COUNTER),
		attrStr(unix.NFTA_OBJREF_IMM_NAME, counter))}, verdict(expr.VerdictDrop))
}

// Ports of translated flows: above what daemons of the host listen on, so that a client
// cannot choose a port that shadows one of them (CVE-2021-3773).
var (
	firstPort = []byte{0x08, 0x00} // 2048
	lastPort  = []byte{0xff, 0xff}
)

const (
	natAddress     = unix.NF_NAT_RANGE_MAP_IPS
	natPorts       = unix.NF_NAT_RANGE_PROTO_SPECIFIED
	natFullyRandom = unix.NF_NAT_RANGE_PROTO_RANDOM_FULLY
	natRandom      = unix.NF_NAT_RANGE_PROTO_RANDOM // what kernels without it have
)

// snat is "snat ip to oifname map @set fully-random", with ports ":2048-65535 ". The flags
// are those that the kernel makes of what it is given, and prints.
func snat(set string, ports bool, random uint32) []step {
	out := steps(meta(expr.MetaKeyOIFNAME), mapped(set))
	attrs := [][]byte{
		attr32(unix.NFTA_NAT_TYPE, unix.NFT_NAT_SNAT), attr32(unix.NFTA_NAT_FAMILY, unix.NFPROTO_IPV4),
		attr32(unix.NFTA_NAT_REG_ADDR_MIN, reg1), attr32(unix.NFTA_NAT_REG_ADDR_MAX, reg1),
	}
	flags := natAddress | random
	if ports {
		out = append(out, immediate(reg2, firstPort...), immediate(reg3, lastPort...))
		attrs = append(attrs, attr32(unix.NFTA_NAT_REG_PROTO_MIN, reg2), attr32(unix.NFTA_NAT_REG_PROTO_MAX, reg3))
		flags |= natPorts
	}
	return append(out, own("nat", append(attrs, attr32(unix.NFTA_NAT_FLAGS, flags))...))
}

// masquerade is "masquerade fully-random"; the library cannot say that and ports together.
func masquerade(ports bool, random uint32) []step {
	if !ports {
		return []step{own("masq", attr32(unix.NFTA_MASQ_FLAGS, random))}
	}
	return []step{
		immediate(reg1, firstPort...), immediate(reg2, lastPort...),
		own("masq", attr32(unix.NFTA_MASQ_FLAGS, random|natPorts),
			attr32(unix.NFTA_MASQ_REG_PROTO_MIN, reg1), attr32(unix.NFTA_MASQ_REG_PROTO_MAX, reg2)),
	}
}
