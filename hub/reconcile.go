package hub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Input is everything one pass needs to know.
type Input struct {
	At         time.Time // when the pass begins; the core never asks for the time
	Policy     Policy
	Topology   Topology
	Remembered Remembered
	Prev       *Desired // what the last pass wanted, from the state directory after a restart; nil: nothing known
	Mode       Mode     // "" means the policy's
	DryRun     bool     // plan only: nothing is saved or applied, and Repair goes on as before
	// AllowRemovals lets what the guard would hold go in this pass (hubctl sync --allow-removals).
	AllowRemovals bool
	// Doubt says why the state is not to be trusted, "" when it is. If it is not in the
	// first pass, nothing is removed before the hub's own source has given a fresh answer.
	Doubt  string
	Paused map[PlaneName]bool
	Undo   *Undo // nil: decide; else take a pass back
	// Save makes durable what Decide and the guard remember, and the want, before anything
	// is applied. It is called only when one of them changed. When it fails nothing is applied.
	Save func(context.Context, Remembered, Desired) error
}

// mode returns how far the pass may go; unknown means: write nothing.
func (in Input) mode() Mode {
	if in.Mode != "" {
		return in.Mode
	}
	if in.Policy.Mode != "" {
		return in.Policy.Mode
	}
	return ModeObserve
}

// Reconciler brings the planes to what is wanted. Passes run one at a time; repairs of a
// plane run at any time, also during a pass: each plane has a lock of its own.
type Reconciler struct {
	pass    sync.Mutex // held during a pass; it guards what follows
	slots   []*slot    // in the order of additions
	trust   trust
	unsaved bool // the last save failed: what the caller hands back is not on the disk
}

// trust is whether what is known of the time before this process is ground enough to remove things.
type trust uint8

const (
	trustOpen trust = iota // no pass yet
	trustNone              // nothing known, or in doubt, and no fresh answer since
	trustFull
)

// slot is one plane and what it was last told to do.
type slot struct {
	plane Plane

	mu     sync.Mutex // held while the plane is observed, planned and applied
	orders *orders    // nil before the first pass
	writes int        // counts applies by Repair, so that a pass knows its view is old
}

// orders is what Repair may do on its own: the last want, and how far.
type orders struct {
	want        Desired
	add, remove bool
}

// NewReconciler returns a reconciler over planes, which are given in the order of additions.
func NewReconciler(planes ...Plane) *Reconciler {
	r := &Reconciler{}
	for _, p := range planes {
		r.slots = append(r.slots, &slot{plane: p})
	}
	return r
}

// Plan is a dry run: the report of a pass that applies nothing and saves nothing.
func (r *Reconciler) Plan(ctx context.Context, in Input) Report {
	in.DryRun = true
	rep, _ := r.Pass(ctx, in)
	return rep
}

// Pass reads, decides, guards, plans and applies once. Additions go plane by plane along
// the path, and what a plane still lacks is held for the planes after it; removals go the
// other way and are never gated. It returns what happened and what must be remembered for
// the next pass; the want for the next pass's Prev is the report's Desired.
// Report.Took is left to the caller.
func (r *Reconciler) Pass(ctx context.Context, in Input) (Report, Remembered) {
	r.pass.Lock()
	defer r.pass.Unlock()

	in.Remembered = r.recall(ctx, in)
	want, problems, mem := Decide(in.Policy, in.Topology, in.Remembered)
	verdict := Guard(in.Prev, want, in.Topology, in.Policy, mem, in.AllowRemovals)
	want, mem = verdict.Desired, verdict.Remembered
	if in.Undo != nil {
		want, mem, problems, verdict = in.Undo.Want, in.Remembered, nil, Verdict{}
	}

	mode := in.mode()
	rep := Report{Started: in.At, Mode: mode, DryRun: in.DryRun, Desired: want, Topology: in.Topology, Held: verdict.Held}
	rep.Problems = append(problems, verdict.Problems...)

	p := pass{
		slots:   r.slots,
		paused:  in.Paused,
		dry:     in.DryRun,
		add:     mode == ModeAdd || mode == ModeSync,
		remove:  mode == ModeSync,
		verdict: verdict,
		undo:    in.Undo,
	}
	if reason := r.doubtful(in); reason != "" && p.remove && in.Undo == nil {
		p.remove = false
		rep.Problems = append(rep.Problems, Problem{Code: LedgerDoubt, Subject: "state", Detail: reason, Mend: Mend(LedgerDoubt)})
	}
	if in.DryRun {
		p.add, p.remove = false, false
		mem = in.Remembered
	} else if err := r.save(ctx, in, mem, want); err != nil {
		p.add, p.remove, p.keepOrders = false, false, true
		rep.Problems = append(rep.Problems, Problem{Code: StateFailed, Subject: "state", Detail: err.Error(), Mend: Mend(StateFailed)})
	}
	p.run(ctx, want, &rep)
	rep.Spokes = spokeReports(rep, in.Policy, in.Remembered)
	sortProblems(&rep.Problems)
	sortHeld(&rep.Held)
	return rep, mem
}

// doubtful says why nothing may be removed in this pass, "" when removals may go. Who
// begins with nothing, or with a state in doubt, first hears a fresh answer of the hub's
// own source: until then, what stands in the planes may all be wanted.
func (r *Reconciler) doubtful(in Input) string {
	next := r.trust
	if s, ok := hubSource(in.Topology); ok && s.Fresh {
		next = trustFull
	} else if next == trustOpen {
		next = trustFull
		if in.Prev == nil || in.Doubt != "" {
			next = trustNone
		}
	}
	if !in.DryRun {
		r.trust = next
	}
	switch {
	case next == trustFull:
		return ""
	case in.Doubt != "":
		return in.Doubt
	}
	return "nothing is known of an earlier pass, and the hub's own account has not answered yet"
}

// save makes the memory and the want durable when they changed.
func (r *Reconciler) save(ctx context.Context, in Input, mem Remembered, want Desired) error {
	same := in.Prev != nil && want.Equal(*in.Prev) && mem.Equal(in.Remembered)
	if in.Save == nil || (same && !r.unsaved) {
		return nil
	}
	err := in.Save(ctx, mem, want)
	r.unsaved = err != nil
	if err != nil {
		return fmt.Errorf("saving what must be remembered: %w", err)
	}
	return nil
}

// Repair brings one plane back to the last want, after somebody else wrote to its place.
// Before the first pass it does nothing.
func (r *Reconciler) Repair(ctx context.Context, plane PlaneName) PlaneReport {
	for _, s := range r.slots {
		if s.plane.Name() == plane {
			return s.repair(ctx)
		}
	}
	return PlaneReport{Plane: plane, Error: fmt.Sprintf("there is no plane %q", plane)}
}

func (s *slot) repair(ctx context.Context) PlaneReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &turn{slot: s, rep: PlaneReport{Plane: s.plane.Name()}}
	if s.orders == nil || !s.orders.add {
		return t.rep
	}
	t.aim(s.orders.want, nil)
	if t.observe(ctx); !t.rep.Unread {
		t.make(ctx, Additions(t.plan()), t.plan)
		if s.orders.remove {
			t.make(ctx, Removals(t.plan()), t.plan)
		}
		s.writes++
		t.rep.Pending = t.plan()
		t.rep.Lacks = lacksOf(t.view, t.want, t.rep.Pending)
	}
	if err := errors.Join(t.errs...); err != nil {
		t.rep.Error = err.Error()
	}
	return t.rep
}
