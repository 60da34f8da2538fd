package state_test

import (
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"peerhub/hub"
	"peerhub/hub/state"
)

// seedState is a state.db with something in everything.
func seedState(f *testing.F) []byte {
	f.Helper()
	dir := f.TempDir()
	s, err := state.Open(dir)
	if err != nil {
		f.Fatal(err)
	}
	e := hub.LedgerEntry{LedgerKey: hub.LedgerKey{Table: "rtb-1", Peering: "pcx-1"}, Spoke: "vpc-1"}
	for _, err := range []error{s.Save(f.Context(), hub.Remembered{Numbers: map[hub.SpokeID]uint16{"vpc-1": 1}}, hub.Desired{}),
		s.SaveTopology(f.Context(), hub.Topology{}), s.Intend(f.Context(), e), s.Close()} {
		if err != nil {
			f.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "state.db"))
	if err != nil {
		f.Fatal(err)
	}
	return b
}

// FuzzStateFile opens any bytes as a state: it is opened, set aside with a doubt, or
// refused; what can be opened can be read, written and opened again.
func FuzzStateFile(f *testing.F) {
	whole := seedState(f)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte("SQLite format 3\x00"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "state.db"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := state.Open(dir)
		if err != nil {
			kept, rerr := os.ReadFile(filepath.Join(dir, "state.db"))
			if rerr != nil || string(kept) != string(data) {
				t.Fatalf("refused (%v), and yet the file is another: %v", err, rerr)
			}
			return
		}
		mem, merr := s.LoadRemembered(t.Context())
		_, _ = s.LoadDesired(t.Context())
		top, _, terr := s.LoadTopology(t.Context())
		_, _ = s.Entries(t.Context())
		if merr == nil && terr == nil {
			hub.Decide(hub.Policy{}, top, mem)
		}
		if err := s.Save(t.Context(), hub.Remembered{}, hub.Desired{}); err != nil {
			t.Errorf("it was opened (doubt %q) and cannot be written: %v", s.Doubt(), err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		again, err := state.Open(dir)
		if err != nil {
			t.Fatalf("opened a second time: %v", err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzStateValues puts any JSON, with a checksum that fits, where what is remembered, the
// want and the topology are kept: loading and deciding end.
func FuzzStateValues(f *testing.F) {
	for n, v := range []any{hub.Remembered{Numbers: map[hub.SpokeID]uint16{"vpc-1": 1}}, hub.Desired{Reaches: []hub.Reach{{Spoke: "vpc-1"}}}, hub.Topology{Peerings: []hub.Peering{{ID: "pcx-1"}}}} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(n), b)
		f.Add(uint8(n), []byte("null"))
	}
	f.Fuzz(func(t *testing.T, n uint8, body []byte) {
		dir := t.TempDir()
		s, err := state.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		name := []string{"remembered", "desired", "topology"}[n%3]
		plantValue(t, filepath.Join(dir, "state.db"), name, body)
		if s, err = state.Open(dir); err != nil {
			return
		}
		defer s.Close()
		mem, merr := s.LoadRemembered(t.Context())
		want, derr := s.LoadDesired(t.Context())
		top, _, terr := s.LoadTopology(t.Context())
		if merr != nil || derr != nil || terr != nil {
			return
		}
		fresh, _, after := hub.Decide(hub.Policy{}, top, mem)
		verdict := hub.Guard(want, fresh, top, hub.Policy{}, after, false)
		if err := s.Save(t.Context(), verdict.Remembered, verdict.Desired); err != nil {
			t.Errorf("what followed cannot be saved: %v", err)
		}
	})
}

func plantValue(t *testing.T, path, name string, body []byte) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	h := sha256.New()
	fmt.Fprintf(h, "%d %s", len(name), name)
	h.Write(body)
	if _, err := db.Exec("INSERT INTO value (name, body, sum) VALUES (?, ?, ?)", name, body, h.Sum(nil)); err != nil {
		t.Fatal(err)
	}
}
