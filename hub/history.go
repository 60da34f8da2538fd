package hub

import "time"

// Trigger is what had hubd make a pass, or a repair.
type Trigger string

// The triggers.
const (
	TriggerStart   Trigger = "start"   // of hubd
	TriggerSurvey  Trigger = "survey"  // AWS was asked on the timer
	TriggerReload  Trigger = "reload"  // of the config: SIGHUP, or hubctl add-spoke
	TriggerSync    Trigger = "sync"    // hubctl sync
	TriggerPause   Trigger = "pause"   // hubctl pause, or the end of one
	TriggerResume  Trigger = "resume"  // hubctl resume
	TriggerConfirm Trigger = "confirm" // hubctl confirm
	TriggerUndo    Trigger = "undo"    // nobody confirmed a sync --confirm
	TriggerRepair  Trigger = "repair"  // somebody else wrote to a plane
	TriggerTimer   Trigger = "timer"   // no pass was made for long, because a survey hangs
)

// Cause is why a pass was made.
type Cause struct {
	Trigger Trigger `json:"trigger"`
	By      *string `json:"by"` // who asked, as the kernel tells; null: nobody did
}

// HistoryEntry is a pass or a repair that changed something, or that a problem appeared or
// cleared in.
type HistoryEntry struct {
	At       time.Time       `json:"at"`
	TookMS   int64           `json:"took_ms"`
	Causes   []Cause         `json:"causes"` // several when one pass was for all of them
	Plane    *PlaneName      `json:"plane"`  // that was repaired; null: a pass
	Times    int             `json:"times"`  // that the same repair was made, one after the other
	Last     time.Time       `json:"last"`   // of these times; At is the first
	Mode     Mode            `json:"mode"`
	Count    int             `json:"count"` // of all changes, also those beyond the first of Changes
	Changes  []HistoryChange `json:"changes"`
	Appeared []Problem       `json:"appeared"`
	Cleared  []Problem       `json:"cleared"` // with code and subject only
	Error    *string         `json:"error"`   // of a repair that failed; at a start, what was wrong with the saved state
}

// HistoryChange is one change that was made.
type HistoryChange struct {
	Plane  PlaneName `json:"plane"`
	Verb   Verb      `json:"verb"`
	Object string    `json:"object"`
	Spoke  *string   `json:"spoke"` // its name; null: the shared part
	Detail string    `json:"detail"`
}

// HistoryQuery picks entries, the newest first.
type HistoryQuery struct {
	Limit int       // at most so many; 0: all that are kept
	Since time.Time // zero: since ever
	Spoke string    // name; "": all
}

// Picks reports whether the query asks for the entry.
func (q HistoryQuery) Picks(e HistoryEntry) bool {
	if e.At.Before(q.Since) && e.Last.Before(q.Since) {
		return false
	}
	if q.Spoke == "" {
		return true
	}
	for _, c := range e.Changes {
		if c.Spoke != nil && *c.Spoke == q.Spoke {
			return true
		}
	}
	for _, list := range [][]Problem{e.Appeared, e.Cleared} {
		for _, p := range list {
			if p.Subject == q.Spoke {
				return true
			}
		}
	}
	return false
}

// Repeats reports whether e is the same repair as before, made again.
func (e HistoryEntry) Repeats(before HistoryEntry) bool {
	if e.Plane == nil || before.Plane == nil || *e.Plane != *before.Plane || e.Count != before.Count || len(e.Changes) != len(before.Changes) {
		return false
	}
	if (e.Error == nil) != (before.Error == nil) {
		return false
	}
	for i, c := range e.Changes {
		if o := before.Changes[i]; c.Verb != o.Verb || c.Object != o.Object {
			return false
		}
	}
	return true
}
