package state_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"peerhub/hub"
)

func report(n int) hub.Report {
	return hub.Report{Started: time.Unix(int64(n), 0).UTC(), Took: 12 * time.Millisecond, Mode: hub.ModeSync, Planes: []hub.PlaneReport{
		{Plane: hub.PlaneMasq, Applied: []hub.Change{{Verb: hub.VerbAdd, Unit: hub.Unit{Kind: hub.UnitSpoke, Spoke: "vpc-1"}, Object: fmt.Sprintf("element %d", n)}}}}}
}

func TestHistoryHasPassesThatChangedSomethingNewestFirst(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for n := 1; n <= 3; n++ {
		if err := s.AppendPass(t.Context(), report(n)); err != nil {
			t.Fatal(err)
		}
		if err := s.AppendPass(t.Context(), hub.Report{Started: time.Unix(int64(n), 1)}); err != nil { // quiet
			t.Fatal(err)
		}
	}
	closeState(t, s)
	s = open(t, dir)
	defer closeState(t, s)
	got, err := s.Passes(t.Context(), 2)
	if err != nil || len(got) != 2 {
		t.Fatalf("got %v, %v", got, err)
	}
	for i, want := range []string{"element 3", "element 2"} {
		if c := got[i].Changes; len(c) != 1 || c[0].Object != want || c[0].Unit.Spoke != "vpc-1" || got[i].TookMS != 12 {
			t.Errorf("pass %d: %+v, want %s", i, got[i], want)
		}
	}
}

func TestHistoryIsCapped(t *testing.T) {
	s := open(t, t.TempDir())
	defer closeState(t, s)
	for n := range 1020 {
		if err := s.AppendPass(t.Context(), report(n)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Passes(t.Context(), 10000)
	if err != nil || len(got) != 1000 {
		t.Errorf("%d passes, %v", len(got), err)
	}
}

func TestABrokenHistoryIsLostAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	closeState(t, s)
	if err := os.WriteFile(filepath.Join(dir, "history.db"), []byte("not a database at all, but long enough to look at"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer closeState(t, s)
	if s.Doubt() != "" {
		t.Errorf("in doubt: %s", s.Doubt())
	}
	if err := s.AppendPass(t.Context(), report(1)); err != nil {
		t.Errorf("writing after it: %v", err)
	}
}
