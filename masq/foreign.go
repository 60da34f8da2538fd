package masq

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"peerhub/hub"
	"peerhub/hub/failpoint"

	"golang.org/x/sys/unix"
)

// Other people's chains. An accept of ours cannot override a drop of another chain, and the
// first chain that translates a flow is the one that counts: such chains are read, never
// written, and named. What cannot touch forwarded packets of tunnels is not.

// foreignChain is a chain of somebody else's, with its rules.
type foreignChain struct {
	name   string
	base   bool
	typ    string
	hook   uint32
	prio   int32
	policy uint32
	rules  []foreignRule
}

type foreignRule struct {
	handle uint64
	exprs  []foreignExpr
}

// foreignExpr is one expression: its name and attributes.
type foreignExpr struct {
	name string
	f    map[uint16][]byte
}

// foreignTable is a table with a chain that packets of ours may meet.
type foreignTable struct {
	family uint8
	name   string
	handle uint64
	chains map[string]*foreignChain
	keys   map[string]uint32 // bytes of a set's key
}

func (t *foreignTable) String() string { return "table " + familyName(t.family) + " " + t.name }

func familyName(f uint8) string {
	if f == unix.NFPROTO_IPV4 {
		return "ip"
	}
	return "inet"
}

// bases are the chains at which packets arrive, in the order in which they do.
func (t *foreignTable) bases() []*foreignChain {
	var out []*foreignChain
	for _, c := range t.chains {
		if c.base {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *foreignChain) int {
		return cmp.Or(cmp.Compare(a.hook, b.hook), cmp.Compare(a.prio, b.prio), strings.Compare(a.name, b.name))
	})
	return out
}

// readForeign reads the tables of others that have a chain at a hook of forwarded packets.
// Rules are read of these only.
func (p *Plane) readForeign() ([]*foreignTable, error) {
	var out []*foreignTable
	for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_INET} {
		tables, err := p.foreignChains(family)
		if err != nil {
			return nil, err
		}
		for _, t := range tables {
			awake, err := p.finishForeign(t)
			switch {
			case errors.Is(err, unix.ENOENT):
				continue // it has just gone; the generation says so
			case err != nil:
				return nil, err
			case awake:
				out = append(out, t)
			}
		}
	}
	return out, nil
}

// foreignChains lists the chains of a family, of tables that matter, by table name.
func (p *Plane) foreignChains(family uint8) ([]*foreignTable, error) {
	msgs, err := p.sock.ask(nftType(unix.NFT_MSG_GETCHAIN), family, unix.NLM_F_DUMP, nil)
	if err != nil {
		return nil, fmt.Errorf("list other people's chains: %w", err)
	}
	tables := make(map[string]*foreignTable)
	matters := make(map[string]bool)
	for _, m := range msgs {
		f := fields(m)
		name := text(f[unix.NFTA_CHAIN_TABLE])
		if family == unix.NFPROTO_INET && (name == p.table || name == keepName(p.table)) {
			continue
		}
		c := &foreignChain{name: text(f[unix.NFTA_CHAIN_NAME]), policy: policyAccept}
		if hook, ok := f[unix.NFTA_CHAIN_HOOK]; ok {
			h := fields(hook)
			c.base, c.typ = true, text(f[unix.NFTA_CHAIN_TYPE])
			c.hook, c.prio = num32(h[unix.NFTA_HOOK_HOOKNUM]), int32(num32(h[unix.NFTA_HOOK_PRIORITY]))
			if b, ok := f[unix.NFTA_CHAIN_POLICY]; ok {
				c.policy = num32(b)
			}
			matters[name] = matters[name] || c.meetsUs()
		}
		if tables[name] == nil {
			tables[name] = &foreignTable{family: family, name: name, chains: make(map[string]*foreignChain)}
		}
		tables[name].chains[c.name] = c
	}
	var out []*foreignTable
	for name, t := range tables {
		if matters[name] {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *foreignTable) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// meetsUs reports whether forwarded packets come to a base chain.
func (c *foreignChain) meetsUs() bool {
	return c.hook == unix.NF_INET_PRE_ROUTING || c.hook == unix.NF_INET_FORWARD || c.hook == unix.NF_INET_POST_ROUTING
}

// finishForeign reads a table's handle and rules. awake is false for a dormant table.
func (p *Plane) finishForeign(t *foreignTable) (awake bool, err error) {
	replies, err := p.sock.ask(nftType(unix.NFT_MSG_GETTABLE), t.family, 0, attrStr(unix.NFTA_TABLE_NAME, t.name))
	if err != nil {
		return false, fmt.Errorf("read %s: %w", t, err)
	}
	for _, r := range replies {
		f := fields(r)
		t.handle = num64(f[attrTableHandle])
		if num32(f[unix.NFTA_TABLE_FLAGS])&tableDormant != 0 {
			return false, nil
		}
	}
	msgs, err := p.sock.ask(nftType(unix.NFT_MSG_GETRULE), t.family, unix.NLM_F_DUMP, attrStr(unix.NFTA_RULE_TABLE, t.name))
	if err != nil {
		return false, fmt.Errorf("list the rules of %s: %w", t, err)
	}
	for _, m := range msgs {
		f := fields(m)
		c := t.chains[text(f[unix.NFTA_RULE_CHAIN])]
		if c == nil || text(f[unix.NFTA_RULE_TABLE]) != t.name {
			continue
		}
		r := foreignRule{handle: num64(f[unix.NFTA_RULE_HANDLE])}
		for _, e := range list(f[unix.NFTA_RULE_EXPRESSIONS]) {
			ef := fields(e.data)
			r.exprs = append(r.exprs, foreignExpr{text(ef[unix.NFTA_EXPR_NAME]), fields(ef[unix.NFTA_EXPR_DATA])})
		}
		c.rules = append(c.rules, r)
	}
	if msgs, err = p.sock.ask(nftType(unix.NFT_MSG_GETSET), t.family, unix.NLM_F_DUMP, attrStr(unix.NFTA_SET_TABLE, t.name)); err != nil {
		return false, fmt.Errorf("list the sets of %s: %w", t, err)
	}
	t.keys = make(map[string]uint32)
	for _, m := range msgs {
		if f := fields(m); text(f[unix.NFTA_SET_TABLE]) == t.name {
			t.keys[text(f[unix.NFTA_SET_NAME])] = num32(f[unix.NFTA_SET_KEY_LEN])
		}
	}
	return true, nil
}

// inForeignSet asks the kernel for one element of somebody's set. data is what a map has for it.
func (p *Plane) inForeignSet(t *foreignTable, set string, key []byte) (data []byte, found bool, err error) {
	elem := nest(unix.NFTA_LIST_ELEM, nest(unix.NFTA_SET_ELEM_KEY, attr(unix.NFTA_DATA_VALUE, key)))
	replies, err := p.sock.ask(nftType(unix.NFT_MSG_GETSETELEM), t.family, 0, slices.Concat(
		attrStr(unix.NFTA_SET_ELEM_LIST_TABLE, t.name), attrStr(unix.NFTA_SET_ELEM_LIST_SET, set),
		nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, elem)))
	if errors.Is(err, unix.ENOENT) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("look into set %s of %s: %w", set, t, err)
	}
	for _, r := range replies {
		for _, e := range list(fields(r)[unix.NFTA_SET_ELEM_LIST_ELEMENTS]) {
			return fields(e.data)[unix.NFTA_SET_ELEM_DATA], true, nil
		}
	}
	return nil, false, nil
}

