package masq

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"peerhub/hub"

	"golang.org/x/sys/unix"
)

const (
	ctNew = 0 // IPCTNL_MSG_CT_NEW; without NLM_F_CREATE it changes an entry that is there

	ctaTupleReply = 2
	ctaIPv4Src    = 1
)

// Inherit gives the running flows of clients toward wanted spokes their mark, as far as
// somebody else translates them already: kernel and gate then take them for ours, and they
// live on while our rules come. What is not translated reaches no spoke anyway. It returns how many flows it
// marked. The elements of want must stand before, or the gate drops what it marks.
func (p *Plane) Inherit(ctx context.Context, want hub.Desired) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("take over running flows: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.sock.anyFlow() {
		return 0, nil
	}
	flows, err := p.sock.listFlows(0, classMask)
	if err != nil {
		return 0, err
	}
	var errs []error
	marked := 0
	for _, f := range flows {
		mark, ok := inherited(want, f)
		if !ok {
			continue
		}
		_, err := p.sock.ask(ctType(ctNew), unix.AF_INET, unix.NLM_F_ACK,
			slices.Concat(f.key, attr32(ctaMark, mark), attr32(ctaMarkMask, ourMask)))
		switch {
		case errors.Is(err, unix.ENOENT): // it has just ended
		case err != nil:
			errs = append(errs, fmt.Errorf("mark the flow from %s to %s: %w", f.src, f.dst, err))
		default:
			marked++
		}
	}
	return marked, errors.Join(errs...)
}

// inherited is the mark that a flow of somebody else's translation gets.
func inherited(want hub.Desired, f flow) (mark uint32, ok bool) {
	in := func(list []netip.Prefix, a netip.Addr) bool {
		return a.IsValid() && slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	if f.back == f.src || !in(want.Base.HubPrefix, f.back) ||
		!slices.ContainsFunc(want.Base.Tunnels, func(t hub.Tunnel) bool { return in(t.Origins, f.src) }) {
		return 0, false
	}
	bits := -1
	for _, r := range want.Reaches {
		if !r.Hold && r.Mark&classMask != 0 && r.Prefix.Bits() > bits && r.Prefix.Contains(f.dst) {
			mark, bits = r.Mark, r.Prefix.Bits()
		}
	}
	return mark, bits >= 0
}
