package vpcroute

import (
	"context"
	"fmt"
	"slices"

	"peerhub/hub"
)

// Adoptable lists the wanted routes that stand in a table we see, lead where they should and
// are not recorded as ours: a person made them. Sorted.
func (p *Plane) Adoptable(ctx context.Context, want hub.Desired) ([]hub.LedgerEntry, error) {
	v, err := p.Observe(ctx)
	if err != nil {
		return nil, err
	}
	seen, ok := v.(*view)
	if !ok {
		return nil, fmt.Errorf("look for routes to adopt: not a view of this plane: %T", v)
	}
	return seen.adoptable(want), nil
}

// Adopt enters those routes into the ledger and into its mirror in the tags; no route is
// written. From then on they are removed like ours. It returns what it entered.
func (p *Plane) Adopt(ctx context.Context, want hub.Desired) ([]hub.LedgerEntry, error) {
	list, err := p.Adoptable(ctx, want)
	if err != nil {
		return nil, err
	}
	for i, e := range list {
		if err := p.enter(ctx, e); err != nil {
			return list[:i], fmt.Errorf("adopt the route %s %s: %w", e.Table, e.Destination, err)
		}
	}
	if err := p.mirror(ctx); err != nil {
		return list, err
	}
	return list, nil
}

func (p *Plane) enter(ctx context.Context, e hub.LedgerEntry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.intend(ctx, e); err != nil {
		return err
	}
	return p.confirm(ctx, e.LedgerKey)
}

func (v *view) adoptable(want hub.Desired) []hub.LedgerEntry {
	var out []hub.LedgerEntry
	for _, r := range want.Routes {
		t := v.tables[r.Table]
		if r.Hold || want.Base.Hold || t == nil || !v.fresh(r.Scope) {
			continue
		}
		key := hub.LedgerKey{Table: r.Table, Destination: r.Destination, Peering: r.Peering}
		static, _ := t.at(r.Destination)
		if _, ours := v.ledger[key]; ours || static == nil || static.Target != string(r.Peering) || static.Blackhole {
			continue
		}
		out = append(out, hub.LedgerEntry{LedgerKey: key, Scope: r.Scope, Spoke: r.Spoke, Side: r.Side})
	}
	slices.SortFunc(out, func(a, b hub.LedgerEntry) int {
		return place{a.Table, a.Destination}.compare(place{b.Table, b.Destination})
	})
	return out
}
