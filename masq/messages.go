package masq

import (
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// The messages of a batch.

func newTable(name string, flags uint32, comment string) request {
	b := append(attrStr(unix.NFTA_TABLE_NAME, name), attr32(unix.NFTA_TABLE_FLAGS, flags)...)
	if comment != "" {
		b = append(b, attr(attrTableUserdata, note(0, comment))...)
	}
	return request{unix.NFT_MSG_NEWTABLE, netlink.Create, b}
}

func delTable(name string) request {
	return request{unix.NFT_MSG_DELTABLE, 0, attrStr(unix.NFTA_TABLE_NAME, name)}
}

// newElement and delElement carry one element each, an interval as its two ends. So no
// attribute's length wraps, and a refusal names the element.
func newElement(table string, d setDef, e element) (request, error) {
	return elementRequest(unix.NFT_MSG_NEWSETELEM, netlink.Create, table, d, e)
}

func delElement(table string, d setDef, e element) (request, error) {
	return elementRequest(unix.NFT_MSG_DELSETELEM, 0, table, d, e)
}

func elementRequest(kind uint16, flags netlink.HeaderFlags, table string, d setDef, e element) (request, error) {
	const usual = 192 // bytes of a message with a comment
	b := appendStr(make([]byte, 0, usual), unix.NFTA_SET_ELEM_LIST_TABLE, table)
	b = appendStr(b, unix.NFTA_SET_ELEM_LIST_SET, d.name)
	b, at := begin(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED)
	b, err := d.appendElement(b, e, kind == unix.NFT_MSG_NEWSETELEM)
	if err != nil {
		return request{}, err
	}
	return request{kind, flags, end(b, at)}, nil
}

// newCounter makes a named counter that begins at packets and bytes.
func newCounter(table, name string, packets, bytes uint64) request {
	return request{unix.NFT_MSG_NEWOBJ, netlink.Create, slices.Concat(
		attrStr(unix.NFTA_OBJ_TABLE, table),
		attrStr(unix.NFTA_OBJ_NAME, name),
		attr32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER),
		nest(unix.NFTA_OBJ_DATA, attr64(unix.NFTA_COUNTER_BYTES, bytes), attr64(unix.NFTA_COUNTER_PACKETS, packets)),
	)}
}

// program is the skeleton as the kernel takes it and gives it back.
type program struct {
	chains []codedChain
}

type codedChain struct {
	name  string
	attrs []byte // without the table
	rules []codedRule
}

type codedRule struct {
	exprs    []byte // the list inside NFTA_RULE_EXPRESSIONS
	userdata []byte
}

// compile encodes chains.
func compile(cs []chain) (program, error) {
	var p program
	for _, c := range cs {
		coded := codedChain{name: c.name, attrs: attrStr(unix.NFTA_CHAIN_NAME, c.name)}
		if c.typ != "" {
			coded.attrs = slices.Concat(coded.attrs,
				nest(unix.NFTA_CHAIN_HOOK, attr32(unix.NFTA_HOOK_HOOKNUM, c.hook), attr32(unix.NFTA_HOOK_PRIORITY, uint32(c.prio))),
				attr32(unix.NFTA_CHAIN_POLICY, policyAccept),
				attrStr(unix.NFTA_CHAIN_TYPE, c.typ))
		}
		for _, r := range c.rules {
			var rule codedRule
			for _, s := range r.steps {
				b, err := s()
				if err != nil {
					return program{}, fmt.Errorf("encode %q of chain %s: %w", r.text, c.name, err)
				}
				rule.exprs = append(rule.exprs, nest(unix.NFTA_LIST_ELEM, b)...)
			}
			if r.note != "" {
				rule.userdata = note(0, r.note)
			}
			coded.rules = append(coded.rules, rule)
		}
		p.chains = append(p.chains, coded)
	}
	return p, nil
}

// requests are the messages that make the program's chains and rules. All chains come
// first: rules jump to them.
func (p program) requests(table string) []request {
	var out []request
	for _, c := range p.chains {
		out = append(out, request{unix.NFT_MSG_NEWCHAIN, netlink.Create,
			append(attrStr(unix.NFTA_CHAIN_TABLE, table), c.attrs...)})
	}
	for _, c := range p.chains {
		for _, r := range c.rules {
			b := slices.Concat(attrStr(unix.NFTA_RULE_TABLE, table), attrStr(unix.NFTA_RULE_CHAIN, c.name),
				nest(unix.NFTA_RULE_EXPRESSIONS, r.exprs))
			if r.userdata != nil {
				b = append(b, attr(unix.NFTA_RULE_USERDATA, r.userdata)...)
			}
			out = append(out, request{unix.NFT_MSG_NEWRULE, netlink.Create | netlink.Append, b})
		}
	}
	return out
}

// setRequests make the empty sets. The id only has to differ within the batch.
func setRequests(table string) []request {
	var out []request
	for i, d := range sets {
		out = append(out, request{unix.NFT_MSG_NEWSET, netlink.Create,
			slices.Concat(attrStr(unix.NFTA_SET_TABLE, table), d.attributes(),
				attr(unix.NFTA_SET_USERDATA, d.userdata()), attr32(unix.NFTA_SET_ID, uint32(i+1)))})
	}
	return out
}

// keepChains is the second table of plain mode: it holds on to the hooks of NAT and
// conntrack, which the kernel otherwise lets go, with all translated flows, when a foreign
// flush takes the last chain that needs them. No packet is changed or judged here.
func keepChains() []chain {
	return []chain{
		{name: "nat_in", typ: "nat", hook: unix.NF_INET_PRE_ROUTING, prio: -100},
		{name: "nat_out", typ: "nat", hook: unix.NF_INET_POST_ROUTING, prio: 100},
		{name: "conntrack", rules: []rule{{text: "ct state new", steps: ctState(8)}}},
	}
}
