package masq

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"peerhub/hub"
	"peerhub/hub/failpoint"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Constants of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctGet    = 1 // IPCTNL_MSG_CT_GET
	ctDelete = 2 // IPCTNL_MSG_CT_DELETE
	ctStats  = 5 // IPCTNL_MSG_CT_GET_STATS

	ctaTupleOrig = 1
	ctaMark      = 8
	ctaID        = 12
	ctaZone      = 18
	ctaMarkMask  = 21

	ctaTupleIP = 1
	ctaIPv4Dst = 2

	ctaStatsEntries = 1 // CTA_STATS_GLOBAL_ENTRIES
	ctaStatsMax     = 2 // CTA_STATS_GLOBAL_MAX_ENTRIES, Linux 5.8
)

func ctType(kind uint16) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | kind)
}

// flow is one conntrack entry with a mark of ours.
type flow struct {
	mark uint32
	src  netip.Addr // who opened it
	dst  netip.Addr // as the client wrote it
	back netip.Addr // where answers go: src, or what it was translated to
	key  []byte     // the attributes that name the entry
}

func nativeMark(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }

// Occupancy is how full conntrack is. At Limit new flows of everybody are refused.
type Occupancy struct {
	Entries uint32 // in this network namespace
	Limit   uint32 // net.netfilter.nf_conntrack_max; 0: not known
}

// share is the part in use, in percent.
func (o Occupancy) share() int {
	if o.Limit == 0 {
		return 0
	}
	return int(uint64(o.Entries) * 100 / uint64(o.Limit))
}

// Alarms of Occupancy.share, in percent.
const (
	filling = 80
	full    = 95
)

func (s *socket) occupancy() (Occupancy, error) {
	replies, err := s.ask(ctType(ctStats), unix.AF_UNSPEC, netlink.Acknowledge, nil)
	if err != nil {
		return Occupancy{}, fmt.Errorf("read how full conntrack is: %w", err)
	}
	for _, r := range replies {
		if f := fields(r); f[ctaStatsEntries] != nil {
			return Occupancy{num32(f[ctaStatsEntries]), num32(f[ctaStatsMax])}, nil
		}
	}
	return Occupancy{}, errors.New("read how full conntrack is: the kernel does not say")
}

