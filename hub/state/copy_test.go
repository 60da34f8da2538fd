package state_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
	"peerhub/hub/state"
)

// files is what a directory holds, by name; nil: there is none.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(body)
	}
	return out
}

func TestACopyLeavesTheDirectoryAsItIs(t *testing.T) {
	root, temp := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	write := func(t *testing.T, s *state.State) {
		t.Helper()
		if err := errors.Join(s.Save(t.Context(), remembered(), hub.Desired{}), s.Intend(t.Context(), entry("rtb-9")), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		build func(t *testing.T, dir string)
		knows bool
		doubt string // "" for none; DIR stands for the directory
	}{
		{"not there", func(*testing.T, string) {}, false, ""},
		{"used", func(t *testing.T, dir string) {
			s := open(t, dir)
			if err := errors.Join(s.Save(t.Context(), remembered(), desired()), os.WriteFile(filepath.Join(dir, "notes.json"), []byte("{}"), 0o640), s.Close()); err != nil {
				t.Fatal(err)
			}
		}, true, ""},
		{"lost", func(t *testing.T, dir string) {
			if err := open(t, dir).Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(dir, "state.db")); err != nil {
				t.Fatal(err)
			}
		}, false, "DIR/state.db was missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(root, tt.name)
			tt.build(t, dir)
			before := files(t, dir)
			s, err := state.OpenCopy(dir)
			if err != nil {
				t.Fatal(err)
			}
			want, err := s.LoadDesired(t.Context())
			if err != nil || (want != nil) != tt.knows {
				t.Errorf("the copy knows %v, %v", want, err)
			}
			doubt := strings.Replace(tt.doubt, "DIR", dir, 1)
			if (doubt == "") != (s.Doubt() == "") || !strings.HasPrefix(s.Doubt(), doubt) {
				t.Errorf("doubt is %q, want %q", s.Doubt(), doubt)
			}
			write(t, s)
			if diff := cmp.Diff(before, files(t, dir)); diff != "" {
				t.Error(diff)
			}
			if left := files(t, temp); len(left) > 0 {
				t.Errorf("left behind: %d files", len(left))
			}
			write(t, open(t, dir)) // the control: what is no copy changes it
			if cmp.Equal(before, files(t, dir)) {
				t.Error("the control changed nothing")
			}
		})
	}
}

func TestACopyIsNotTakenFromARunningHubd(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var locked *state.LockedError
	if _, err := state.OpenCopy(dir); !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := state.OpenCopy(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestOthersCannotReadTheState(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "history.db"), nil, 0o644); err != nil { // of an older hubd
		t.Fatal(err)
	}
	s := open(t, dir)
	defer s.Close()
	if err := errors.Join(s.AppendHistory(t.Context(), made(1)), state.WriteLast(dir, 1)); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o007 != 0 {
			t.Errorf("%s is %v", e.Name(), info.Mode())
		}
	}
}
