package daemon

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
	"peerhub/hub/control"
)

func TestPausesArePerPlace(t *testing.T) {
	at := time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC)
	until := at.Add(time.Hour)
	kernel, routes := []control.Place{control.PlaceKernel}, []control.Place{control.PlaceRoutes}
	first, second := control.Pause{Since: at, Until: &until, By: "root"}, control.Pause{Since: at.Add(time.Minute), By: "ann"}
	tests := []struct {
		name    string
		p       pauses
		planes  []hub.PlaneName
		list    int
		by      string
		endless bool
		after   int // places after two hours
	}{
		{name: "none"},
		{name: "kernel", p: pauses{}.with(first, kernel), planes: []hub.PlaneName{hub.PlaneKRoute, hub.PlaneMasq}, list: 1, by: "root"},
		{name: "routes", p: pauses{}.with(second, routes), planes: []hub.PlaneName{hub.PlaneVPCRoute}, list: 1, by: "ann", endless: true, after: 1},
		{name: "all at once", p: pauses{}.with(first, control.Places()), planes: hub.Planes[:], list: 1, by: "root"},
		{name: "one by one", p: pauses{}.with(first, kernel).with(second, routes), planes: hub.Planes[:], list: 2, by: "root, ann", endless: true, after: 1},
		{name: "a later word replaces", p: pauses{}.with(first, control.Places()).with(second, control.Places()), planes: hub.Planes[:], list: 1, by: "ann", endless: true, after: 2},
		{name: "one ended", p: pauses{}.with(first, control.Places()).without(kernel), planes: []hub.PlaneName{hub.PlaneVPCRoute}, list: 1, by: "root"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.p.planes()
			if want := tt.planes; !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
				t.Errorf("planes %v, want %v", got, want)
			}
			if n := len(tt.p.list()); n != tt.list {
				t.Errorf("%d pauses, want %d", n, tt.list)
			}
			m := tt.p.merged()
			if (m != nil) != (tt.list > 0) || m != nil && (m.By != tt.by || (m.Until == nil) != tt.endless) {
				t.Errorf("merged %+v", m)
			}
			if n := len(tt.p.without(tt.p.ended(at.Add(2 * time.Hour)))); n != tt.after {
				t.Errorf("%d places after two hours, want %d", n, tt.after)
			}
			data, err := json.Marshal(tt.p)
			if err != nil {
				t.Fatal(err)
			}
			var back pauses
			if err := json.Unmarshal(data, &back); err != nil || !cmp.Equal(back, tt.p) {
				t.Errorf("remembered %v, %v", back, err)
			}
		})
	}
}

// TestAPausedKernelIsNotRepairedUntilItIsResumed: its twin, the routes, is.
func TestAPausedKernelIsNotRepairedUntilItIsResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base)
		w.planes = append(w.planes, newPlane(hub.PlaneVPCRoute))
		d, stop := w.start()
		defer func() { stop() }()
		after(time.Second)
		if _, err := d.Pause(t.Context(), control.PauseRequest{Places: []control.Place{control.PlaceKernel}}, "root"); err != nil {
			t.Fatal(err)
		}
		w.planes[1].wipe()
		w.planes[2].wipe()
		after(time.Minute)
		if k, r := w.planes[1].keys(), w.planes[2].keys(); k != "" || r != both {
			t.Errorf("kernel %q, routes %q", k, r)
		}
		plan, err := d.Plan(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s, _ := d.Status(t.Context())
		for what, list := range map[string][]hub.Problem{"plan": plan.Problems, "status": s.Problems} {
			list = slices.DeleteFunc(slices.Clone(list), func(p hub.Problem) bool { return p.Code != hub.Paused })
			if len(list) != 1 || list[0].Subject != "kernel" || !strings.Contains(list[0].Mend, "--kernel") {
				t.Errorf("%s: %+v", what, list)
			}
		}
		if done, err := d.Sync(t.Context(), control.SyncRequest{}, "root"); err != nil || len(done.Pending) == 0 {
			t.Errorf("a sync while only the kernel is paused: %+v, %v", done.Pending, err)
		}
		stop() // a restart does not end it
		d, stop = w.start()
		after(time.Minute)
		if w.planes[1].keys() != "" {
			t.Error("written after a restart")
		}
		if _, err := d.Resume(t.Context(), control.ResumeRequest{Places: []control.Place{control.PlaceKernel}}, "root"); err != nil {
			t.Fatal(err)
		}
		w.stands("resumed", both) // at once: no time has passed
	})
}

