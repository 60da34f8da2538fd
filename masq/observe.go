package masq

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"peerhub/hub"

	"golang.org/x/sys/unix"
)

// tableState is one of our tables as the kernel has it.
type tableState struct {
	exists bool
	flags  uint32
	owner  uint32 // netlink port of the socket that owns it, 0: nobody
	note   string
	handle uint64 // grows with every table that is made
}

// state is what the kernel has: a snapshot, never changed once it is in a View.
type state struct {
	generation uint32
	table      tableState
	keep       tableState
	damage     string // the first thing that is not as the skeleton has it
	elements   elements
	foreign    []*foreignTable // of others, that forwarded packets come to
	flows      []uint32        // marks of ours in conntrack that `out` did not have at the start

	satisfied atomic.Pointer[hub.Desired] // a want for which there was nothing to do
}

// elements are the set elements by object key: a large base shared between snapshots, and
// the few changes since. A nil change is a removal.
type elements struct {
	base map[string]stored
	over map[string]*stored
}

// stored is an element with its object key and value, which every plan asks for.
type stored struct {
	element
	object string
	value  string
}

func store(e element) stored {
	return stored{e, objectKey(e.set, e.key), elementValue(e.data, e.comment)}
}

func (es elements) get(object string) (stored, bool) {
	if e, ok := es.over[object]; ok {
		if e == nil {
			return stored{}, false
		}
		return *e, true
	}
	e, ok := es.base[object]
	return e, ok
}

func (es elements) len() int {
	n := len(es.base)
	for object, e := range es.over {
		if _, ok := es.base[object]; ok {
			n--
		}
		if e != nil {
			n++
		}
	}
	return n
}

// all calls back for every element.
func (es elements) all(yield func(stored)) {
	for object, e := range es.base {
		if _, changed := es.over[object]; !changed {
			yield(e)
		}
	}
	for _, e := range es.over {
		if e != nil {
			yield(*e)
		}
	}
}

// with returns es after changes; es itself stays as it is.
func (es elements) with(changes map[string]*stored) elements {
	const flatten = 512
	if len(es.over)+len(changes) <= flatten {
		over := make(map[string]*stored, len(es.over)+len(changes))
		maps.Copy(over, es.over)
		maps.Copy(over, changes)
		return elements{base: es.base, over: over}
	}
	base := make(map[string]stored, es.len()+len(changes))
	es.all(func(e stored) { base[e.object] = e })
	for object, e := range changes {
		if e == nil {
			delete(base, object)
		} else {
			base[object] = *e
		}
	}
	return elements{base: base}
}

// observe reads everything that is ours. The list is right when no commit came between.
func (p *Plane) observe() (*state, error) {
	const tries = 5
	for range tries {
		before, err := p.sock.generation()
		if err != nil {
			return nil, fmt.Errorf("read the ruleset generation: %w", err)
		}
		st, err := p.list()
		after, gerr := p.sock.generation()
		switch {
		case gerr != nil:
			return nil, fmt.Errorf("read the ruleset generation: %w", gerr)
		case before != after:
			continue // what was read may be of two states
		case err != nil:
			return nil, err
		}
		st.generation = after
		return st, nil
	}
	return nil, fmt.Errorf("list table inet %s: the ruleset changed during each of %d attempts", p.table, tries)
}

func (p *Plane) list() (*state, error) {
	st := &state{elements: elements{base: make(map[string]stored)}}
	var err error
	if st.table, err = p.readTable(p.table); err != nil {
		return nil, err
	}
	if st.keep, err = p.readTable(keepName(p.table)); err != nil {
		return nil, err
	}
	if st.foreign, err = p.readForeign(); err != nil {
		return nil, err
	}
	if !st.table.exists {
		return st, nil
	}
	if st.damage, err = p.findDamage(st.table.note); err != nil {
		return nil, err
	}
	for _, d := range sets {
		if d.dynamic {
			continue
		}
		es, err := p.readSet(d)
		if errors.Is(err, unix.ENOENT) {
			continue // findDamage has said so
		}
		if err != nil {
			return nil, err
		}
		for _, e := range es {
			st.elements.base[objectKey(e.set, e.key)] = store(e)
		}
	}
	return st, nil
}

func (p *Plane) readTable(name string) (tableState, error) {
	replies, err := p.sock.ask(nftType(unix.NFT_MSG_GETTABLE), unix.NFPROTO_INET, 0, attrStr(unix.NFTA_TABLE_NAME, name))
	if errors.Is(err, unix.ENOENT) {
		return tableState{}, nil
	}
	if err != nil {
		return tableState{}, fmt.Errorf("read table inet %s: %w", name, err)
	}
	var t tableState
	for _, r := range replies {
		f := fields(r)
		t = tableState{
			exists: true, flags: num32(f[unix.NFTA_TABLE_FLAGS]),
			owner: num32(f[attrTableOwner]), note: noteOf(f[attrTableUserdata]),
			handle: num64(f[attrTableHandle]),
		}
	}
	return t, nil
}

