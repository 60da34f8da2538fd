package hub_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

func TestUnitsAreWrittenAndReadBack(t *testing.T) {
	units := hub.Units{
		{Kind: hub.UnitBase}:                                                 {},
		{Kind: hub.UnitEgress, Egress: "eth0"}:                               {},
		{Kind: hub.UnitSpoke, Spoke: "vpc-1"}:                                {},
		{Kind: hub.UnitPrefix, Spoke: "vpc-1", Prefix: pfx("10.110.0.0/16")}: {},
		{Kind: hub.UnitPrefix, Spoke: "vpc-1", Prefix: pfx("2600:1::/56")}:   {},
		{}: {},
	}
	text, err := json.Marshal(units)
	if err != nil {
		t.Fatal(err)
	}
	var got hub.Units
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(units, got, values); diff != "" {
		t.Errorf("%s (-want +got):\n%s", text, diff)
	}
	for _, bad := range []string{"prefix:vpc-1", "prefix:vpc-1:10.1.2.3/99", "nothing:x"} {
		var u hub.Unit
		if err := u.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was read as %v", bad, u)
		}
	}
	if _, err := (hub.Unit{Kind: 9}).MarshalText(); err == nil {
		t.Error("a kind that does not exist was written")
	}
}

// What is written to the state directory must come back Equal, or every restart would write.
func TestWantAndMemorySurviveJSON(t *testing.T) {
	for seed := range int64(20) {
		w := newWorld(seed)
		s := newStory(t).with(survey(w.topology(), 1)).with(survey(w.topology(), 2))
		var d hub.Desired
		var m hub.Remembered
		for from, to := range map[any]any{&s.verdict.Desired: &d, &s.mem: &m} {
			text, err := json.Marshal(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, to); err != nil {
				t.Fatal(err)
			}
		}
		if !d.Equal(s.verdict.Desired) || !m.Equal(s.mem) {
			t.Fatalf("seed %d (-before +after):\n%s%s", seed, cmp.Diff(s.verdict.Desired, d, values), cmp.Diff(s.mem, m, values))
		}
	}
}

func TestEqualSeesEveryDifference(t *testing.T) {
	s := newStory(t).next(one, two).next(two)
	base := s.verdict.Desired
	for name, change := range map[string]func(*hub.Desired){
		"hold of the base": func(d *hub.Desired) { d.Base.Hold = true },
		"a tunnel":         func(d *hub.Desired) { d.Base.Tunnels = nil },
		"a server":         func(d *hub.Desired) { d.Base.Servers = nil },
		"an egress":        func(d *hub.Desired) { d.Base.Egresses = []hub.Egress{{ID: "eth1"}} },
		"the hub prefix":   func(d *hub.Desired) { d.Base.HubPrefix = nil },
		"a spoke":          func(d *hub.Desired) { d.Spokes = d.Spokes[1:] },
		"a reach":          func(d *hub.Desired) { d.Reaches = d.Reaches[1:] },
		"a route":          func(d *hub.Desired) { d.Routes = d.Routes[1:] },
	} {
		other := base
		change(&other)
		if base.Equal(other) {
			t.Errorf("%s: not seen", name)
		}
	}
	for name, change := range map[string]func(*hub.Remembered){
		"numbers":  func(m *hub.Remembered) { m.Numbers = nil },
		"winners":  func(m *hub.Remembered) { m.Winners = nil },
		"absences": func(m *hub.Remembered) { m.Absent = nil },
		"the run":  func(m *hub.Remembered) { m.Run.Quiet.Since = time.Unix(1, 0) },
	} {
		other := s.mem
		change(&other)
		if s.mem.Equal(other) {
			t.Errorf("%s: not seen", name)
		}
	}
	if !base.Equal(base) || !s.mem.Equal(s.mem) {
		t.Error("unlike itself")
	}
}
