package hub

import (
	"context"
	"maps"
	"net/netip"
	"slices"
)

// Recalling is implemented by planes whose place still tells, by their marks, which numbers
// were allotted. A hub that lost its memory takes them up again: running flows carry them.
type Recalling interface {
	Recall(context.Context) (map[netip.Prefix]uint32, error)
}

// recall returns what is remembered, with the numbers that the planes know when there are
// none. A plane that cannot be read is told of in its own turn.
func (r *Reconciler) recall(ctx context.Context, in Input) Remembered {
	if len(in.Remembered.Numbers) > 0 || in.Topology.Hub.VPC == "" {
		return in.Remembered
	}
	mem := in.Remembered.clone()
	announced := announcers(in.Topology)
	for _, s := range r.slots {
		p, ok := s.plane.(Recalling)
		if !ok {
			continue
		}
		s.mu.Lock()
		marks, err := p.Recall(ctx)
		s.mu.Unlock()
		if err != nil {
			continue
		}
		taken := make(map[uint16]bool)
		for _, prefix := range slices.SortedFunc(maps.Keys(marks), netip.Prefix.Compare) {
			n, by := uint16(marks[prefix]&MarkSpokeMask), announced[prefix]
			if n == 0 || len(by) != 1 || taken[n] { // nobody's, or whose is not certain
				continue
			}
			if _, has := mem.Numbers[by[0]]; !has {
				mem.Numbers[by[0]], taken[n] = n, true
			}
		}
	}
	return mem
}

// announcers says which VPCs announce a prefix: the hub's own, and those of live peerings.
func announcers(t Topology) map[netip.Prefix][]SpokeID {
	out := make(map[netip.Prefix][]SpokeID)
	add := func(id SpokeID, prefixes []netip.Prefix) {
		for _, p := range prefixes {
			if p.IsValid() && !slices.Contains(out[p.Masked()], id) {
				out[p.Masked()] = append(out[p.Masked()], id)
			}
		}
	}
	add(SpokeID(t.Hub.VPC), t.Hub.Prefixes)
	for _, pcx := range livePeerings(t) {
		if pcx.State == PeeringActive {
			add(SpokeID(pcx.Peer.VPC), pcx.Peer.Prefixes)
		}
	}
	return out
}
