package daemon

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
	"peerhub/hub/config"
	"peerhub/hub/control"
)

func TestNewSpokeIsReachedWithinAPollAndIdlePassesWriteNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base)
		d, stop := w.start()
		defer stop()
		after(time.Second)
		if got := w.planes[0].keys(); got != "10.100.0.0/16 10.110.0.0/16" {
			t.Fatalf("the first pass made %q", got)
		}
		writes := w.planes[0].count()
		w.log.take(t)
		after(5 * time.Minute)
		if got := w.planes[0].count(); got != writes {
			t.Errorf("idle passes wrote %d times", got-writes)
		}
		if lines := w.log.take(t); len(lines) > 0 {
			t.Errorf("idle passes logged %q", lines)
		}
		for i, at := range w.aws.asked[1:] {
			if gap := at.Sub(w.aws.asked[i]); gap < 9*time.Second || gap > 10*time.Second {
				t.Errorf("survey %d came after %v", i+1, gap)
			}
		}
		w.aws.set(func(a *aws) { a.topology = topology("billing:10.110.0.0/16", "search:10.120.0.0/16") })
		began := time.Now()
		after(10 * time.Second)
		if got := w.planes[1].keys(); !strings.Contains(got, "10.120.0.0/16") {
			t.Errorf("a poll later there is %q", got)
		}
		if last := w.planes[1].writes[w.planes[1].count()-1]; last.Sub(began) > 10*time.Second+100*time.Millisecond {
			t.Errorf("written after %v", last.Sub(began))
		}
		s, err := d.Status(t.Context())
		if err != nil || s.LastChange == nil || s.LastChange.What != "+search" || len(s.Spokes) != 2 {
			t.Errorf("status: %+v, %d spokes, %v", s.LastChange, len(s.Spokes), err)
		}
		want := []string{
			"change applied plane=kroute verb=add object=10.120.0.0/16",
			"change applied plane=masq verb=add object=10.120.0.0/16", "pass",
		}
		got := slices.DeleteFunc(w.log.take(t), func(l string) bool { return strings.Contains(l, "NO_TABLE") || strings.Contains(l, "OTHER_SIDE") })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestForeignWriteIsRepairedAtOnceAndAFightBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base)
		_, stop := w.start()
		defer stop()
		after(time.Second)
		w.planes[1].wipe()
		began := time.Now()
		synctest.Wait()
		if w.planes[1].keys() == "" || time.Since(began) > 0 {
			t.Fatalf("after %v there is %q", time.Since(began), w.planes[1].keys())
		}
		before := w.planes[1].count()
		for range 600 { // a minute of somebody who undoes each repair
			w.planes[1].wipe()
			after(100 * time.Millisecond)
		}
		if n := w.planes[1].count() - before; n > 40 {
			t.Errorf("%d repairs in a minute of fight", n)
		}
		after(time.Minute)
		if w.planes[1].keys() == "" {
			t.Error("not repaired after the fight")
		}
	})
}

// TestAConfigCutShortKeepsTheOldOne: a file read while it is written is valid and ends
// before its vpn. The twin still has one and is taken.
func TestAConfigCutShortKeepsTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base)
		d, stop := w.start()
		defer stop()
		after(time.Second)
		w.load = func() (config.Config, error) { return parse(t, "version: 1\npoll: 10s\n"), nil }
		if err := d.Reread(); err == nil || !strings.Contains(err.Error(), "cut short") {
			t.Fatalf("a config without vpn: %v", err)
		}
		s, err := d.Status(t.Context())
		if err != nil || s.ConfigNote == nil || w.planes[1].keys() == "" {
			t.Errorf("status %+v, %v; the planes have %q", s.ConfigNote, err, w.planes[1].keys())
		}
		w.load = func() (config.Config, error) { return parse(t, strings.Replace(base, "10s", "9s", 1)), nil }
		if err := d.Reread(); err != nil {
			t.Errorf("its near twin: %v", err)
		}
	})
}

func TestBadConfigKeepsTheOldOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base)
		d, stop := w.start()
		defer stop()
		after(time.Second)
		w.log.take(t)
		w.load = func() (config.Config, error) {
			return config.Parse(config.Source{Name: "/etc/hubd/hubd.yaml", Data: []byte("version: 1\npol: 3s\nmode: off\n")})
		}
		if err := d.Reread(); err == nil {
			t.Fatal("a bad config was taken")
		}
		want := []string{
			"config not taken, the old one stays error=/etc/hubd/hubd.yaml:2:1: pol: unknown key; did you mean poll?",
			"config not taken, the old one stays error=/etc/hubd/hubd.yaml:3:7: mode: found \"off\"; want one of observe, add, sync",
		}
		if diff := cmp.Diff(want, w.log.take(t)); diff != "" {
			t.Error(diff)
		}
		s, err := d.Status(t.Context())
		if err != nil || s.ConfigNote == nil || s.Mode != hub.ModeSync || s.Poll != 10 {
			t.Errorf("status: %+v %v", s, err)
		}
		w.load = func() (config.Config, error) {
			return parse(t, strings.Replace(base, "10s", "2s", 1)+"mode: add\n"), nil
		}
		if err := d.Reread(); err != nil {
			t.Fatal(err)
		}
		after(10 * time.Second)
		s, err = d.Status(t.Context())
		if err != nil || s.ConfigNote != nil || s.Mode != hub.ModeAdd || s.Poll != 2 {
			t.Errorf("status: %+v %v", s, err)
		}
	})
}

func TestPauseWritesNothingAndOutlivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base)
		d, stop := w.start()
		after(time.Second)
		if _, err := d.Pause(t.Context(), control.PauseRequest{Seconds: 3600}, "root"); err != nil {
			t.Fatal(err)
		}
		n := w.planes[1].count()
		w.planes[1].wipe()
		after(time.Minute)
		stop()
		d, stop = w.start()
		defer stop()
		w.aws.set(func(a *aws) { a.topology = topology("billing:10.110.0.0/16", "search:10.120.0.0/16") })
		after(time.Minute)
		if w.planes[1].count() != n || w.planes[1].keys() != "" {
			t.Fatalf("a paused hubd wrote %q", w.planes[1].keys())
		}
		if _, err := d.Sync(t.Context(), control.SyncRequest{}, "root"); err == nil || !strings.Contains(err.Error(), "hubctl resume") {
			t.Errorf("sync while paused: %v", err)
		}
		after(time.Hour)
		if got := w.planes[1].keys(); got != "10.100.0.0/16 10.110.0.0/16 10.120.0.0/16" {
			t.Errorf("after its end there is %q", got)
		}
		if s, _ := d.Status(t.Context()); s.Paused != nil {
			t.Error("the pause is still shown")
		}
		if _, err := d.Pause(t.Context(), control.PauseRequest{}, "root"); err != nil {
			t.Fatal(err)
		}
		w.planes[1].wipe()
		after(time.Minute)
		if _, err := d.Resume(t.Context(), control.ResumeRequest{}, "root"); err != nil {
			t.Fatal(err)
		}
		if w.planes[1].keys() == "" {
			t.Error("resume did not make a pass")
		}
	})
}

func TestFirstStartBesideAWorkingVPNObserves(t *testing.T) {
	occupied := func(context.Context, hub.Policy) (string, error) { return "tun0 is up", nil }
	t.Run("until hubctl sync", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, base)
			w.opts.Occupied = occupied
			w.planes[1].base = true
			w.opts.Flows = func(context.Context, hub.Desired) ([]Flow, error) {
				return []Flow{{Protocol: "tcp", Source: netip.MustParseAddrPort("172.27.240.7:4000"), Target: netip.MustParseAddrPort("8.8.8.8:443")}}, nil
			}
			for range 2 { // a restart does not end it
				d, stop := w.start()
				after(time.Minute)
				s, err := d.Status(t.Context())
				if err != nil || s.Mode != hub.ModeObserve || s.ModeNote == nil || w.planes[0].count() != 0 {
					t.Errorf("mode %v, %d writes, %v", s.Mode, w.planes[0].count(), err)
				}
				stop()
			}
			d, stop := w.start()
			plan, err := d.Plan(t.Context())
			if err != nil || len(plan.Changes) != 5 {
				t.Errorf("plan: %d changes, %v", len(plan.Changes), err)
			}
			if len(plan.Cuts) != 1 || plan.Cuts[0].Client != "172.27.240.7" {
				t.Errorf("plan names %+v", plan.Cuts)
			}
			done, err := d.Sync(t.Context(), control.SyncRequest{}, "root")
			if err != nil || len(done.Changes) != 5 || w.planes[0].keys() == "" {
				t.Errorf("sync did %+v, %v", done.Changes, err)
			}
			stop()
			d, stop = w.start()
			defer stop()
			after(time.Second)
			if s, _ := d.Status(t.Context()); s.Mode != hub.ModeSync || s.ModeNote != nil {
				t.Errorf("mode %v after a restart", s.Mode)
			}
		})
	})
	t.Run("until the config says another mode", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, base+"mode: observe\n")
			w.opts.Occupied = occupied
			d, stop := w.start()
			defer stop()
			after(time.Minute)
			w.config = parse(t, base+"mode: sync\n")
			if err := d.Reread(); err != nil {
				t.Fatal(err)
			}
			after(time.Second)
			if w.planes[0].keys() == "" {
				t.Error("the operator's word was not taken")
			}
		})
	})
	t.Run("not where nothing works yet", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, base)
			w.opts.Occupied = func(context.Context, hub.Policy) (string, error) { return "", nil }
			_, stop := w.start()
			after(time.Second)
			stop()
			w.opts.Occupied = occupied // by then the VPN works through hubd
			d, stop := w.start()
			defer stop()
			after(time.Second)
			if s, _ := d.Status(t.Context()); s.Mode != hub.ModeSync || w.planes[0].keys() == "" {
				t.Errorf("mode %v", s.Mode)
			}
		})
	})
}

