package vpcroute_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
	"peerhub/hub/vpcroute"
	"peerhub/test/ec2sim"
)

// A crash between CreateRoute and its confirmation: the intent is there, and the restart
// adopts exactly that route.
func TestAnUnconfirmedIntent(t *testing.T) {
	t.Parallel()
	for _, made := range []bool{true, false} {
		t.Run(fmt.Sprint(made), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ec2sim.Options{Delays: ec2sim.Delays{Deleted: ec2sim.Immediate}})
			key := hub.LedgerKey{Table: hubTable, Destination: prefix("10.120.0.0/16"), Peering: farPeering}
			w.ledger.entries = []hub.LedgerEntry{{LedgerKey: key, Scope: hub.Scope{Account: hubAccount, Region: tokyo}, Spoke: farVPC, Side: hub.SideHub}}
			if made {
				w.add(hubTable, "10.120.0.0/16", farPeering)
			}
			w.pass()
			w.expect("ledger", w.ledger.lines()[1:2], []string{hubTable + " 10.120.0.0/16 " + farPeering + " hub"})
			w.deletePeering(farPeering)
			w.pass()
			w.expect("hub", w.routes(hubAccount, tokyo, hubTable), wantHub[:1])
		})
	}
}

func TestWithoutALedgerNothingIsMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	w.survey()
	if rep := w.passOnly(); rep.Pending() != 0 {
		t.Fatalf("control: %v", rep.Planes[0].Pending)
	}
	w.deleteRoute(hubAccount, tokyo, hubTable, "10.110.0.0/16")
	w.ledger.entries = nil
	w.start(nil)
	w.survey()
	if _, err := w.plane.Observe(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.ledger.fail = errors.New("disk full")
	n := len(w.Log())
	rep := w.passOnly()
	w.expect("mutations", w.mutations(n), nil)
	if !has(rep, hub.RouteFailed) || rep.Pending() != 1 {
		t.Errorf("problems %v, pending %v", rep.Problems, rep.Planes[0].Pending)
	}
}

func exists(rw http.ResponseWriter) {
	rw.WriteHeader(http.StatusBadRequest)
	fmt.Fprint(rw, "<Response><Errors><Error><Code>RouteAlreadyExists</Code><Message>m</Message></Error></Errors><RequestID>r</RequestID></Response>")
}

// The answer to CreateRoute is lost: the retry hears that the route exists, and it is ours.
func TestALostAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	var lost atomic.Bool
	w.handler = func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		if strings.Contains(string(body), "Action=CreateRoute&") && strings.Contains(string(body), svcTable) {
			if lost.CompareAndSwap(false, true) {
				api.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			}
			exists(rw)
			return
		}
		api.ServeHTTP(rw, r)
	}
	rep := w.pass()
	w.handler = nil
	w.expect("problems", codes(rep), nil)
	if !lost.Load() || len(w.ledger.lines()) != 4 {
		t.Errorf("lost %v, ledger %v", lost.Load(), w.ledger.lines())
	}
	w.deletePeering(svcPeering)
	w.pass()
	w.expect("svc", w.routes(svcAccount, tokyo, svcTable), nil)
}

// Somebody makes a route between our survey and our write. AWS may answer success or
// RouteAlreadyExists when the target is the same; here it is the latter.
func TestARaceForADestination(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, target string
		code         hub.Code
	}{
		{"the same target", svcPeering, ""},
		{"another target", "igw-0a000001", hub.RouteConflict},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ec2sim.Options{})
			must(t)(w.AddGateway(ec2sim.GatewaySpec{ID: "igw-0a000001", VPC: hubVPC}))
			w.survey()
			w.add(hubTable, "10.110.0.0/16", tc.target)
			w.handler = func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return
				}
				if strings.Contains(string(body), "Action=CreateRoute&") && strings.Contains(string(body), "10.110.0.0") {
					exists(rw)
					return
				}
				r.Body = io.NopCloser(strings.NewReader(string(body)))
				api.ServeHTTP(rw, r)
			}
			rep := w.passOnly()
			if has(rep, tc.code) != (tc.code != "") || rep.Pending() != 0 {
				t.Errorf("problems %v, pending %v", rep.Problems, rep.Planes[0].Pending)
			}
			for _, l := range w.ledger.lines() {
				if strings.HasPrefix(l, hubTable+" 10.110") {
					t.Errorf("somebody else's route is in our ledger: %s", l)
				}
			}
			w.pass()
			w.pass()
			w.expect("hub", w.routes(hubAccount, tokyo, hubTable), []string{"10.110.0.0/16 " + tc.target, wantHub[1]})
		})
	}
}