func (p *Plane) readSet(d setDef) ([]element, error) {
	msgs, err := p.sock.dump(unix.NFT_MSG_GETSETELEM, append(
		attrStr(unix.NFTA_SET_ELEM_LIST_TABLE, p.table), attrStr(unix.NFTA_SET_ELEM_LIST_SET, d.name)...))
	if err != nil {
		return nil, fmt.Errorf("list set %s of table inet %s: %w", d.name, p.table, err)
	}
	return d.decodeAll(msgs), nil
}

// ofTable lists objects of one kind in our table. All of them have the table's name as
// attribute 1; kernels differ in whether they filter by it.
func (p *Plane) ofTable(kind uint16, what string) ([]map[uint16][]byte, [][]byte, error) {
	msgs, err := p.sock.dump(kind, attrStr(1, p.table))
	if err != nil {
		return nil, nil, fmt.Errorf("list the %s of table inet %s: %w", what, p.table, err)
	}
	var decoded []map[uint16][]byte
	var raw [][]byte
	for _, m := range msgs {
		if f := fields(m); text(f[1]) == p.table {
			decoded, raw = append(decoded, f), append(raw, m)
		}
	}
	return decoded, raw, nil
}

// findDamage compares chains, rules, sets and counters with the skeleton of the shape that
// the table's note tells, and names the first difference.
func (p *Plane) findDamage(note string) (string, error) {
	s, ok := shapeOf(note)
	if !ok {
		return "", nil // the note differs from any that is wanted: the table is made anew
	}
	program, err := p.program(s)
	if err != nil {
		return "", err
	}
	if d, err := p.namedDamage(unix.NFT_MSG_GETSET, "set", unix.NFTA_SET_NAME, setAttributes()); d != "" || err != nil {
		return d, err
	}
	if d, err := p.namedDamage(unix.NFT_MSG_GETOBJ, "object", unix.NFTA_OBJ_NAME, counterAttributes()); d != "" || err != nil {
		return d, err
	}
	want := make(map[string][]byte)
	for _, c := range program.chains {
		want[c.name] = c.attrs
	}
	if d, err := p.namedDamage(unix.NFT_MSG_GETCHAIN, "chain", unix.NFTA_CHAIN_NAME, want); d != "" || err != nil {
		return d, err
	}
	return p.ruleDamage(program)
}

func setAttributes() map[string][]byte {
	out := make(map[string][]byte)
	for _, d := range sets {
		out[d.name] = d.attributes()
	}
	return out
}

func counterAttributes() map[string][]byte {
	out := make(map[string][]byte)
	for _, c := range dropCounters {
		out[c] = append(attrStr(unix.NFTA_OBJ_NAME, c), attr32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)...)
	}
	return out
}

// namedDamage compares the objects of one kind, by name.
func (p *Plane) namedDamage(kind uint16, what string, nameAttr uint16, want map[string][]byte) (string, error) {
	decoded, raw, err := p.ofTable(kind, what+"s")
	if err != nil {
		return "", err
	}
	seen := make(map[string]bool)
	var damage []string
	for i, f := range decoded {
		name := text(f[nameAttr])
		seen[name] = true
		if _, ok := f[unix.NFTA_SET_FLAGS]; kind == unix.NFT_MSG_GETSET && !ok {
			raw[i] = append(raw[i], attr32(unix.NFTA_SET_FLAGS, 0)...) // the kernel leaves out a zero
		}
		switch w, ok := want[name]; {
		case !ok:
			damage = append(damage, fmt.Sprintf("%s %s is not ours", what, name))
		case !holds(raw[i], w, false):
			damage = append(damage, fmt.Sprintf("%s %s is another one", what, name))
		}
	}
	for name := range want {
		if !seen[name] {
			damage = append(damage, fmt.Sprintf("%s %s is missing", what, name))
		}
	}
	return firstOf(damage), nil
}

func firstOf(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return slices.Min(s)
}

func (p *Plane) ruleDamage(want program) (string, error) {
	decoded, _, err := p.ofTable(unix.NFT_MSG_GETRULE, "rules")
	if err != nil {
		return "", err
	}
	have := make(map[string][][]byte)
	for _, f := range decoded {
		c := text(f[unix.NFTA_RULE_CHAIN])
		have[c] = append(have[c], f[unix.NFTA_RULE_EXPRESSIONS])
	}
	for _, c := range want.chains {
		got := have[c.name]
		for i, r := range c.rules {
			if i >= len(got) || !holds(got[i], r.exprs, true) {
				return fmt.Sprintf("rule %d of chain %s is another one", i+1, c.name), nil
			}
		}
		if len(got) > len(c.rules) {
			return fmt.Sprintf("chain %s has %d rules too many", c.name, len(got)-len(c.rules)), nil
		}
	}
	return "", nil
}