func TestAWSOutage(t *testing.T) {
	t.Run("nothing known: a pass all the same, and not ready", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, base)
			w.aws.err = errors.New("no credentials")
			var told []string
			w.opts.Notify = func(s ...string) { told = append(told, s...) }
			d, stop := w.start()
			defer stop()
			after(firstWait)
			if len(told) == 0 || told[0] != "READY=1" {
				t.Errorf("systemd was told %q", told)
			}
			if err := d.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "no credentials") {
				t.Errorf("ready: %v", err)
			}
			s, _ := d.Status(t.Context())
			if !slices.ContainsFunc(s.Problems, func(p hub.Problem) bool {
				return p.Code == hub.NoTopology && p.Detail == "no credentials"
			}) {
				t.Errorf("problems: %+v", s.Problems)
			}
			w.aws.set(func(a *aws) { a.err = nil })
			after(10 * time.Second)
			if err := d.Ready(t.Context()); err != nil {
				t.Errorf("ready after recovery: %v", err)
			}
			lines := strings.Join(w.log.take(t), "\n")
			if strings.Count(lines, "AWS cannot be asked") != 1 || !strings.Contains(lines, "trouble over subject=survey") {
				t.Errorf("log:\n%s", lines)
			}
		})
	})
	t.Run("remembered: the data path is there at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, base)
			_, stop := w.start()
			after(time.Second)
			stop()
			w.aws.hang = true
			w.planes[0].have = map[string]hub.Object{}
			d, stop := w.start()
			defer stop()
			synctest.Wait()
			if got := w.planes[0].keys(); got != "10.100.0.0/16 10.110.0.0/16" {
				t.Errorf("at once there is %q", got)
			}
			if _, err := d.Sync(t.Context(), control.SyncRequest{}, "root"); err != nil {
				t.Errorf("sync while AWS does not answer: %v", err)
			}
			after(5 * time.Minute) // surveys hang, passes go on
			if err := d.Ready(t.Context()); err != nil {
				t.Errorf("ready: %v", err)
			}
		})
	})
}

func TestEndingLeavesTheDataPathUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base)
		_, stop := w.start()
		after(time.Second)
		before := w.planes[0].keys()
		n := w.planes[0].count()
		stop()
		_, stop = w.start()
		after(time.Minute)
		stop()
		if w.planes[0].keys() != before || w.planes[0].count() != n {
			t.Errorf("after a restart there is %q, %d writes more", w.planes[0].keys(), w.planes[0].count()-n)
		}
	})
}

func TestPendingRequestsAreAccepted(t *testing.T) {
	for mode, want := range map[string]int{"sync": 1, "add": 1, "observe": 0} {
		t.Run(mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, base+"mode: "+mode+"\n")
				asked, accepted := 0, 0
				w.opts.Accept = func(context.Context, hub.Policy, hub.Topology) ([]hub.PeeringID, error) {
					if asked++; asked == 1 {
						accepted++
						return []hub.PeeringID{"pcx-00000009"}, nil
					}
					return nil, nil
				}
				_, stop := w.start()
				defer stop()
				after(1500 * time.Millisecond)
				if accepted != want {
					t.Errorf("%d accepted", accepted)
				}
				if n := w.aws.surveys(); n != 1+want { // what became of it is seen soon
					t.Errorf("%d surveys", n)
				}
			})
		})
	}
}

func TestWatchdogIsFedOnlyWhilePassesMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, base)
		var fed atomic.Int32
		w.opts.Beat = 30 * time.Second
		w.opts.Notify = func(s ...string) {
			if s[0] == "WATCHDOG=1" {
				fed.Add(1)
			}
		}
		_, stop := w.start()
		after(10 * time.Minute)
		if n := fed.Load(); n < 50 {
			t.Errorf("fed %d times in ten minutes", n)
		}
		hang := make(chan struct{})
		w.planes[0].mu.Lock()
		w.planes[0].hang = hang
		w.planes[0].mu.Unlock()
		after(3 * passTime)
		fed.Store(0)
		after(10 * time.Minute)
		if n := fed.Load(); n != 0 {
			t.Errorf("fed %d times while a pass hangs", n)
		}
		close(hang)
		stop()
	})
}
