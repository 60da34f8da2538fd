package hub

import (
	"context"
	"net/netip"
)

// View is what a plane saw of its place: pure, may be asked again and again.
type View interface {
	// Plan says which changes lead from what was seen to want. Held things are in neither.
	Plan(want Desired) []Change
}

// Plane is one place we write to.
type Plane interface {
	Name() PlaneName
	// Observe reads the place. It is cheap when nothing changed since the last one.
	// An error freezes this plane for the pass.
	Observe(context.Context) (View, error)
	// Apply makes the changes, all of which come from view.Plan, and returns the truth
	// reached, also on failure. A failing change does not keep the others from being made.
	Apply(context.Context, View, []Change) (View, error)
	// Watch calls back when somebody else wrote to the place, until the context ends.
	Watch(context.Context, func()) error
}

// Troubled is implemented by views that know reasons why a want cannot be met.
type Troubled interface {
	Problems(want Desired) []Problem
}

// Lacking is implemented by views that lack something which no change of theirs can
// mend, such as a VPC route whose place is taken by a foreign one. The units are held
// for the planes after this one, as those of pending additions are.
type Lacking interface {
	Lacks(want Desired) Units
}

// Discoverer reads the topology. It never writes.
type Discoverer interface {
	// Survey reads the scopes that are due and returns the whole topology: fresh parts
	// where the read was complete, last good ones elsewhere. An error means there is no
	// topology at all yet.
	Survey(context.Context, Policy) (Topology, error)
}

// LedgerKey names a VPC route we made.
type LedgerKey struct {
	Table       TableID
	Destination netip.Prefix
	Peering     PeeringID
}

// LedgerEntry is one VPC route of ours: recorded before the call, confirmed after it.
type LedgerEntry struct {
	LedgerKey
	Scope     Scope
	Spoke     SpokeID
	Side      Side
	Confirmed bool
}

// Ledger is the durable record of VPC routes we made. Routes carry no tags, so nothing
// else tells ours from a person's.
type Ledger interface {
	Entries(context.Context) ([]LedgerEntry, error)
	// Intend records, durably, that a route is about to be made.
	Intend(context.Context, LedgerEntry) error
	// Confirm records that it was made.
	Confirm(context.Context, LedgerKey) error
	// Forget records that it is gone.
	Forget(context.Context, LedgerKey) error
}
