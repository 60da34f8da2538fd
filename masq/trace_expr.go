package masq

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// expr is one expression: a match, a load into registers, or a verdict.
func (w *walk) expr(e foreignExpr) (match, verdictKind, string) {
	switch e.name {
	case "meta":
		if reg, ok := e.f[unix.NFTA_META_DREG]; ok {
			w.put(reg, w.meta(num32(e.f[unix.NFTA_META_KEY])))
		}
	case "ct":
		if reg, ok := e.f[unix.NFTA_CT_DREG]; ok {
			w.put(reg, w.ct(num32(e.f[unix.NFTA_CT_KEY])))
		}
	case "payload":
		if reg, ok := e.f[unix.NFTA_PAYLOAD_DREG]; ok {
			w.put(reg, w.payload(num32(e.f[unix.NFTA_PAYLOAD_BASE]), num32(e.f[unix.NFTA_PAYLOAD_OFFSET]), num32(e.f[unix.NFTA_PAYLOAD_LEN])))
		}
	case "fib":
		w.put(e.f[unix.NFTA_FIB_DREG], w.fib(num32(e.f[unix.NFTA_FIB_RESULT]), num32(e.f[unix.NFTA_FIB_FLAGS])))
	case "bitwise":
		w.bitwise(e.f)
	case "cmp":
		return w.cmp(e.f[unix.NFTA_CMP_SREG], num32(e.f[unix.NFTA_CMP_OP]), value(e.f[unix.NFTA_CMP_DATA])), goesOn, ""
	case "range":
		from, to := value(e.f[unix.NFTA_RANGE_FROM_DATA]), value(e.f[unix.NFTA_RANGE_TO_DATA])
		inside := min(w.cmp(e.f[unix.NFTA_RANGE_SREG], unix.NFT_CMP_GTE, from), w.cmp(e.f[unix.NFTA_RANGE_SREG], unix.NFT_CMP_LTE, to))
		if num32(e.f[unix.NFTA_RANGE_OP]) == unix.NFT_RANGE_NEQ {
			inside = yes - inside
		}
		return inside, goesOn, ""
	case "lookup":
		return w.lookup(e.f)
	case "immediate":
		if num32(e.f[unix.NFTA_IMMEDIATE_DREG]) == unix.NFT_REG_VERDICT {
			v, to := verdictOf(e.f[unix.NFTA_IMMEDIATE_DATA])
			return yes, v, to
		}
		w.put(e.f[unix.NFTA_IMMEDIATE_DREG], value(e.f[unix.NFTA_IMMEDIATE_DATA]))
	case "reject":
		return yes, drops, ""
	case "masq", "nat", "redir":
		return yes, translates, ""
	case "counter", "log", "objref", "notrack", "last", "exthdr", "flow_offload":
	case "match":
		return w.xtMatch(e.f), goesOn, ""
	case "target":
		switch text(e.f[unix.NFTA_TARGET_NAME]) {
		case "MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP":
			return yes, translates, ""
		case "REJECT", "DROP":
			return yes, drops, ""
		}
	default: // limit, quota, connlimit, socket and what comes after this program
		w.words = [20]word{}
		return maybe, goesOn, ""
	}
	return yes, goesOn, ""
}

// meta is what a meta key has, nil when that is not known.
func (w *walk) meta(key uint32) []byte {
	name := func(s string) []byte {
		if s == "" {
			return nil
		}
		return append([]byte(s), make([]byte, max(0, unix.IFNAMSIZ-len(s)))...)
	}
	index := func(s string) []byte {
		if i, ok := w.index(s); ok {
			return host(i)
		}
		return nil
	}
	switch key {
	case unix.NFT_META_IIFNAME:
		return name(w.packet.iif)
	case unix.NFT_META_OIFNAME:
		return name(w.packet.oif)
	case unix.NFT_META_IIF:
		return index(w.packet.iif)
	case unix.NFT_META_OIF:
		return index(w.packet.oif)
	case unix.NFT_META_NFPROTO:
		return []byte{unix.NFPROTO_IPV4}
	case unix.NFT_META_PROTOCOL:
		return []byte{0x08, 0x00}
	case unix.NFT_META_L4PROTO:
		return []byte{w.packet.proto}
	}
	return nil
}

