package daemon

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"peerhub/hub"
	"peerhub/hub/config"
	"peerhub/hub/control"
)

const (
	both     = "10.100.0.0/16 10.110.0.0/16"
	locksOut = base + "accounts: {\"222222222222\": {exclude: [10.110.0.0/16]}}\n"
)

// order is hubctl sync --confirm 1m, as root.
var order = control.SyncRequest{ConfirmSeconds: 60}

// edit has the config on disk be text.
func (w *world) edit(text string) {
	c := parse(w.t, text)
	w.load = func() (config.Config, error) { return c, nil }
}

func (w *world) stands(when, want string) {
	w.t.Helper()
	for _, p := range w.planes {
		if got := p.keys(); got != want {
			w.t.Errorf("%s: %s has %q, want %q", when, p.name, got, want)
		}
	}
}

func triggers(list []hub.HistoryEntry) string {
	var out []string
	for _, e := range list {
		for _, c := range e.Causes {
			out = append(out, string(c.Trigger))
		}
	}
	return strings.Join(out, " ")
}

func TestASyncThatNobodyConfirmsIsPutBack(t *testing.T) {
	for name, confirm := range map[string]bool{"confirmed": true, "not confirmed": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, base)
				d, stop := w.start()
				defer stop()
				after(time.Second)
				w.stands("at first", both)
				w.edit(locksOut)
				done, err := d.Sync(t.Context(), order, "root")
				if err != nil || done.Confirm == nil {
					t.Fatalf("sync: %+v, %v", done.Confirm, err)
				}
				w.stands("after the sync", "10.100.0.0/16")
				after(50 * time.Second)
				w.stands("before the time is over", "10.100.0.0/16")
				if confirm {
					if _, err := d.Confirm(t.Context(), control.ConfirmRequest{}, "root"); err != nil {
						t.Fatal(err)
					}
				}
				after(time.Minute)
				s, _ := d.Status(t.Context())
				if confirm {
					w.stands("confirmed", "10.100.0.0/16")
					if s.Paused != nil || s.Confirm != nil {
						t.Errorf("paused %+v, confirm %+v", s.Paused, s.Confirm)
					}
					if _, err := d.Confirm(t.Context(), control.ConfirmRequest{}, "root"); !errors.Is(err, errNothingWaits) {
						t.Errorf("confirmed twice: %v", err)
					}
					return
				}
				w.stands("put back", both)
				if s.Paused == nil || s.Paused.By != "hubd" || s.Paused.Why == nil || !strings.Contains(*s.Paused.Why, "the sync of root") || s.Confirm != nil {
					t.Errorf("paused %+v, confirm %+v", s.Paused, s.Confirm)
				}
				if got := triggers(w.store.history); !strings.Contains(got, "undo") || w.store.saved.Window != nil {
					t.Errorf("history %q, window %s", got, w.store.saved.Window)
				}
				w.edit(base) // the change is taken back, as the pause says
				if err := d.Reread(); err != nil {
					t.Fatal(err)
				}
				after(time.Second)
				writes := w.planes[1].count()
				if _, err := d.Resume(t.Context(), control.ResumeRequest{}, "root"); err != nil {
					t.Fatal(err)
				}
				w.stands("resumed", both)
				if n := w.planes[1].count(); n != writes {
					t.Errorf("%d writes by the resume: what was put back is not what is wanted", n-writes)
				}
			})
		})
	}
}

// TestTheWayBackSurvivesARestart: the deadline holds for a hubd that comes before it and after it.
func TestTheWayBackSurvivesARestart(t *testing.T) {
	for name, away := range map[string]time.Duration{"back before the deadline": 20 * time.Second, "back after it": 5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, base)
				d, stop := w.start()
				after(time.Second)
				w.edit(locksOut)
				if _, err := d.Sync(t.Context(), order, "root"); err != nil {
					t.Fatal(err)
				}
				stop()
				w.config, _ = w.load()
				after(away)
				w.stands("hubd away", "10.100.0.0/16")
				d, stop = w.start()
				defer stop()
				after(time.Minute)
				w.stands("after the deadline", both)
				if s, _ := d.Status(t.Context()); s.Paused == nil || s.Paused.By != "hubd" {
					t.Errorf("paused %+v", s.Paused)
				}
			})
		})
	}
}

