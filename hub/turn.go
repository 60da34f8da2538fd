package hub

import (
	"context"
	"errors"
	"fmt"
)

// turn is one plane's part in a pass, or a repair of it.
type turn struct {
	slot   *slot
	view   View
	writes int     // the slot's, when view was seen
	want   Desired // with what earlier planes lack on hold
	whole  Desired // without these holds
	free   bool    // earlier planes lack nothing: the two are the same
	plans  [2]plan // what view said to want and to whole
	rep    PlaneReport
	errs   []error
	paused bool
}

// plan is what a view said to a want, which a turn asks for several times.
type plan struct {
	made    bool
	changes []Change
}

// see goes on with a new view. What the old one said counts no more.
func (t *turn) see(v View) { t.view, t.plans = v, [2]plan{} }

// aim sets what is wanted: whole, and in this plane only what lacks does not hold up.
func (t *turn) aim(whole Desired, lacks Units) {
	t.want, t.whole, t.free, t.plans = whole.Holding(lacks), whole, len(lacks) == 0, [2]plan{}
}

// plan is what the view says to what is wanted of this plane.
func (t *turn) plan() []Change { return t.ask(0, t.want) }

// wholePlan is what the view says to the whole want.
func (t *turn) wholePlan() []Change {
	if t.free {
		return t.plan()
	}
	return t.ask(1, t.whole)
}

func (t *turn) ask(i int, want Desired) []Change {
	if p := &t.plans[i]; !p.made {
		*p = plan{made: true, changes: t.view.Plan(want)}
	}
	return t.plans[i].changes
}

// make applies changes, which come from what again gives, and notes those of them as made
// which the view reached does not name any more.
func (t *turn) make(ctx context.Context, changes []Change, again func() []Change) {
	if len(changes) == 0 {
		return
	}
	after, err := t.slot.plane.Apply(ctx, t.view, changes)
	if err != nil {
		t.errs = append(t.errs, fmt.Errorf("writing %s: %w", t.rep.Plane, err))
	}
	if after == nil { // a plane that cannot say what it reached reached nothing
		t.errs = append(t.errs, fmt.Errorf("%s did not say what it reached", t.rep.Plane))
		return
	}
	t.see(after)
	t.rep.Applied = append(t.rep.Applied, gone(changes, again())...)
}

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
	t.see(view)
	t.writes = t.slot.writes
}

// refresh reads the plane again when a repair wrote to it since; the slot's lock is held.
func (t *turn) refresh(ctx context.Context) {
	if !t.rep.Unread && t.writes != t.slot.writes {
		t.observe(ctx)
	}
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

// gone returns the changes of before that after does not name any more.
func gone(before, after []Change) []Change {
	type key struct {
		verb   Verb
		object string
	}
	left := make(map[key]bool, len(after))
	for _, c := range after {
		left[key{c.Verb, c.Object}] = true
	}
	var out []Change
	for _, c := range before {
		if !left[key{c.Verb, c.Object}] {
			out = append(out, c)
		}
	}
	return out
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