func (w *walk) ct(key uint32) []byte {
	// Conntrack comes at priority -200; before it there is nothing to know.
	if w.base.hook == unix.NF_INET_PRE_ROUTING && w.base.prio <= -200 {
		return nil
	}
	switch {
	case key == unix.NFT_CT_STATE:
		return host(w.packet.state)
	case key == unix.NFT_CT_DIRECTION && w.packet.reply:
		return []byte{1}
	case key == unix.NFT_CT_DIRECTION:
		return []byte{0}
	case key == unix.NFT_CT_STATUS && w.packet.state == stateNew && w.base.hook != unix.NF_INET_POST_ROUTING:
		return host(0)
	}
	return nil
}

// payload is a part of the IPv4 header.
func (w *walk) payload(base, offset, length uint32) []byte {
	if base != unix.NFT_PAYLOAD_NETWORK_HEADER {
		return nil
	}
	var header [20]byte
	var known [20]bool
	set := func(at int, b []byte) {
		copy(header[at:], b)
		for i := range b {
			known[at+i] = true
		}
	}
	set(0, []byte{0x45})
	set(9, []byte{w.packet.proto})
	if w.packet.saddr.Is4() {
		set(saddr, w.packet.saddr.AsSlice())
	}
	if w.packet.daddr.Is4() {
		set(daddr, w.packet.daddr.AsSlice())
	}
	end := uint64(offset) + uint64(length)
	if end > uint64(len(header)) {
		return nil
	}
	for i := offset; uint64(i) < end; i++ {
		if !known[i] {
			return nil
		}
	}
	return header[offset:end]
}

// fib tells the type of the destination: a spoke's is not the hub's own.
func (w *walk) fib(result, flags uint32) []byte {
	if result != unix.NFT_FIB_RESULT_ADDRTYPE || flags&unix.NFTA_FIB_F_DADDR == 0 || w.packet.daddr == w.packet.address {
		return nil
	}
	return host(unix.RTN_UNICAST)
}

func (w *walk) bitwise(f map[uint16][]byte) {
	n := int(num32(f[unix.NFTA_BITWISE_LEN]))
	mask, xor := value(f[unix.NFTA_BITWISE_MASK]), value(f[unix.NFTA_BITWISE_XOR])
	v, ok := w.get(f[unix.NFTA_BITWISE_SREG], n)
	if !ok || len(mask) != n || len(xor) != n {
		w.putUnknown(f[unix.NFTA_BITWISE_DREG], n)
		return
	}
	out := make([]byte, n)
	for i := range out {
		out[i] = v[i]&mask[i] ^ xor[i]
	}
	w.put(f[unix.NFTA_BITWISE_DREG], out)
}

func (w *walk) cmp(reg []byte, op uint32, with []byte) match {
	v, ok := w.get(reg, len(with))
	if !ok {
		return maybe
	}
	c := bytes.Compare(v, with)
	hit := false
	switch op {
	case unix.NFT_CMP_EQ:
		hit = c == 0
	case unix.NFT_CMP_NEQ:
		hit = c != 0
	case unix.NFT_CMP_LT:
		hit = c < 0
	case unix.NFT_CMP_LTE:
		hit = c <= 0
	case unix.NFT_CMP_GT:
		hit = c > 0
	case unix.NFT_CMP_GTE:
		hit = c >= 0
	}
	if hit {
		return yes
	}
	return no
}