// TestOnlyWhatTheSyncMadeIsTakenAway: a spoke that comes while the sync waits stays, one that the
// sync brought goes, and a reload just before is taken back with it.
func TestOnlyWhatTheSyncMadeIsTakenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base+"accounts: {\"222222222223\": {exclude: [10.120.0.0/16]}}\n")
		w.aws.topology = topology("billing:10.110.0.0/16", "search:10.120.0.0/16")
		d, stop := w.start()
		defer stop()
		after(time.Second)
		w.stands("at first", both)
		w.edit(base)
		if err := d.Reread(); err != nil {
			t.Fatal(err)
		}
		after(3 * time.Second)
		w.stands("reloaded", both+" 10.120.0.0/16")
		if _, err := d.Sync(t.Context(), order, "root"); err != nil {
			t.Fatal(err)
		}
		w.aws.set(func(a *aws) {
			a.topology = topology("billing:10.110.0.0/16", "search:10.120.0.0/16", "late:10.130.0.0/16")
		})
		after(30 * time.Second)
		w.stands("meanwhile", both+" 10.120.0.0/16 10.130.0.0/16")
		after(time.Minute)
		w.stands("put back", both+" 10.130.0.0/16")
	})
}

func TestASyncWithoutAWayBackIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base)
		d, stop := w.start()
		defer stop()
		after(time.Second)
		w.edit(locksOut)
		w.store.mu.Lock()
		w.store.failNote = errors.New("no room")
		w.store.mu.Unlock()
		if _, err := d.Sync(t.Context(), order, "root"); err == nil || !strings.Contains(err.Error(), "no room") {
			t.Errorf("without room: %v", err)
		}
		w.store.mu.Lock()
		w.store.failNote = nil
		w.store.mu.Unlock()
		after(time.Minute)
		w.stands("refused", both) // the new config is not in force either
		w.load = func() (config.Config, error) { return config.Config{}, errors.New("line 3: a mistake") }
		if _, err := d.Sync(t.Context(), order, "root"); err == nil || !strings.Contains(err.Error(), "a mistake") {
			t.Errorf("with a mistake: %v", err)
		}
		w.edit(base)
		if _, err := d.Pause(t.Context(), control.PauseRequest{Places: []control.Place{control.PlaceRoutes}}, "root"); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Sync(t.Context(), order, "root"); err == nil || !strings.Contains(err.Error(), ": hubctl resume --routes comes first") {
			t.Errorf("while paused: %v", err)
		}
		if _, err := d.Pause(t.Context(), control.PauseRequest{}, "root"); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Sync(t.Context(), order, "root"); err == nil || !strings.Contains(err.Error(), ": hubctl resume comes first") {
			t.Errorf("while all is paused: %v", err)
		}
	})
}

// TestUndoEndsTheWaitAndACarefulStartStaysCareful: what a first sync beside a working VPN made is
// taken away again, whole, and hubd observes as before.
func TestUndoEndsTheWaitAndACarefulStartStaysCareful(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base+"mode: observe\n")
		d, stop := w.start()
		defer stop()
		after(time.Second)
		w.stands("observing", "")
		if _, err := d.Sync(t.Context(), order, "root"); err != nil {
			t.Fatal(err)
		}
		w.stands("synced", both)
		if _, err := d.Confirm(t.Context(), control.ConfirmRequest{Undo: true}, "root"); err != nil {
			t.Fatal(err)
		}
		w.stands("undone", "")
		after(2 * time.Minute)
		w.stands("later", "")
		if s, _ := d.Status(t.Context()); s.Mode != hub.ModeObserve || s.Paused == nil {
			t.Errorf("mode %s, paused %+v", s.Mode, s.Paused)
		}
	})
}
