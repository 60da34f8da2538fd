package control

import (
	"net/netip"

	"peerhub/hub"
)

// Adoption is what a hub that was made by hand and hubd have in common.
type Adoption struct {
	Schema      string    `json:"schema"`
	Routes      []Adopted `json:"routes"`      // VPC routes that fit and are not ours yet; in the answer of Adopt: that were adopted
	Superfluous []ByHand  `json:"superfluous"` // hubd does the same: each can be removed once it is adopted
	Left        []ByHand  `json:"left"`        // touches what hubd does, but may serve something else, too
	Plan        Plan      `json:"plan"`        // what hubd makes beside it, and which flows end
}

// Adopted is one VPC route that a person made.
type Adopted struct {
	Account     hub.AccountID `json:"account"`
	Region      hub.Region    `json:"region"`
	Table       hub.TableID   `json:"table"`
	Destination netip.Prefix  `json:"destination"`
	Peering     hub.PeeringID `json:"peering"`
	Spoke       string        `json:"spoke"`
}

// ByHand is one thing on this host that a person made.
type ByHand struct {
	What   string `json:"what"`   // "masquerade", "route"
	Object string `json:"object"` // as the tools print it
	Line   string `json:"line"`   // removes exactly this, or hands it over to hubd
}

// AdoptRequest asks hubd to take over.
type AdoptRequest struct{}
