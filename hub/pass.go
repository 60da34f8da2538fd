package hub

import (
	"context"
	"errors"
	"fmt"
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
}

// turn is one plane's part in a pass.
type turn struct {
	slot   *slot
	view   View
	writes int // the slot's, when view was seen
	want   Desired
	rep    PlaneReport
	errs   []error
	paused bool
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
		t.want = want.Holding(lacks)
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
		p.removals(ctx, t, want)
	}
	for _, t := range turns {
		t.finish(rep)
	}
}

// propagates reports whether what t lacks is held for the planes after it. A pass that
// may not add shows the whole plan instead: it would have been added.
func (p *pass) propagates(t *turn) bool { return t.rep.Unread || t.paused || (p.add && !p.dry) }

// observe reads the plane; the slot's lock is held.
func (t *turn) observe(ctx context.Context) {
	view, err := t.slot.plane.Observe(ctx)
	if err == nil && view == nil {
		err = errors.New("no answer")
	}
	if err != nil {
		t.rep.Unread = true
		t.errs = append(t.errs, fmt.Errorf("reading %s: %w", t.rep.Plane, err))
		return
	}
	t.view, t.writes = view, t.slot.writes
}

// refresh reads the plane again when a repair wrote to it since; the slot's lock is held.
func (t *turn) refresh(ctx context.Context) {
	if !t.rep.Unread && t.writes != t.slot.writes {
		t.observe(ctx)
	}
}

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
		var err error
		if t.view, err = s.make(ctx, t.view, t.want, Additions, &t.rep); err != nil {
			t.errs = append(t.errs, err)
		}
	}
	t.rep.Lacks = lacksOf(t.view, t.want, t.view.Plan(t.want))
}

// removals is the plane's turn on the way back. They look at the want without the holds
// of earlier planes: what nobody wants goes, whatever else is lacking.
func (p *pass) removals(ctx context.Context, t *turn, want Desired) {
	s := t.slot
	s.mu.Lock()
	defer s.mu.Unlock()
	t.refresh(ctx)
	if t.rep.Unread {
		return
	}
	if p.remove && !t.paused {
		var err error
		if t.view, err = s.make(ctx, t.view, want, Removals, &t.rep); err != nil {
			t.errs = append(t.errs, err)
		}
	}
	if !p.dry && !p.keepOrders {
		s.orders = &orders{want: t.want, add: p.add && !t.paused, remove: p.remove && !t.paused}
	}
	t.rep.Pending = pending(t.view, t.want, want)
	t.rep.Lacks = lacksOf(t.view, t.want, t.rep.Pending)
}

// pending is what a plane has still to do: additions that earlier planes do not hold up,
// and all removals.
func pending(view View, held, want Desired) []Change {
	return append(Additions(view.Plan(held)), Removals(view.Plan(want))...)
}

// lacksOf returns the units a plane lacks: those of its pending additions, and those it
// knows it cannot bring about.
func lacksOf(view View, want Desired, pending []Change) Units {
	lacks := make(Units)
	for _, c := range pending {
		if c.Verb != VerbRemove {
			lacks.Add(c.Unit)
		}
	}
	if l, ok := view.(Lacking); ok {
		for u := range l.Lacks(want) {
			lacks.Add(u)
		}
	}
	return lacks
}

// reason says why what t lacks is held for the planes after it.
func (t *turn) reason() string {
	switch {
	case t.rep.Unread:
		return fmt.Sprintf("%s could not be read", t.rep.Plane)
	case t.paused:
		return fmt.Sprintf("%s is paused", t.rep.Plane)
	}
	return fmt.Sprintf("%s lacks it", t.rep.Plane)
}

// finish puts the turn's outcome into the report.
func (t *turn) finish(rep *Report) {
	name := string(t.rep.Plane)
	var problems []Problem
	if tr, ok := t.view.(Troubled); ok {
		problems = tr.Problems(t.want)
	}
	if t.paused {
		problems = append(problems, Problem{Code: Paused, Subject: name,
			Detail: fmt.Sprintf("%s is paused: %d changes wait", name, len(t.rep.Pending)), Mend: "hubctl resume"})
	}
	if err := errors.Join(t.errs...); err != nil {
		t.rep.Error = err.Error()
		// A plane that knows the reason of each failure says it better.
		if t.rep.Unread || len(problems) == 0 {
			problems = append(problems, Problem{Code: PlaneFailed, Subject: name, Detail: err.Error(),
				Mend: "journalctl -u hubd -n 50, then: hubctl sync"})
		}
	}
	rep.Problems = append(rep.Problems, problems...)
	rep.Planes = append(rep.Planes, t.rep)
}
