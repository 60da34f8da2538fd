package hub

import "time"

// Report is what a pass did, as a value. Log lines, metrics, the control socket,
// hubctl and tests are all made from it.
type Report struct {
	Started  time.Time // set by the caller; the core never asks for the time
	Took     time.Duration
	Mode     Mode
	DryRun   bool
	Desired  Desired
	Topology Topology
	Planes   []PlaneReport // in the order of additions
	Problems []Problem     // sorted by subject, code, detail
	Held     []Held        // what is neither added nor removed, and why
}

// PlaneReport is one plane's part of a pass.
type PlaneReport struct {
	Plane   PlaneName
	Applied []Change // made in this pass
	Pending []Change // still lacking after it: failed, not allowed by the mode, or a dry run
	Lacks   Units    // units of the additions among Pending
	Error   string   // why the plane is frozen, or the joined errors of its changes
}

// Held is something a pass left alone on purpose.
type Held struct {
	Unit   string `json:"unit"`
	Reason string `json:"reason"`
}

// Changes counts the changes made.
func (r Report) Changes() int {
	n := 0
	for _, p := range r.Planes {
		n += len(p.Applied)
	}
	return n
}

// Pending counts the changes that are still wanted.
func (r Report) Pending() int {
	n := 0
	for _, p := range r.Planes {
		n += len(p.Pending)
	}
	return n
}
