package masq

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"peerhub/hub"

	"golang.org/x/sys/unix"
)

// Handmade is one rule of somebody else's that translates what clients send to spokes: hubd
// does that, too.
type Handmade struct {
	Object string // the rule, as its table tells it
	Line   string // removes this rule and nothing else
}

// Handmade lists the rules of other people's tables that translate clients' packets toward
// wanted spokes and nothing else: those that name origins of ours as source. others are rules
// that translate them among other things, which somebody may need.
func (p *Plane) Handmade(ctx context.Context, want hub.Desired) (ours, others []Handmade, err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("look for translation by hand: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	tables, err := p.readForeign()
	if err != nil {
		return nil, nil, err
	}
	for _, t := range tables {
		for _, w := range t.translating() {
			c := w.chain
			for _, r := range c.rules {
				if !r.translates() {
					continue
				}
				source, named := r.source()
				h := Handmade{Object: fmt.Sprintf("%s chain %s%s handle %d", t, c.name, w.from, r.handle),
					Line: fmt.Sprintf("nft delete rule %s %s %s handle %d", familyName(t.family), t.name, c.name, r.handle)}
				if named {
					h.Object += " from " + source.String()
				}
				switch {
				case named && within(source, want.Base.Tunnels):
					ours = append(ours, h)
				case !named || touches(source, want.Base.Tunnels):
					others = append(others, h)
				}
			}
		}
	}
	return ours, others, nil
}

// way is a chain that packets come to after routing, and from where: "" at its hook.
type way struct {
	chain *foreignChain
	from  string
}

// translating are the nat chains after routing, each followed by those that are jumped to from
// it, once each. What only a verdict map leads to is not among them.
func (t *foreignTable) translating() []way {
	var out []way
	seen := map[string]bool{}
	var visit func(c *foreignChain, from string)
	visit = func(c *foreignChain, from string) {
		if c == nil || seen[c.name] {
			return
		}
		seen[c.name] = true
		out = append(out, way{c, from})
		for _, r := range c.rules {
			if to := r.leadsTo(); to != "" {
				visit(t.chains[to], " (from chain "+c.name+")")
			}
		}
	}
	for _, c := range t.bases() {
		if c.typ == "nat" && c.hook == unix.NF_INET_POST_ROUTING {
			visit(c, "")
		}
	}
	return out
}

// leadsTo is the chain that a rule jumps or goes to; "" when it does neither.
func (r foreignRule) leadsTo() string {
	for _, e := range r.exprs {
		if e.name != "immediate" || num32(e.f[unix.NFTA_IMMEDIATE_DREG]) != unix.NFT_REG_VERDICT {
			continue
		}
		if v, to := verdictOf(e.f[unix.NFTA_IMMEDIATE_DATA]); v == jumps || v == goesTo {
			return to
		}
	}
	return ""
}

// translates reports whether a rule changes the source address.
func (r foreignRule) translates() bool {
	for _, e := range r.exprs {
		switch e.name {
		case "masq", "nat":
			return true
		case "target":
			switch text(e.f[unix.NFTA_TARGET_NAME]) {
			case "MASQUERADE", "SNAT":
				return true
			}
		}
	}
	return false
}

// source is the prefix of source addresses that a rule compares with; named is false when it
// does not, or in another way than `ip saddr PREFIX`.
func (r foreignRule) source() (source netip.Prefix, named bool) {
	loaded, bits := false, 32
	for _, e := range r.exprs {
		switch e.name {
		case "payload":
			length := num32(e.f[unix.NFTA_PAYLOAD_LEN])
			loaded = num32(e.f[unix.NFTA_PAYLOAD_BASE]) == unix.NFT_PAYLOAD_NETWORK_HEADER &&
				num32(e.f[unix.NFTA_PAYLOAD_OFFSET]) == 12 && length <= 4
			bits = int(length) * 8
		case "bitwise":
			if !loaded {
				continue
			}
			var ok bool
			if bits, ok = maskBits(value(e.f[unix.NFTA_BITWISE_MASK])); !ok {
				loaded = false
			}
		case "cmp":
			data := value(e.f[unix.NFTA_CMP_DATA])
			if loaded && num32(e.f[unix.NFTA_CMP_OP]) == unix.NFT_CMP_EQ && len(data) <= 4 && len(data) > 0 {
				var a [4]byte
				copy(a[:], data)
				return netip.PrefixFrom(netip.AddrFrom4(a), bits).Masked(), true
			}
			loaded = false
		}
	}
	return netip.Prefix{}, false
}

// maskBits is the length of a netmask; ok is false for one that is none.
func maskBits(mask []byte) (bits int, ok bool) {
	var sb strings.Builder
	for _, b := range mask {
		fmt.Fprintf(&sb, "%08b", b)
	}
	bits = strings.Count(sb.String(), "1")
	return bits, !strings.Contains(sb.String(), "01")
}

// within reports whether p are origins of a tunnel whose other traffic is closed: whoever
// leaves it open may need translation elsewhere.
func within(p netip.Prefix, tunnels []hub.Tunnel) bool {
	for _, t := range tunnels {
		for _, o := range t.Origins {
			if t.Other != hub.OtherLeave && o.Bits() <= p.Bits() && o.Contains(p.Addr()) {
				return true
			}
		}
	}
	return false
}

func touches(p netip.Prefix, tunnels []hub.Tunnel) bool {
	for _, t := range tunnels {
		for _, o := range t.Origins {
			if o.Overlaps(p) {
				return true
			}
		}
	}
	return false
}
