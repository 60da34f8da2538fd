package masq

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// packet is a packet of ours as a chain of others meets it. Addresses and marks that are not
// known are invalid and nil.
type packet struct {
	iif, oif     string
	tunnel       string
	reply        bool
	saddr, daddr netip.Addr
	state        uint32 // NF_CT_STATE_BIT
	proto        byte
	text         string
	origin       netip.Addr // the client
	address      netip.Addr // what it is translated to
}

// traffic is what our table lets through.
type traffic struct {
	tunnels, egresses []string
	addresses         map[string]netip.Addr // by egress
	origins, spokes   []netip.Prefix
}

func trafficOf(es elements) traffic {
	t := traffic{addresses: make(map[string]netip.Addr)}
	es.all(func(e stored) {
		switch e.set {
		case "tunnels":
			t.tunnels = append(t.tunnels, e.key)
		case "address4":
			t.egresses = append(t.egresses, e.key)
			if a, err := netip.ParseAddr(e.data); err == nil {
				t.addresses[e.key] = a
			}
		case "origins4":
			if p, err := netip.ParsePrefix(e.key); err == nil {
				t.origins = append(t.origins, p)
			}
		case "spokes4":
			if p, err := netip.ParsePrefix(e.key); err == nil {
				t.spokes = append(t.spokes, p)
			}
		}
	})
	slices.Sort(t.tunnels)
	slices.Sort(t.egresses)
	slices.SortFunc(t.origins, netip.Prefix.Compare)
	slices.SortFunc(t.spokes, netip.Prefix.Compare)
	if len(t.egresses) == 0 {
		t.egresses = []string{""} // masquerade: any interface
	}
	return t
}

// mostSamples bounds how many addresses of either side are tried beside the first ones.
const mostSamples = 32

// packets are the packets that a table's chains are tried with: one of each tunnel, way out
// and direction, and one for every origin and spoke that a rule of the table speaks of.
func (t traffic) packets(table *foreignTable) []packet {
	if len(t.origins) == 0 || len(t.spokes) == 0 {
		return nil
	}
	origins := samples(t.origins, table.prefixes(saddr), table.prefixes(daddr))
	spokes := samples(t.spokes, table.prefixes(daddr), table.prefixes(saddr))
	type pair struct{ origin, spoke netip.Addr }
	pairs := []pair{{origins[0], spokes[0]}}
	for _, a := range origins[1:] {
		pairs = append(pairs, pair{a, spokes[0]})
	}
	for _, a := range spokes[1:] {
		pairs = append(pairs, pair{origins[0], a})
	}
	var out []packet
	for _, tun := range t.tunnels {
		for _, eth := range t.egresses {
			for i, p := range pairs {
				protos := []byte{unix.IPPROTO_TCP}
				if i == 0 {
					protos = append(protos, unix.IPPROTO_UDP, unix.IPPROTO_ICMP)
				}
				for _, proto := range protos {
					there := packet{iif: tun, oif: eth, tunnel: tun, saddr: p.origin, daddr: p.spoke, proto: proto,
						state: stateNew, origin: p.origin, address: t.addresses[eth], text: fmt.Sprintf("what comes from %s for %s", tun, p.spoke)}
					later := there
					later.state = stateEstablished
					back := packet{iif: eth, oif: tun, tunnel: tun, reply: true, saddr: p.spoke, daddr: p.origin, proto: proto,
						state: stateEstablished, origin: p.origin, address: there.address, text: fmt.Sprintf("what comes back from %s for %s", p.spoke, tun)}
					out = append(out, there, later, back)
				}
			}
		}
	}
	return out
}

// Bits of ct state.
const (
	stateEstablished = 1 << 1
	stateNew         = 1 << 3
)

// at is the packet as it is at a hook and priority: translated or not yet.
func (p packet) at(c *foreignChain) packet {
	switch {
	case c.hook == unix.NF_INET_PRE_ROUTING:
		p.oif = ""
		if p.reply && c.prio < -100 {
			p.daddr = p.address
		}
	case c.hook == unix.NF_INET_POST_ROUTING && !p.reply && c.prio > srcnat:
		p.saddr = p.address
	}
	return p
}

// samples are the first address of ours, and one for each prefix that somebody's rules name
// and that has addresses in common with ours.
func samples(ours []netip.Prefix, named ...[]netip.Prefix) []netip.Addr {
	out := []netip.Addr{ours[0].Addr().Next()}
	for _, n := range slices.Concat(named...) {
		i := slices.IndexFunc(ours, n.Overlaps)
		if i < 0 || len(out) >= mostSamples {
			continue
		}
		a := n.Addr()
		if ours[i].Bits() > n.Bits() {
			a = ours[i].Addr()
		}
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// prefixes are those that a table's rules compare an address of the IPv4 header with.
func (t *foreignTable) prefixes(offset uint32) []netip.Prefix {
	var out []netip.Prefix
	for _, c := range t.chains {
		for _, r := range c.rules {
			mask, loaded := -1, false
			for _, e := range r.exprs {
				switch e.name {
				case "payload":
					mask, loaded = -1, num32(e.f[unix.NFTA_PAYLOAD_BASE]) == unix.NFT_PAYLOAD_NETWORK_HEADER && num32(e.f[unix.NFTA_PAYLOAD_OFFSET]) == offset
				case "bitwise":
					mask = 0
					for _, b := range fields(e.f[unix.NFTA_BITWISE_MASK])[unix.NFTA_DATA_VALUE] {
						mask += bits.OnesCount8(b)
					}
				case "cmp", "range":
					if !loaded {
						continue
					}
					value := fields(e.f[unix.NFTA_CMP_DATA])[unix.NFTA_DATA_VALUE] // the same attribute is where a range begins
					if len(value) == 0 || len(value) > 4 {
						continue
					}
					if mask < 0 {
						mask = 8 * len(value)
					}
					var a [4]byte
					copy(a[:], value)
					out = append(out, netip.PrefixFrom(netip.AddrFrom4(a), min(mask, 32)).Masked())
				}
			}
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}