func TestAPauseOfTheRoutesLeavesTheKernelRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base)
		w.planes = append(w.planes, newPlane(hub.PlaneVPCRoute))
		d, stop := w.start()
		defer stop()
		after(time.Second)
		if _, err := d.Pause(t.Context(), control.PauseRequest{Places: []control.Place{control.PlaceRoutes}, Seconds: 300}, "root"); err != nil {
			t.Fatal(err)
		}
		w.planes[1].wipe()
		w.planes[2].wipe()
		after(time.Minute)
		if k, r := w.planes[1].keys(), w.planes[2].keys(); k != both || r != "" {
			t.Errorf("kernel %q, routes %q", k, r)
		}
		after(5 * time.Minute)
		w.stands("its time is over", both)
		if _, err := d.Pause(t.Context(), control.PauseRequest{Places: []control.Place{"moon"}}, "root"); err == nil {
			t.Error("paused the moon")
		}
	})
}

func TestAPauseOfAnOlderHubdHoldsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base)
		w.store.notes[notePause] = `{"since":"2026-11-21T02:00:00Z","until":null,"by":"root"}`
		d, stop := w.start()
		defer stop()
		after(time.Minute)
		if s, _ := d.Status(t.Context()); s.Paused == nil || s.Paused.By != "root" || len(s.Paused.Places) != 2 || w.planes[0].count() != 0 {
			t.Errorf("%+v, %d writes", s.Paused, w.planes[0].count())
		}
	})
}

func TestModesOfOnePass(t *testing.T) {
	for mode, want := range map[hub.Mode]string{hub.ModeObserve: "10.9.9.0/24", hub.ModeAdd: "10.100.0.0/16 10.110.0.0/16 10.9.9.0/24", hub.ModeSync: both} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, base+"mode: observe\n")
			w.planes = w.planes[:1]
			w.planes[0].have["10.9.9.0/24"] = hub.Object{Key: "10.9.9.0/24"}
			d, stop := w.start()
			defer stop()
			after(time.Second)
			done, err := d.Sync(t.Context(), control.SyncRequest{Mode: mode}, "root")
			if err != nil || done.Mode != mode {
				t.Errorf("mode %s: %s, %v", mode, done.Mode, err)
			}
			w.stands("a pass in mode "+string(mode), want)
			if s, _ := d.Status(t.Context()); s.Mode != hub.ModeObserve {
				t.Errorf("mode %s afterwards", s.Mode)
			}
			if _, err := d.Sync(t.Context(), control.SyncRequest{Mode: "all"}, "root"); err == nil {
				t.Error("mode all was taken")
			}
		})
	}
}

func TestHistorySaysWhyAndWho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base)
		d, stop := w.start()
		defer stop()
		after(time.Second)
		w.aws.set(func(a *aws) { a.topology = topology("billing:10.110.0.0/16", "search:10.120.0.0/16") })
		after(20 * time.Second)
		w.planes[1].wipe()
		after(time.Second)
		w.edit(locksOut)
		if err := d.Reread(); err != nil {
			t.Fatal(err)
		}
		after(3 * time.Second)
		w.edit(base)
		d.mu.Lock()
		d.config = parse(t, base)
		d.mu.Unlock()
		if _, err := d.Sync(t.Context(), control.SyncRequest{}, "ann (uid 7)"); err != nil {
			t.Fatal(err)
		}
		h, err := d.History(t.Context(), hub.HistoryQuery{})
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Fields(triggers(h.Entries))
		slices.Reverse(got)
		// A reload also asks AWS; when the answer comes before the pass, that pass is for both.
		got = append(got[:min(3, len(got))], slices.DeleteFunc(slices.Clone(got[min(3, len(got)):]), func(s string) bool { return s == "survey" })...)
		if diff := cmp.Diff([]string{"start", "survey", "repair", "reload", "sync"}, got); diff != "" {
			t.Errorf("causes (-want +got):\n%s", diff)
		}
		by, repair, spoke := h.Entries[0].Causes[0].By, h.Entries[2], h.Entries[3].Changes[0].Spoke
		if by == nil || *by != "ann (uid 7)" || repair.Plane == nil || *repair.Plane != hub.PlaneMasq || spoke == nil || *spoke != "search" {
			t.Errorf("by %v, repair %+v, spoke %v", by, repair, spoke)
		}
	})
}
