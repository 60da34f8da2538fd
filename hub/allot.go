package hub

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
)

// nameMax is how long a spoke name may be: it becomes an nftables comment, a label and a tag.
const nameMax = 63

// nameAll gives every spoke a name of its own: the account's name from the config, else the
// Name tag on our side of the peering, else the account id. Spokes that would have the same
// name, as several VPCs of one account do, get the end of their VPC id behind it. Who was
// reached under a fitting name, as before says, keeps it whoever comes or goes.
func (d *decision) nameAll(spokes []*spoke, before map[SpokeID]string) {
	count := make(map[string]int, len(spokes))
	used := make(map[string]bool, len(spokes))
	var rest []*spoke
	for _, s := range spokes { // in the order of their ids
		base := d.baseName(s)
		count[base]++
		s.name = base
		if name := before[s.id]; name != "" && !used[name] && fits(name, base, string(s.id)) {
			s.name = name
			used[name] = true
			continue
		}
		rest = append(rest, s)
	}
	var alike []*spoke
	for _, s := range rest {
		if count[s.name] > 1 || used[s.name] {
			alike = append(alike, s)
			continue
		}
		used[s.name] = true
	}
	for _, s := range alike {
		s.name = uniqueName(s.name, string(s.id), used)
		used[s.name] = true
	}
}

func (d *decision) baseName(s *spoke) string {
	candidates := []string{s.account.Name, s.peering.Name, string(s.scope.Account), string(s.id)}
	if s.hub {
		candidates = []string{d.policy.HubName, d.topology.Hub.Name, "hub"}
	}
	for _, c := range candidates {
		if name := sanitise(c); name != "" {
			return name
		}
	}
	return "unnamed"
}

// fits reports whether name is base, or base with some of the end of id behind it.
func fits(name, base, id string) bool {
	at := strings.LastIndexByte(name, '-')
	if name == base || at < 0 {
		return name == base
	}
	tail := name[at+1:]
	return tail != "" && strings.HasSuffix(idEnd(id), tail) && name == withTail(base, tail)
}

// idEnd is what of a VPC id may stand in a name.
func idEnd(id string) string { return sanitise(strings.TrimPrefix(id, "vpc-")) }

func withTail(base, tail string) string {
	return base[:min(len(base), nameMax-1-len(tail))] + "-" + tail
}

// uniqueName puts as much of the end of id behind base as makes it unlike the used names.
func uniqueName(base, id string, used map[string]bool) string {
	end := idEnd(id)
	for n := 4; ; n++ {
		if name := withTail(base, end[max(0, len(end)-n):]); !used[name] {
			return name
		}
		if n >= len(end) {
			break
		}
	}
	for n := 2; ; n++ { // only names made up to clash come here
		tail := fmt.Sprintf("-%d", n)
		if name := base[:min(len(base), nameMax-len(tail))] + tail; !used[name] {
			return name
		}
	}
}

// sanitise keeps [A-Za-z0-9._-] and writes a hyphen for every run of anything else.
func sanitise(s string) string {
	var b strings.Builder
	gap := false
	for i := 0; i < len(s) && b.Len() < nameMax; i++ { // a byte of a longer character is no letter of ours
		c := s[i]
		legal := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
		if gap && legal && b.Len() > 0 {
			b.WriteByte('-')
		}
		if gap = !legal; legal {
			b.WriteByte(c)
		}
	}
	out := b.String()
	return out[:min(len(out), nameMax)]
}

// number gives every spoke with a reach its number, once and for ever: marks of running
// flows carry it. m, which is changed, keeps it, and the name too. Only when all are used up do VPCs give theirs back
// that AWS does not list any more.
func (d *decision) number(spokes []*spoke, m *Remembered) {
	numbers := m.Numbers
	used := make(map[uint16]bool, len(numbers))
	for _, n := range numbers {
		used[n] = true
	}
	next := 1
	for _, s := range spokes {
		if len(s.prefixes) == 0 {
			continue
		}
		if n, ok := numbers[s.id]; ok {
			s.number = n
			m.Names[s.id] = s.name
			continue
		}
		for next <= math.MaxUint16 && used[uint16(next)] {
			next++
		}
		if next > math.MaxUint16 && d.reclaim(m, used) {
			next = 1
			for used[uint16(next)] {
				next++
			}
		}
		if next > math.MaxUint16 {
			d.report(SpokeNumbers, s.name, fmt.Sprintf("all %d spoke numbers are in use", math.MaxUint16), Mend(SpokeNumbers))
			s.prefixes = []netip.Prefix{}
			continue
		}
		s.number = uint16(next)
		numbers[s.id], used[s.number] = s.number, true
		m.Names[s.id] = s.name
	}
}

// reclaim takes back the numbers of VPCs that no peering names, and reports whether there were any.
func (d *decision) reclaim(m *Remembered, used map[uint16]bool) bool {
	listed := map[SpokeID]bool{SpokeID(d.topology.Hub.VPC): true}
	for _, p := range d.topology.Peerings {
		listed[SpokeID(p.Peer.VPC)] = true
	}
	found := false
	for id, n := range m.Numbers {
		if !listed[id] {
			delete(m.Numbers, id)
			delete(m.Names, id)
			delete(used, n)
			found = true
		}
	}
	return found
}
