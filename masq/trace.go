package masq

// A packet of ours is led through somebody else's chain as the kernel would, with what is
// known of it. What is not known, such as its port, makes a rule one that may match: it is
// somebody's choice about some packets, and no harm to be named.

// harm is what a chain does to a packet.
type harm struct {
	packet     string
	tunnel     string
	chain      string // where the rule is
	rule       uint64 // handle, 0: the base chain's policy
	translates bool
	certain    bool // nothing before may have accepted the packet
}

// judgement leads packets through one table.
type judgement struct {
	plane *Plane
	table *foreignTable
	index func(name string) (uint32, bool)
	sets  map[string]element4 // what was asked before
	harm  *harm
}

type element4 struct {
	data  []byte
	found bool
	known bool
}

// firstHarm leads packets through a base chain until one is harmed.
func (j *judgement) firstHarm(c *foreignChain, packets []packet) (harm, bool) {
	for _, p := range packets {
		if c.typ == "nat" && p.state != stateNew {
			continue // only first packets come to such a chain
		}
		j.harm = nil
		w := walk{judgement: j, packet: p.at(c), base: c, certain: true}
		if ended := w.chain(c, true, 0); !ended && c.policy != policyAccept {
			w.hurt("", 0, false)
		}
		if j.harm != nil {
			return *j.harm, true
		}
	}
	return harm{}, false
}

// walk is one packet on its way through one base chain.
type walk struct {
	*judgement
	packet  packet
	base    *foreignChain
	certain bool
	words   [20]word
}

// word is four bytes of a register.
type word struct {
	v     [4]byte
	known bool
}

// match is whether an expression or rule matches.
type match int

const (
	no match = iota
	maybe
	yes
)

// mostDepth is how deep the kernel lets chains jump.
const mostDepth = 16

// chain leads the packet through a chain; sure is whether it certainly comes there. It
// reports whether the packet's way certainly ends in it.
func (w *walk) chain(c *foreignChain, sure bool, depth int) (ended bool) {
	if c == nil || depth > mostDepth {
		return false
	}
	for _, r := range c.rules {
		verdict, to, matches := w.rule(r)
		certain := sure && matches == yes
		switch {
		case matches == no || verdict == goesOn:
		case verdict == drops || verdict == translates:
			if certain {
				w.hurt(c.name, r.handle, verdict == translates)
				return true
			}
		case verdict == accepts || verdict == returns:
			if certain {
				return verdict == accepts
			}
			w.certain = false
		case verdict == jumps || verdict == goesTo:
			if w.chain(w.table.chains[to], certain, depth+1) {
				return true
			}
			if verdict == goesTo && certain {
				return false
			}
		}
	}
	return false
}

func (w *walk) hurt(chain string, rule uint64, translates bool) {
	if translates && w.base.typ != "nat" {
		return
	}
	w.harm = &harm{packet: w.packet.text, tunnel: w.packet.tunnel, chain: chain, rule: rule, translates: translates, certain: w.certain}
}

// verdictKind is what a rule does with a packet that matches.
type verdictKind int

const (
	goesOn verdictKind = iota
	accepts
	drops
	returns
	jumps
	goesTo
	translates
)

// rule tells what a rule does with the packet.
func (w *walk) rule(r foreignRule) (v verdictKind, to string, matches match) {
	matches = yes
	w.words = [20]word{}
	for _, e := range r.exprs {
		m, verdict, chain := w.expr(e)
		if m == no {
			return goesOn, "", no
		}
		matches = min(matches, m)
		if verdict != goesOn {
			return verdict, chain, matches
		}
	}
	return goesOn, "", matches
}