// lookup asks the kernel whether a set has what is in the registers.
func (w *walk) lookup(f map[uint16][]byte) (match, verdictKind, string) {
	set := text(f[unix.NFTA_LOOKUP_SET])
	key, ok := w.get(f[unix.NFTA_LOOKUP_SREG], int(w.table.keys[set]))
	dreg, isMap := f[unix.NFTA_LOOKUP_DREG]
	e := element4{}
	if ok && len(key) > 0 {
		e = w.element(set, key)
	}
	switch inverted := num32(f[unix.NFTA_LOOKUP_FLAGS])&unix.NFT_LOOKUP_F_INV != 0; {
	case !e.known:
		w.words = [20]word{}
		return maybe, goesOn, ""
	case e.found == inverted:
		return no, goesOn, ""
	}
	if isMap && num32(dreg) == unix.NFT_REG_VERDICT {
		v, to := verdictOf(e.data)
		return yes, v, to
	}
	if isMap {
		w.put(dreg, value(e.data))
	}
	return yes, goesOn, ""
}

func (w *walk) element(set string, key []byte) element4 {
	name := set + "\x00" + string(key)
	if e, ok := w.sets[name]; ok {
		return e
	}
	data, found, err := w.plane.inForeignSet(w.table, set, key)
	if w.sets == nil {
		w.sets = make(map[string]element4)
	}
	w.sets[name] = element4{data, found, err == nil} // a set that cannot be asked is not known
	return w.sets[name]
}

// xtMatch is a match of iptables that nft has no expression for.
func (w *walk) xtMatch(f map[uint16][]byte) match {
	info := f[unix.NFTA_MATCH_INFO]
	switch text(f[unix.NFTA_MATCH_NAME]) {
	case "comment":
		return yes
	case "conntrack":
		const flagsAt, invertAt, stateAt, onlyState = 146, 148, 150, 1 // struct xt_conntrack_mtinfo3
		if len(info) < stateAt+2 || binary.NativeEndian.Uint16(info[flagsAt:]) != onlyState {
			return maybe
		}
		hit := binary.NativeEndian.Uint16(info[stateAt:])&uint16(w.packet.state) != 0
		if hit != (binary.NativeEndian.Uint16(info[invertAt:]) == onlyState) {
			return yes
		}
		return no
	}
	return maybe
}

// verdictOf reads NFTA_DATA_VERDICT.
func verdictOf(data []byte) (verdictKind, string) {
	v := fields(fields(data)[unix.NFTA_DATA_VERDICT])
	to := text(v[unix.NFTA_VERDICT_CHAIN])
	switch int32(num32(v[unix.NFTA_VERDICT_CODE])) {
	case 0: // NF_DROP
		return drops, ""
	case unix.NFT_JUMP:
		return jumps, to
	case unix.NFT_GOTO:
		return goesTo, to
	case unix.NFT_RETURN:
		return returns, ""
	case unix.NFT_CONTINUE, unix.NFT_BREAK:
		return goesOn, ""
	}
	return accepts, "" // accept, or somebody's queue
}

// value reads NFTA_DATA_VALUE.
func value(data []byte) []byte { return fields(data)[unix.NFTA_DATA_VALUE] }

// place is the first word of a register.
func place(reg []byte) int {
	r := int(num32(reg))
	if r >= unix.NFT_REG32_00 {
		return r - unix.NFT_REG32_00 + 4
	}
	return 4 * r
}

// put writes into a register; nil is not known.
func (w *walk) put(reg, v []byte) {
	if v == nil {
		w.putUnknown(reg, 16)
		return
	}
	for i := place(reg); len(v) > 0 && i < len(w.words); i++ {
		w.words[i] = word{known: true}
		v = v[copy(w.words[i].v[:], v):]
	}
}

func (w *walk) putUnknown(reg []byte, n int) {
	for i := place(reg); n > 0 && i < len(w.words); i, n = i+1, n-4 {
		w.words[i] = word{}
	}
}

// get reads n bytes of a register.
func (w *walk) get(reg []byte, n int) ([]byte, bool) {
	var out []byte
	for i := place(reg); len(out) < n; i++ {
		if i >= len(w.words) || !w.words[i].known {
			return nil, false
		}
		out = append(out, w.words[i].v[:]...)
	}
	return out[:n], true
}
