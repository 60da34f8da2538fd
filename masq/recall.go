package masq

import (
	"context"
	"fmt"
	"net/netip"

	"peerhub/hub"
)

var _ hub.Recalling = (*Plane)(nil)

// Recall reads which prefix has which mark, whoever wrote it: an earlier hubd whose memory
// is lost.
func (p *Plane) Recall(ctx context.Context) (map[netip.Prefix]uint32, error) {
	seen, err := p.Observe(ctx)
	if err != nil {
		return nil, err
	}
	v, ok := seen.(*View)
	if !ok {
		return nil, fmt.Errorf("recall the marks of table inet %s: not a view of this plane: %T", p.table, seen)
	}
	out := make(map[netip.Prefix]uint32)
	v.state.elements.all(func(e stored) {
		prefix, perr := netip.ParsePrefix(e.key)
		b, _, merr := kindMark.encode(e.data)
		if e.set == "spokes4" && perr == nil && merr == nil {
			out[prefix.Masked()] = nativeMark(b)
		}
	})
	return out, nil
}
