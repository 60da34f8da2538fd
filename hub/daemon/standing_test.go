package daemon

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"peerhub/hub"
	"peerhub/hub/control"
)

func TestNotesThatNobodyUnderstandsKeepHubdStill(t *testing.T) {
	for broken, want := range map[bool]hub.Mode{true: hub.ModeObserve, false: hub.ModeSync} {
		t.Run(string(want), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, base)
				w.store.broken = broken
				for range 2 { // a restart does not end it
					d, stop := w.start()
					after(time.Minute)
					s, err := d.Status(t.Context())
					if err != nil || s.Mode != want || (s.ModeNote != nil) != broken || (w.planes[0].count() == 0) != broken {
						t.Errorf("mode %s, %d writes, %v", s.Mode, w.planes[0].count(), err)
					}
					stop()
				}
				d, stop := w.start()
				defer stop()
				if _, err := d.Sync(t.Context(), control.SyncRequest{}, "root"); err != nil {
					t.Fatal(err)
				}
				if s, _ := d.Status(t.Context()); s.Mode != hub.ModeSync {
					t.Errorf("mode %s after hubctl sync", s.Mode)
				}
			})
		})
	}
}

// TestRepairsGoNoFurtherThanTheConfig: a sync is one pass, not a change of mode.
func TestRepairsGoNoFurtherThanTheConfig(t *testing.T) {
	const foreign = "10.9.9.0/24"
	for mode, want := range map[hub.Mode]string{
		hub.ModeObserve: foreign,
		hub.ModeAdd:     "10.100.0.0/16 10.110.0.0/16 " + foreign,
		hub.ModeSync:    "10.100.0.0/16 10.110.0.0/16",
	} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, base+"mode: "+string(mode)+"\n")
				d, stop := w.start()
				defer stop()
				after(time.Second)
				done, err := d.Sync(t.Context(), control.SyncRequest{}, "root")
				if err != nil || done.Mode != hub.ModeSync || w.planes[1].keys() != "10.100.0.0/16 10.110.0.0/16" {
					t.Fatalf("sync: mode %s, %q, %v", done.Mode, w.planes[1].keys(), err)
				}
				p := w.planes[1]
				p.mu.Lock()
				p.have = map[string]hub.Object{foreign: {Key: foreign}}
				p.mu.Unlock()
				p.hit()
				synctest.Wait() // no time passes: this is a repair, not a pass
				if got := strings.Join(slices.Sorted(slices.Values(strings.Fields(p.keys()))), " "); got != sorted(want) {
					t.Errorf("in mode %s a repair left %q, want %q", mode, got, want)
				}
			})
		})
	}
}

func sorted(words string) string {
	return strings.Join(slices.Sorted(slices.Values(strings.Fields(words))), " ")
}

func TestTheEndOfAPauseDoesNotEndTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base)
		d, stop := w.start()
		defer stop()
		after(time.Second)
		if _, err := d.Pause(t.Context(), control.PauseRequest{Seconds: 60}, "root"); err != nil {
			t.Fatal(err)
		}
		set := make(chan error, 1)
		w.store.mu.Lock()
		w.store.noting = func() { // while the end of the first is being noted
			ctx := t.Context()
			go func() {
				_, err := d.Pause(ctx, control.PauseRequest{}, "root")
				set <- err
			}()
			for range 1000 { // a lock holds it up, so there is nothing to wait for
				runtime.Gosched()
			}
		}
		w.store.mu.Unlock()
		after(2 * time.Minute)
		if err := <-set; err != nil {
			t.Fatal(err)
		}
		s, err := d.Status(t.Context())
		if err != nil || s.Paused == nil || w.store.notes[notePause] == "" {
			t.Errorf("the new pause is lost: %+v, note %q, %v", s.Paused, w.store.notes[notePause], err)
		}
		var paused []string
		for _, p := range s.Problems {
			if p.Code == hub.Paused {
				paused = append(paused, p.Subject)
			}
		}
		if len(paused) != 1 { // and one pause is one problem, however many planes there are
			t.Errorf("problems for one pause: %q", paused)
		}
	})
}

func TestWhatIsGoneHasItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base)
		w.aws.topology = topology("billing:10.110.0.0/16", "search:10.120.0.0/16", "web:10.130.0.0/16", "data:10.140.0.0/16", "logs:10.150.0.0/16", "mail:10.160.0.0/16")
		_, stop := w.start()
		after(time.Second)
		stop()
		d, stop := w.start() // also one that an earlier process knew
		defer stop()
		after(time.Second)
		w.aws.set(func(a *aws) {
			gone := w.aws.topology.Peerings
			gone = slices.Clone(gone)
			gone[5].State = hub.PeeringDeleted
			a.topology.Peerings = gone
		})
		after(20 * time.Second)
		s, err := d.Status(t.Context())
		if err != nil || s.LastChange == nil || s.LastChange.What != "-mail" {
			t.Errorf("last change %+v, %v", s.LastChange, err)
		}
	})
}

