package hub_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

// told returns the row of a VPC, and how many rows there are of it.
func (r *rig) told(vpc hub.SpokeID) hub.SpokeReport {
	r.t.Helper()
	var rows []hub.SpokeReport
	for _, s := range r.rep.Spokes {
		if s.ID == vpc {
			rows = append(rows, s)
		}
	}
	if len(rows) != 1 {
		r.t.Fatalf("%d rows of %s: %+v", len(rows), vpc, r.rep.Spokes)
	}
	return rows[0]
}

func TestASpokeWhoseAccountDoesNotAnswerIsStale(t *testing.T) {
	r := newRig(t)
	r.in.Topology = seeing(topology(one, two), one, "rtb-a")
	r.again()
	if s := r.told("vpc-1"); s.Stale || s.SpokeSide != hub.HealthOK || s.Spoke != (hub.Count{OK: 1, Total: 1}) {
		t.Errorf("its account answers: %+v", s)
	}
	r.in.Topology.Sources = slices.Clone(r.in.Topology.Sources)
	r.in.Topology.Sources[1].Fresh = false
	r.again()
	if s := r.told("vpc-1"); !s.Stale || s.SpokeSide != hub.HealthUnknown || s.Planes[m] != hub.HealthOK {
		t.Errorf("its account does not answer: %+v", s)
	}
	if s := r.told("vpc-2"); s.Stale || !s.OneSided || s.SpokeSide != hub.HealthUnknown {
		t.Errorf("nobody can see its tables: %+v", s)
	}
	r.in.Topology.Sources[0].Fresh, r.in.Topology.Sources[1].Fresh = false, true
	if s := r.again().told("vpc-1"); s.Stale || s.SpokeSide != hub.HealthOK {
		t.Errorf("only the hub's account does not answer: %+v", s)
	}
}

func TestASpokeOfWhichNothingIsReachedIsARow(t *testing.T) {
	for _, tt := range []struct {
		name    string
		peering hub.Peering
		policy  func(*hub.Policy)
		row     string // its name; "" for none
	}{
		{"refused", pcx(5, "555555555555", "172.27.240.0/22"), nil, "555555555555"},
		{"excluded by the config", pcx(5, "333333333333", "10.120.0.0/16"), func(p *hub.Policy) {
			p.Accounts["333333333333"] = hub.Account{Name: "web", Exclude: pfxs("10.120.0.0/16")}
		}, "web"},
		{"lost to another spoke", pcx(5, "333333333333", "10.110.7.0/24"), nil, "web"},
		{"lost to a VPC of the same account", pcx(5, billing, "10.110.7.0/24"), nil, "billing-5"},
		{"not approved", pcx(5, "555555555555", "10.120.0.0/16"), func(p *hub.Policy) { p.ListedOnly = true }, ""},
		{"not active", withState(pcx(5, "333333333333", "10.120.0.0/16"), hub.PeeringPending), nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.next(one)
			if tt.policy != nil {
				tt.policy(&r.in.Policy)
			}
			r.next(one, tt.peering)
			rows := slices.DeleteFunc(slices.Clone(r.rep.Spokes), func(s hub.SpokeReport) bool { return s.ID != "vpc-5" })
			if tt.row == "" {
				if len(rows) != 0 {
					t.Fatalf("told: %+v", rows)
				}
				return
			}
			s := r.told("vpc-5")
			if s.Name != tt.row || s.Hold || len(s.Prefixes) != 0 || len(s.Planes) != 0 || s.State != hub.PeeringActive || s.Peering != "pcx-5" || s.SpokeSide != hub.HealthUnknown {
				t.Errorf("told: %+v", s)
			}
			if diff := cmp.Diff(tt.peering.Peer.Prefixes, s.Excluded, values); diff != "" {
				t.Errorf("excluded (-want +got):\n%s", diff)
			}
			if s := r.told("vpc-1"); s.Name != "billing" || len(s.Prefixes) != 1 {
				t.Errorf("the one that works: %+v", s)
			}
			// The problem speaks of it by the same name.
			if tt.name != "excluded by the config" && !slices.ContainsFunc(r.rep.Problems, func(p hub.Problem) bool { return p.Subject == tt.row && p.Code == hub.NoPrefix }) {
				t.Errorf("problems: %+v", r.rep.Problems)
			}
		})
	}
}