// Records of routes that are not there: AWS has the last word on intents, and of what
// was confirmed only the record goes.
func TestRecordsWithoutRoutes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		table     hub.TableID
		confirmed bool
		calls     []string
	}{
		{"an intent", svcTable, false, []string{svcAccount + " DeleteRoute 10.199.0.0/24 InvalidRoute.NotFound"}},
		{"an intent in a table that is gone", "rtb-0a0000ff", false, []string{svcAccount + " DeleteRoute 10.199.0.0/24 InvalidRouteTableID.NotFound"}},
		{"a route that somebody deleted", svcTable, true, nil},
		{"a table that is gone", "rtb-0a0000ff", true, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ec2sim.Options{})
			w.pass()
			before := w.ledger.lines()
			w.ledger.entries = append(w.ledger.entries, hub.LedgerEntry{
				LedgerKey: hub.LedgerKey{Table: tc.table, Destination: prefix("10.199.0.0/24"), Peering: svcPeering},
				Scope:     hub.Scope{Account: svcAccount, Region: tokyo}, Spoke: svcVPC, Side: hub.SideSpoke, Confirmed: tc.confirmed})
			w.start(nil)
			n := len(w.Log())
			rep := w.pass()
			w.expect("calls", w.mutations(n), tc.calls)
			w.expect("ledger", w.ledger.lines(), before)
			if rep.Pending() != 0 || len(rep.Problems) > 0 {
				t.Errorf("pending %v, problems %v", rep.Planes[0].Pending, rep.Problems)
			}
		})
	}
}

// An empty disk: the tags name exactly the routes that were made, none of a person's.
func TestALostLedgerIsRecoveredFromTags(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{Delays: ec2sim.Delays{Deleted: ec2sim.Immediate}})
	w.add(hubTable, "10.110.9.0/24", svcPeering) // by hand, in a table that we write to
	w.pass()
	before := w.ledger.lines()
	w.survey()
	got := vpcroute.Recover(w.top)
	w.lose(got)
	w.expect("recovered", w.ledger.lines(), before)
	unseen := w.top
	unseen.Tables = slices.DeleteFunc(slices.Clone(unseen.Tables), func(x hub.Table) bool { return x.ID == farTable })
	if n := len(vpcroute.Recover(unseen)); n != len(before)-1 {
		t.Errorf("a table that is gone: %d entries", n)
	}
	unseen.Sources = slices.Clone(unseen.Sources)
	for i := range unseen.Sources {
		unseen.Sources[i].Fresh = unseen.Sources[i].Scope.Account != farAccount
	}
	if d := cmp.Diff(got, vpcroute.Recover(unseen), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Errorf("a table that cannot be seen now (-seen +not):\n%s", d)
	}
	w.deletePeering(farPeering)
	w.pass()
	w.expect("far", w.routes(farAccount, oregon, farTable), nil)

	// Control: tags of another hub are not ours.
	if err := w.Tag(hubAccount, tokyo, svcPeering, "peerhub:hub", "vpc-0a0000ff"); err != nil {
		t.Fatal(err)
	}
	w.survey()
	if got := vpcroute.Recover(w.top); len(got) != 0 {
		t.Errorf("recovered from another hub's tags: %v", got)
	}
}

// lose replaces the ledger, as an instance with an empty disk does.
func (w *world) lose(found []hub.LedgerEntry) {
	w.t.Helper()
	w.ledger.entries = nil
	w.start(nil)
	for _, e := range found {
		if err := w.ledger.Intend(w.t.Context(), e); err != nil {
			w.t.Fatal(err)
		}
	}
}

// The tags follow the ledger down as well: what a hub removed, or gave up, is nobody's
// when a person makes it again.
func TestTagsGoWithTheRoutes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		end   func(*testing.T, *world)
		stay  bool
		calls []string
	}{
		{"removed", func(t *testing.T, w *world) {
			v, err := w.plane.Observe(t.Context())
			if err == nil {
				_, err = w.plane.Apply(t.Context(), v, hub.Removals(v.Plan(hub.Desired{})))
			}
			if err != nil {
				t.Fatal(err)
			}
		}, false, nil},
		{"given up", func(t *testing.T, w *world) {
			if err := w.plane.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
		}, true, []string{hubAccount + " DeleteTags"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ec2sim.Options{})
			w.pass()
			w.survey()
			if len(vpcroute.Recover(w.top)) != 4 {
				t.Fatalf("control: recovered %v", vpcroute.Recover(w.top))
			}
			n := len(w.Log())
			tc.end(t, w)
			if tc.calls != nil {
				w.expect("calls", w.mutations(n), tc.calls)
			}
			w.expect("ledger", w.ledger.lines(), nil)
			if tc.stay {
				w.expect("hub", w.routes(hubAccount, tokyo, hubTable), wantHub)
				w.expect("svc", w.routes(svcAccount, tokyo, svcTable), wantSvc)
			} else {
				w.expect("hub", w.routes(hubAccount, tokyo, hubTable), nil)
				w.add(hubTable, "10.110.0.0/16", svcPeering) // by hand, the very route
			}
			w.survey()
			for _, x := range w.top.Peerings {
				for key := range x.Tags {
					if strings.HasPrefix(key, "peerhub:") {
						t.Errorf("%s still has the tag %s", x.ID, key)
					}
				}
			}
			if got := vpcroute.Recover(w.top); len(got) != 0 {
				t.Errorf("claimed: %v", got)
			}
		})
	}
}

