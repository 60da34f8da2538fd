package state_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"peerhub/hub"
	"peerhub/hub/state"
)

func made(n int) hub.HistoryEntry {
	spoke := fmt.Sprintf("svc%d", n%2)
	return hub.HistoryEntry{At: time.Unix(int64(n), 0).UTC(), TookMS: 12, Mode: hub.ModeSync, Count: 1, Causes: []hub.Cause{{Trigger: hub.TriggerSurvey}},
		Changes: []hub.HistoryChange{{Plane: hub.PlaneMasq, Verb: hub.VerbAdd, Object: fmt.Sprintf("element %d", n), Spoke: &spoke}}}
}

// repair is one that puts back what somebody took away.
func repair(at int, object string) hub.HistoryEntry {
	plane := hub.PlaneMasq
	return hub.HistoryEntry{At: time.Unix(int64(at), 0).UTC(), Plane: &plane, Count: 1, Causes: []hub.Cause{{Trigger: hub.TriggerRepair}},
		Changes: []hub.HistoryChange{{Plane: plane, Verb: hub.VerbAdd, Object: object}}}
}

func appendAll(t *testing.T, s *state.State, list ...hub.HistoryEntry) {
	t.Helper()
	for _, e := range list {
		if err := s.AppendHistory(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

func objects(list []hub.HistoryEntry) string {
	var out []string
	for _, e := range list {
		out = append(out, fmt.Sprintf("%s*%d", e.Changes[0].Object, e.Times))
	}
	return strings.Join(out, " ")
}

func TestHistoryQueries(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	appendAll(t, s, made(1), made(2), made(3), repair(4, "a"), repair(5, "a"), repair(9, "a"), repair(10, "b"), made(11), repair(12, "b"))
	closeState(t, s)
	s = open(t, dir)
	tests := map[string]struct {
		q    hub.HistoryQuery
		want string
	}{
		"everything":    {hub.HistoryQuery{}, "b*1 element 11*1 b*1 a*3 element 3*1 element 2*1 element 1*1"},
		"the newest":    {hub.HistoryQuery{Limit: 2}, "b*1 element 11*1"},
		"of a spoke":    {hub.HistoryQuery{Spoke: "svc1"}, "element 11*1 element 3*1 element 1*1"},
		"since, begun":  {hub.HistoryQuery{Since: time.Unix(10, 0)}, "b*1 element 11*1 b*1"},
		"since, lasted": {hub.HistoryQuery{Since: time.Unix(9, 0)}, "b*1 element 11*1 b*1 a*3"},
		"of nobody":     {hub.HistoryQuery{Spoke: "svc9"}, ""},
	}
	for name, tt := range tests {
		got, err := s.History(t.Context(), tt.q)
		if err != nil || objects(got) != tt.want {
			t.Errorf("%s: %q, %v; want %q", name, objects(got), err, tt.want)
		}
	}
	closeState(t, s)
	got, err := state.ReadHistory(t.Context(), dir, hub.HistoryQuery{Limit: 4})
	if err != nil || objects(got) != "b*1 element 11*1 b*1 a*3" || !got[3].Last.Equal(time.Unix(9, 0)) {
		t.Errorf("without hubd: %q, %v", objects(got), err)
	}
}

func TestHistoryIsCapped(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	appendAll(t, s, made(1))
	closeState(t, s)
	db, err := sql.Open("sqlite", filepath.Join(dir, "history.db")) // many at once: a commit each takes its time
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO pass (body) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 1017) SELECT body FROM pass, n"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer closeState(t, s)
	appendAll(t, s, made(1018), made(1019))
	if got, err := s.History(t.Context(), hub.HistoryQuery{}); err != nil || len(got) != 1000 || got[0].Changes[0].Object != "element 1019" {
		t.Errorf("%d entries, %v", len(got), err)
	}
	big := made(1)
	for range 999 {
		big.Changes = append(big.Changes, hub.HistoryChange{Object: strings.Repeat("x", 10<<10)})
	}
	for range 32 {
		appendAll(t, s, big)
	}
	if got, err := s.History(t.Context(), hub.HistoryQuery{}); err != nil || len(got) < 3 || len(got) > 20 || len(got[0].Changes) != 200 {
		t.Errorf("%d entries of 2 MiB, %v", len(got), err)
	}
}

func TestABrokenHistoryIsKeptAsideAndANewOneBegins(t *testing.T) {
	torn := []byte("not a database at all, but long enough to look at")
	dir := t.TempDir()
	path := filepath.Join(dir, "history.db")
	if _, err := state.ReadHistory(t.Context(), dir, hub.HistoryQuery{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing one: %v", err)
	}
	s := open(t, dir)
	fill(t, s)
	appendAll(t, s, made(1))
	closeState(t, s)
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := state.ReadHistory(t.Context(), dir, hub.HistoryQuery{}); err == nil || !strings.Contains(err.Error(), "begins a new one") {
		t.Errorf("a torn one: %v", err)
	}
	s = open(t, dir)
	if s.Doubt() != "" || !strings.Contains(s.HistoryNote(), "kept as history.db.broken-1") {
		t.Errorf("doubt %q, note %q", s.Doubt(), s.HistoryNote())
	}
	if kept, err := os.ReadFile(path + ".broken-1"); err != nil || string(kept) != string(torn) {
		t.Errorf("kept aside: %q, %v", kept, err)
	}
	appendAll(t, s, made(2))
	for _, harm := range []func() error{
		func() error { return os.WriteFile(path, torn, 0o600) }, // while hubd has it open
		func() error { return os.Remove(path) },
	} {
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		appendAll(t, s, made(3), made(5))
		if got, err := s.History(t.Context(), hub.HistoryQuery{}); err != nil || objects(got) != "element 5*1 element 3*1" {
			t.Errorf("afterwards: %q, %v", objects(got), err)
		}
	}
	closeState(t, s)
	s = open(t, dir)
	defer closeState(t, s)
	if got, err := s.History(t.Context(), hub.HistoryQuery{}); err != nil || objects(got) != "element 5*1 element 3*1" || s.HistoryNote() != "" {
		t.Errorf("after a restart: %q, %v, %q", objects(got), err, s.HistoryNote())
	}
}

func TestWindowOutlivesARestart(t *testing.T) {
	dir := t.TempDir()
	for _, body := range []string{"", `{"until":"x"}`, `{"until":"y"}`, ""} {
		s := open(t, dir)
		var raw []byte
		if body != "" {
			raw = []byte(body)
		}
		if err := s.SaveWindow(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
		closeState(t, s)
		s = open(t, dir)
		if got, err := s.LoadWindow(t.Context()); err != nil || string(got) != body {
			t.Errorf("%q, %v; want %q", got, err, body)
		}
		closeState(t, s)
	}
}