// judge names the chains that harm packets of ours, with the tunnels, origins, spokes and
// addresses that our table has in st.
func (p *Plane) judge(st *state) []hub.Problem {
	var out []hub.Problem
	if len(st.foreign) == 0 || !st.table.exists || failpoint.Off("foreign-chains") {
		return nil
	}
	traffic := trafficOf(st.elements)
	for _, t := range st.foreign {
		j := judgement{plane: p, table: t, index: p.index}
		packets := traffic.packets(t)
		for _, c := range t.bases() {
			if !c.meetsUs() || c.typ == "nat" && !ahead(c, t, st.table) {
				continue
			}
			if f, ok := j.firstHarm(c, packets); ok {
				out = append(out, f.problem(t, c))
			}
		}
	}
	return out
}

// ahead reports whether a nat chain sees new flows before ours does. Of two with the same
// priority the kernel asks the one that was registered last.
func ahead(c *foreignChain, t *foreignTable, ours tableState) bool {
	switch c.hook {
	case unix.NF_INET_POST_ROUTING:
		return c.prio < srcnat || c.prio == srcnat && t.handle > ours.handle
	case unix.NF_INET_PRE_ROUTING:
		return true // we have none there
	}
	return false
}

// srcnat is the priority of our translation.
const srcnat = 100

var hookNames = map[uint32]string{unix.NF_INET_PRE_ROUTING: "prerouting", unix.NF_INET_FORWARD: "forward", unix.NF_INET_POST_ROUTING: "postrouting"}

// problem says what a chain does, where exactly, and how to let our packets through.
func (h harm) problem(t *foreignTable, base *foreignChain) hub.Problem {
	where := fmt.Sprintf("chain %s (%s, priority %d)", base.name, hookNames[base.hook], base.prio)
	rule := "its policy is drop"
	if h.rule > 0 {
		rule = fmt.Sprintf("rule with handle %d of chain %s", h.rule, h.chain)
	}
	what := "drops"
	verdict := "accept"
	if h.translates {
		what, verdict = "translates, before hubd does,", "return"
	}
	if !h.certain {
		rule += ", for what it has not accepted before"
	}
	mend := fmt.Sprintf("nft insert rule %s %s %s iifname %s %s", familyName(t.family), t.name, base.name, h.tunnel, verdict)
	if !h.translates && base.hook != unix.NF_INET_PRE_ROUTING {
		mend += fmt.Sprintf("; nft insert rule %s %s %s oifname %s %s", familyName(t.family), t.name, base.name, h.tunnel, verdict)
	}
	return hub.Problem{Code: hub.ForeignChain, Subject: t.String(),
		Detail: fmt.Sprintf("%s %s %s: %s; see nft -a list chain %s %s %s", where, what, h.packet, rule, familyName(t.family), t.name, cmp.Or(h.chain, base.name)),
		Mend:   mend + "; or the same in the words of the program that made that table"}
}