// A cleanup that may not remove tags says so; the next one that may removes them, though
// no record is left to remind it.
func TestTagsThatCouldNotBeRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	w.pass()
	w.survey()
	w.fault(ec2sim.FaultDeny, "DeleteTags@"+hubAccount)
	if err := w.plane.Release(t.Context()); err == nil || !strings.Contains(err.Error(), "remove tags") {
		t.Fatalf("got %v, want it told that the tags are there", err)
	}
	w.expect("ledger", w.ledger.lines(), nil)
	w.fault(ec2sim.FaultDeny, "off")
	w.start(nil)
	w.survey()
	apply := func() {
		t.Helper()
		v, err := w.plane.Observe(t.Context())
		if err == nil {
			_, err = w.plane.Apply(t.Context(), v, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	n := len(w.Log())
	apply()
	w.expect("control: without a recheck", w.mutations(n), nil)
	w.plane.Recheck()
	apply()
	w.expect("calls", w.mutations(n), []string{hubAccount + " DeleteTags"})
}

// Two hubs on one VPC, as during a failover: neither undoes the other's routes, and what
// nobody wants is removed once.
func TestTwoHubsOnOneVPC(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{Delays: ec2sim.Delays{Deleted: ec2sim.Immediate}})
	w.pass()
	second := *w
	second.ledger, second.disc, second.prev, second.mem = &ledger{}, nil, nil, hub.Remembered{}
	second.start(nil)
	n := len(w.Log())
	for range 3 {
		w.pass()
		second.pass()
	}
	w.expect("mutations of both", w.mutations(n), nil)
	w.expect("the second's ledger", second.ledger.lines(), nil)
	w.deletePeering(farPeering)
	n = len(w.Log())
	second.pass()
	w.pass()
	second.pass()
	for _, m := range w.mutations(n) {
		if !strings.Contains(m, "DeleteRoute") {
			t.Errorf("flaps: %s", m)
		}
	}
	w.expect("hub", w.routes(hubAccount, tokyo, hubTable), wantHub[:1])
	w.expect("far", w.routes(farAccount, oregon, farTable), nil)
}

// A second instance with an empty disk, in another subnet, leaves alone what the first made
// and goes on using; a third, which finds the first gone, takes it over. Each has tags of its
// own, and neither touches the other's.
func TestANeighbourWithAnEmptyDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	w.instance = "i-0a000001"
	w.start(nil)
	w.pass()
	first := w.ledger.lines()
	w.survey()
	w.expect("who wrote", writers(w.top, "i-0a000009"), []string{"i-0a000001"})

	second := *w
	second.ledger, second.disc, second.prev, second.mem = &ledger{}, nil, nil, hub.Remembered{}
	second.instance = "i-0a000002"
	second.start(nil)
	second.survey()
	if got := vpcroute.Recover(second.top, "i-0a000001"); len(got) != 0 {
		t.Errorf("taken from one that lives: %v", got)
	}
	if got := vpcroute.Recover(second.top); len(got) != len(first) {
		t.Errorf("control: taken from one that is gone: %v, want %v", got, first)
	}

	// Each makes a route of its own, and both mirrors stand.
	w.deleteRoute(hubAccount, tokyo, hubTable, "10.120.0.0/16")
	second.pass()
	w.expect("the second's ledger", second.ledger.lines(), []string{hubTable + " 10.120.0.0/16 " + farPeering + " hub"})
	second.survey()
	w.expect("both wrote", writers(second.top, "i-0a000009"), []string{"i-0a000001", "i-0a000002"})
	n := len(w.Log())
	for range 3 {
		w.pass()
		second.pass()
	}
	w.expect("calls afterwards", w.mutations(n), nil)
	w.survey()
	w.expect("both stand", writers(w.top, "i-0a000009"), []string{"i-0a000001", "i-0a000002"})

	// The second goes; the first's tags stay.
	if err := second.plane.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.survey()
	w.expect("who is left", writers(w.top, "i-0a000009"), []string{"i-0a000001"})
	if got := vpcroute.Recover(w.top); len(got) != len(first) {
		t.Errorf("the first's mirror: %v, want %v", got, first)
	}
}

// writers are the instances that the tags name, as one sees it that is none of them.
func writers(t hub.Topology, as hub.InstanceID) []string {
	t.Hub.Instance = as
	var out []string
	for _, w := range vpcroute.Writers(t) {
		out = append(out, string(w))
	}
	return out
}
