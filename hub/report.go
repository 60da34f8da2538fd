package hub

import (
	"net/netip"
	"time"
)

// Report is what a pass did, as a value. Log lines, metrics, the control socket,
// hubctl and tests are all made from it.
type Report struct {
	Started  time.Time // set by the caller; the core never asks for the time
	Took     time.Duration
	Mode     Mode
	DryRun   bool
	Desired  Desired
	Topology Topology
	Spokes   []SpokeReport // by name; the hub VPC is the one with Hub set
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
	Unread  bool     // it could not be read, so nothing was applied and everything after it was held
	Error   string   // why it could not be read, or the joined errors of its changes
}

// Health is how a spoke stands in one plane.
type Health string

// The healths. Unknown is not a failure: the other side of a one-sided spoke is not ours to see.
const (
	HealthOK      Health = "ok"      // everything wanted is there
	HealthLacking Health = "lacking" // something wanted is not there
	HealthHeld    Health = "held"    // left as it is: guard, an earlier plane, a pause or a frozen plane
	HealthUnknown Health = "unknown" // the place could not be read, or there is no such plane
)

// Count is how many of the wanted things are there.
type Count struct {
	OK    int `json:"ok"`
	Total int `json:"total"`
}

// SpokeReport is how one spoke stands after a pass.
type SpokeReport struct {
	ID       SpokeID
	Name     string
	Hub      bool // the hub VPC itself
	Scope    Scope
	Peering  PeeringID    // "" for the hub VPC
	State    PeeringState // "" when the peering is not listed any more, and for the hub VPC
	Number   uint16
	Prefixes []netip.Prefix // what clients reach, or would; sorted; none: nothing of it can be reached
	Excluded []netip.Prefix // announced, but left out: refused or excluded by config; sorted
	Hold     bool           // the guard holds all of it
	Planes   map[PlaneName]Health
	HubSide  Count // VPC routes toward the spoke
	Spoke    Count // VPC routes back, where we may see; of the last answer when Stale
	// SpokeSide is how the VPC routes back stand: unknown when OneSided or Stale.
	SpokeSide Health
	OneSided  bool // the spoke's own tables are not ours to see
	Stale     bool // its account does not answer now: what is said of its tables is of its last answer
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
