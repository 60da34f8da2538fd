package control

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"peerhub/hub"
)

// SyncRequest asks for a pass now.
type SyncRequest struct {
	AllowRemovals  bool     `json:"allow_removals"`  // also what the guard holds
	Mode           hub.Mode `json:"mode"`            // of this pass alone; "": sync
	ConfirmSeconds float64  `json:"confirm_seconds"` // after which it is put back unless confirmed; 0: it stays
}

// ConfirmRequest answers a sync that waits to be confirmed.
type ConfirmRequest struct {
	Undo bool `json:"undo"` // put it back at once instead
}

// Confirm is a sync that is put back unless somebody confirms it.
type Confirm struct {
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	By      string    `json:"by"`
	Undoing bool      `json:"undoing"` // its time is over: it is being put back
}

// Place is what a pause is about.
type Place string

// The places. What OpenVPN pushes is left alone only while both are paused: a client meets it
// at its next connect at the earliest, and what the path lacks is not pushed anyway.
const (
	PlaceRoutes Place = "routes" // VPC route tables, and accepting peerings
	PlaceKernel Place = "kernel" // kernel routes and rules, and the firewall
)

// Places are all places.
func Places() []Place { return []Place{PlaceKernel, PlaceRoutes} }

// PauseRequest asks that places be left alone for a while.
type PauseRequest struct {
	Seconds float64 `json:"seconds"` // 0: until resumed
	Places  []Place `json:"places"`  // none: all
}

// ResumeRequest ends a pause.
type ResumeRequest struct {
	Places []Place `json:"places"` // none: all
}

// Pause is an operator's word that places be left alone.
type Pause struct {
	Since  time.Time       `json:"since"`
	Until  *time.Time      `json:"until"` // null: until resumed
	By     string          `json:"by"`
	Why    *string         `json:"why"` // of a pause that hubd made itself
	Places []Place         `json:"places"`
	Planes []hub.PlaneName `json:"planes"` // that are not written
}

// Paused is the answer to pause and resume; Pause is null when nothing is paused.
type Paused struct {
	Schema string  `json:"schema"`
	Pause  *Pause  `json:"pause"`  // all pauses as one
	Pauses []Pause `json:"pauses"` // each of them
}

// History is what changed, the newest first.
type History struct {
	Schema  string             `json:"schema"`
	Entries []hub.HistoryEntry `json:"entries"`
}

// historyValues writes a query as parameters of a URL, historyQuery reads them.
func historyValues(q hub.HistoryQuery) url.Values {
	v := url.Values{}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	if q.Spoke != "" {
		v.Set("spoke", q.Spoke)
	}
	return v
}

func historyQuery(v url.Values) (q hub.HistoryQuery, err error) {
	if text := v.Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 0 {
			return q, fmt.Errorf("limit %q: want a number", text)
		}
	}
	if text := v.Get("since"); text != "" {
		if q.Since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return q, fmt.Errorf("since %q: want a time as in RFC 3339", text)
		}
	}
	q.Spoke = v.Get("spoke")
	return q, nil
}