// TestALostStateIsToldOf even when AWS answers before the first pass. Its twin: a good one.
func TestALostStateIsToldOf(t *testing.T) {
	const doubt = "/var/lib/hubd/state.db could not be trusted (torn); it is kept as state.db.broken-1"
	for _, want := range []string{doubt, ""} {
		t.Run(want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, base)
				w.store.saved.Doubt = want
				d, stop := w.start()
				defer stop()
				after(time.Minute)
				s, err := d.Status(t.Context())
				if err != nil || (s.StateNote != nil) != (want != "") || want != "" && *s.StateNote != want {
					t.Errorf("status says %v, %v", s.StateNote, err)
				}
				logged := slices.ContainsFunc(w.log.take(t), func(l string) bool { return strings.Contains(l, "saved state") })
				kept := slices.ContainsFunc(w.store.history, func(e hub.HistoryEntry) bool { return e.Error != nil && *e.Error == doubt })
				if logged != (want != "") || kept != (want != "") {
					t.Errorf("logged %v, in the history %v", logged, kept)
				}
			})
		})
	}
}

// TestASilentAccountTakesNothingAway: a spoke works as of the last answers of both sides. Its
// twins: the route back was gone in that answer, and an account that never answered.
func TestASilentAccountTakesNothingAway(t *testing.T) {
	for _, tt := range []struct {
		name             string
		hubFresh, fresh  bool
		never, deleted   bool
		want, line, side string
	}{
		{"both answer", true, true, false, false, "works=true stale=false", "1 of 1 spoke work,", "ok"},
		{"the spoke's is silent", true, false, false, false, "works=true stale=true", "1 of 1 spoke work, 1 of them as of ", "null"},
		{"the hub's is silent", false, true, false, false, "works=true stale=true", "1 of 1 spoke work, 1 of them as of ", "ok"},
		{"both are silent", false, false, false, false, "works=true stale=true", "1 of 1 spoke work, 1 of them as of ", "null"},
		{"silent, and the route back was gone", true, false, false, true, "works=false stale=true", "0 of 1 spoke work,", "null"},
		{"never answered", true, false, true, false, "works=false stale=true", "0 of 1 spoke work,", "null"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, base)
				w.planes = append(w.planes, newPlane(hub.PlaneVPCRoute))
				scope := w.aws.topology.Peerings[0].Peer.Scope
				vpc := w.aws.topology.Peerings[0].Peer.VPC
				w.aws.topology.Tables = append(w.aws.topology.Tables, hub.Table{ID: "rtb-00000002", VPC: vpc, Scope: scope, Main: true})
				w.aws.topology.Sources = append(w.aws.topology.Sources, hub.Source{Scope: scope, Fresh: !tt.never})
				w.planes[len(w.planes)-1].deny = tt.deleted
				d, stop := w.start()
				defer stop()
				after(time.Second)
				w.aws.set(func(a *aws) {
					a.topology.Sources = slices.Clone(a.topology.Sources)
					a.topology.Sources[0].Fresh, a.topology.Sources[1].Fresh = tt.hubFresh, tt.fresh
				})
				after(time.Minute)
				s, err := d.Status(context.Background())
				if err != nil || len(s.Spokes) != 1 {
					t.Fatalf("%d spokes, %v", len(s.Spokes), err)
				}
				side := "null"
				if h := s.Spokes[0].VPCRoute.Spoke; h != nil {
					side = string(*h)
				}
				if got := fmt.Sprintf("works=%v stale=%v", s.Spokes[0].Works, s.Spokes[0].Stale); got != tt.want || side != tt.side {
					t.Errorf("got %s spoke=%s, want %s spoke=%s", got, side, tt.want, tt.side)
				}
				if line := oneLine(s); !strings.Contains(line, tt.line) {
					t.Errorf("systemd is told %q, want %q in it", line, tt.line)
				}
				var page strings.Builder
				if err := d.metrics.write(t.Context(), &page); err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(page.String(), fmt.Sprintf("hubd_spoke_works{account=%q,spoke=%q} %v", scope.Account, s.Spokes[0].Name, truth(s.Spokes[0].Works))) {
					t.Errorf("the metric says otherwise:\n%s", page.String())
				}
			})
		})
	}
}