// Conntrack reads how full conntrack is.
func (p *Plane) Conntrack(ctx context.Context) (Occupancy, error) {
	if err := ctx.Err(); err != nil {
		return Occupancy{}, fmt.Errorf("read how full conntrack is: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sock.occupancy()
}

// anyFlow reports whether there is any entry. Looking for some walks the whole hash table,
// however few there are: 6 ms at 262,144 buckets.
func (s *socket) anyFlow() bool {
	o, err := s.occupancy()
	return err != nil || o.Entries > 0 // an error: not known
}

// listFlows lists entries whose mark is mark in the bits of mask.
func (s *socket) listFlows(mark, mask uint32) ([]flow, error) {
	msgs, err := s.ask(ctType(ctGet), unix.AF_INET, netlink.Dump,
		append(attr32(ctaMark, mark), attr32(ctaMarkMask, mask)...))
	if err != nil {
		return nil, fmt.Errorf("list conntrack entries: %w", err)
	}
	var out []flow
	for _, m := range msgs {
		f := fields(m)
		fl := flow{mark: num32(f[ctaMark])}
		// The kernel may be older than the filter.
		if fl.mark&mask != mark {
			continue
		}
		there, back := fields(fields(f[ctaTupleOrig])[ctaTupleIP]), fields(fields(f[ctaTupleReply])[ctaTupleIP])
		fl.src, fl.dst, fl.back = address4(there[ctaIPv4Src]), address4(there[ctaIPv4Dst]), address4(back[ctaIPv4Dst])
		fl.key = attr(ctaTupleOrig|unix.NLA_F_NESTED, f[ctaTupleOrig])
		for _, t := range []uint16{ctaID, ctaZone} {
			if v, ok := f[t]; ok {
				fl.key = append(fl.key, attr(t, v)...)
			}
		}
		out = append(out, fl)
	}
	return out, nil
}

// address4 reads an IPv4 address; the zero Addr when b is none.
func address4(b []byte) netip.Addr {
	if len(b) != 4 {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(b))
}

// deleteFlows deletes the entries of one spoke's mark.
func (s *socket) deleteFlows(mark uint32) error {
	_, err := s.ask(ctType(ctDelete), unix.AF_INET, netlink.Acknowledge,
		append(attr32(ctaMark, mark), attr32(ctaMarkMask, ourMask)...))
	if err != nil {
		return fmt.Errorf("delete conntrack entries with mark %s: %w", markText(mark), err)
	}
	return nil
}

// moved is what one mark lost and got in a batch.
type moved struct {
	lost, got []string // prefixes or ranges
}

// deleteFlowsTo deletes the entries of one mark that lead where it leads no more.
func (s *socket) deleteFlowsTo(mark uint32, m moved) error {
	flows, err := s.listFlows(mark, ourMask)
	if err != nil {
		return err
	}
	for _, f := range flows {
		leads := func(r string) bool { return f.dst.IsValid() && overlap(r, f.dst.String()) }
		if !slices.ContainsFunc(m.lost, leads) || slices.ContainsFunc(m.got, leads) {
			continue
		}
		_, err := s.ask(ctType(ctDelete), unix.AF_INET, netlink.Acknowledge, f.key)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("delete a conntrack entry to %s: %w", f.dst, err)
		}
	}
	return nil
}

// scanConntrack finds the marks that conntrack has and `out` has not: flows of spokes that
// were removed while nobody looked. A kernel without conntrack netlink is a problem, not a
// failure.
func (p *Plane) scanConntrack(st *state) {
	p.scanned = true
	if !p.sock.anyFlow() {
		return
	}
	flows, err := p.sock.listFlows(0, 0)
	p.conntrack = err
	seen := make(map[uint32]bool)
	for _, f := range flows {
		m := f.mark & ourMask
		if m&classMask == 0 || seen[m] {
			continue
		}
		seen[m] = true
		if _, live := st.elements.get(objectKey("out", markText(m))); !live {
			p.flows = append(p.flows, m)
		}
	}
	slices.Sort(p.flows)
}

// dropFlows deletes the flows of what the changes took away: by mark where the spoke is
// gone, by destination where only a prefix is.
func (p *Plane) dropFlows(before, after *state, j *job, changes []hub.Change) []error {
	whole := make(map[uint32]bool)
	for _, m := range j.stale {
		whole[m] = true
	}
	parts := make(map[uint32]*moved)
	part := func(mark string) *moved {
		var m uint32
		if b, _, err := kindMark.encode(mark); err == nil {
			m = nativeMark(b)
		}
		if parts[m] == nil {
			parts[m] = &moved{}
		}
		return parts[m]
	}
	for i, c := range changes {
		if j.failed[i] != nil {
			continue
		}
		old, had := before.elements.get(c.Object)
		now, has := after.elements.get(c.Object)
		switch {
		case had && old.set == "out" && !has:
			if b, _, err := kindMark.encode(old.key); err == nil {
				whole[nativeMark(b)] = true
			}
		case had && old.set == "spokes4" && (!has || now.data != old.data):
			m := part(old.data)
			m.lost = append(m.lost, old.key)
		}
		if has && now.set == "spokes4" && (!had || now.data != old.data) {
			m := part(now.data)
			m.got = append(m.got, now.key)
		}
	}
	for mark, m := range parts {
		if len(m.lost) == 0 || whole[mark] {
			delete(parts, mark)
		}
	}
	if len(whole)+len(parts) == 0 {
		return nil
	}
	if !p.sock.anyFlow() {
		p.flows = nil
		return nil
	}
	failpoint.Hit("masq.flows")
	var errs []error
	var left []uint32 // what could not be deleted is found in the next plan
	for m := range whole {
		if err := p.sock.deleteFlows(m); err != nil {
			errs, left = append(errs, err), append(left, m)
		}
	}
	for mark, m := range parts {
		if err := p.sock.deleteFlowsTo(mark, *m); err != nil {
			errs = append(errs, err)
		}
	}
	p.flows = slices.DeleteFunc(p.flows, func(m uint32) bool { return whole[m] })
	p.flows = slices.Sorted(slices.Values(append(slices.Clone(p.flows), left...)))
	return errs
}
