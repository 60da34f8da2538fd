package vpcroute_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

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

func TestALostLedgerIsRecoveredFromTags(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{Delays: ec2sim.Delays{Deleted: ec2sim.Immediate}})
	w.add(hubTable, "10.110.9.0/24", svcPeering) // by hand, in a table that we write to
	w.pass()
	before := w.ledger.lines()
	w.survey()
	got := vpcroute.Recover(w.top)
	w.ledger.entries = nil
	w.start(nil)
	for _, e := range got {
		if err := w.ledger.Intend(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	w.expect("recovered", w.ledger.lines(), append([]string{before[0], hubTable + " 10.110.9.0/24 " + svcPeering + " hub"}, before[1:]...))
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
