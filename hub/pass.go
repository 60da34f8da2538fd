package hub

import (
	"context"
	"slices"
)

// pass is one walk over the planes.
type pass struct {
	slots       []*slot
	paused      map[PlaneName]bool
	dry         bool
	add, remove bool // what may be applied
	keepOrders  bool // Repair goes on with the orders it has
	verdict     Verdict
	undo        *Undo // nil: an ordinary pass
}

// run observes every plane, adds along the path, removes the other way, and fills rep.
func (p *pass) run(ctx context.Context, want Desired, rep *Report) {
	turns := make([]*turn, len(p.slots))
	for i, s := range p.slots {
		t := &turn{slot: s, rep: PlaneReport{Plane: s.plane.Name()}}
		t.paused = p.paused[t.rep.Plane]
		s.mu.Lock()
		t.observe(ctx)
		s.mu.Unlock()
		turns[i] = t
	}
	lacks := make(Units)
	for _, t := range turns {
		t.aim(want, lacks)
		p.additions(ctx, t)
		if p.propagates(t) {
			for u := range t.rep.Lacks {
				if !lacks.Has(u) {
					lacks.Add(u)
					rep.Held = append(rep.Held, Held{Unit: u.String(), Reason: t.reason()})
				}
			}
		}
	}
	for _, t := range slices.Backward(turns) {
		p.remains(ctx, t)
	}
	for _, t := range turns {
		t.finish(rep)
	}
}

// propagates reports whether what t lacks is held for the planes after it. A pass that
// may not add shows the whole plan instead: it would have been added.
func (p *pass) propagates(t *turn) bool { return t.rep.Unread || t.paused || (p.add && !p.dry) }

// additions is the plane's turn on the way out.
func (p *pass) additions(ctx context.Context, t *turn) {
	s := t.slot
	s.mu.Lock()
	defer s.mu.Unlock()
	t.refresh(ctx)
	if !p.dry && !p.keepOrders {
		// Removals wait for the way back, also those of a repair in between.
		s.orders = &orders{want: t.want, add: p.add && !t.paused}
	}
	if t.rep.Unread {
		t.rep.Lacks = Units{Unit{Kind: UnitBase}: {}}
		return
	}
	if p.add && !t.paused {
		t.make(ctx, Additions(t.plan()), t.plan)
	}
	t.rep.Lacks = lacksOf(t.view, t.want, t.plan())
}

// remains is the plane's turn on the way back: removals. They look at the want without the holds
// of earlier planes: what nobody wants goes, whatever else is lacking.
func (p *pass) remains(ctx context.Context, t *turn) {
	s := t.slot
	s.mu.Lock()
	defer s.mu.Unlock()
	t.refresh(ctx)
	if t.rep.Unread {
		return
	}
	if p.remove && !t.paused {
		t.make(ctx, p.removals(t.rep.Plane, t.wholePlan()), t.wholePlan)
	}
	if !p.dry && !p.keepOrders {
		s.orders = &orders{want: t.want, add: p.add && !t.paused, remove: p.remove && !t.paused && p.undo == nil}
	}
	// What is still to do: additions that earlier planes do not hold up, and all removals.
	t.rep.Pending = append(Additions(t.plan()), p.removals(t.rep.Plane, t.wholePlan())...)
	t.rep.Lacks = lacksOf(t.view, t.want, t.rep.Pending)
}
