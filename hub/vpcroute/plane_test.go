package vpcroute_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
	"peerhub/hub/vpcroute"
	"peerhub/test/ec2sim"
)

var (
	wantHub = []string{"10.110.0.0/16 " + svcPeering, "10.120.0.0/16 " + farPeering}
	wantSvc = []string{"10.100.0.0/24 " + svcPeering}
	wantFar = []string{"10.100.0.0/24 " + farPeering}
)

func (w *world) expect(what string, got, want []string) {
	w.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestRoutesAreMadeOnBothSidesAndAnIdlePassWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	rep := w.pass()
	w.expect("hub", w.routes(hubAccount, tokyo, hubTable), wantHub)
	w.expect("svc", w.routes(svcAccount, tokyo, svcTable), wantSvc)
	w.expect("far", w.routes(farAccount, oregon, farTable), wantFar)
	w.expect("ledger", w.ledger.lines(), []string{
		hubTable + " 10.110.0.0/16 " + svcPeering + " hub", hubTable + " 10.120.0.0/16 " + farPeering + " hub",
		svcTable + " 10.100.0.0/24 " + svcPeering + " spoke", farTable + " 10.100.0.0/24 " + farPeering + " spoke"})
	if rep.Changes() != 4 || len(rep.Problems) > 0 {
		t.Errorf("%d changes, problems %v", rep.Changes(), rep.Problems)
	}
	n := len(w.Log())
	for range 4 {
		if rep := w.pass(); rep.Changes() != 0 || rep.Pending() != 0 {
			t.Errorf("not idle: %+v", rep.Planes)
		}
	}
	w.expect("mutating calls of idle passes", w.mutations(n), nil)
	n = len(w.Log())
	w.passOnly()
	if calls := len(w.Log()) - n; calls != 0 {
		t.Errorf("%d calls by a pass without a survey", calls)
	}
}

func TestWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	const igw, tgw, vgw = "igw-0a000001", "tgw-0a000001", "vgw-0a000001"
	for _, tc := range []struct {
		name   string
		before func(*world)
		hub    []string // static routes of the hub's table afterwards
		code   hub.Code
		lacks  bool
		wrote  int // mutating calls in the hub's account but tags
	}{
		{"control: nothing", func(*world) {}, wantHub, "", false, 2},
		{"the wanted route, made by somebody", func(w *world) { w.add(hubTable, "10.110.0.0/16", svcPeering) }, wantHub, "", false, 1},
		{"a foreign route to another target", func(w *world) { w.add(hubTable, "10.110.0.0/16", igw) },
			[]string{"10.110.0.0/16 " + igw, wantHub[1]}, hub.RouteConflict, true, 1},
		{"a propagated route", func(w *world) {
			if err := w.AddPropagatedRoute(hubTable, prefix("10.110.0.0/16"), vgw); err != nil {
				w.t.Fatal(err)
			}
		}, wantHub[1:], hub.RouteConflict, true, 1},
		{"a foreign wider route", func(w *world) { w.add(hubTable, "10.96.0.0/11", tgw) },
			[]string{"10.96.0.0/11 " + tgw}, hub.RouteCovered, true, 0},
		{"a default route covers nothing", func(w *world) { w.add(hubTable, "0.0.0.0/0", igw) },
			append([]string{"0.0.0.0/0 " + igw}, wantHub...), "", false, 2},
		{"a wider route to the same peering", func(w *world) { w.add(hubTable, "10.110.0.0/15", svcPeering) },
			[]string{"10.110.0.0/15 " + svcPeering, wantHub[1]}, "", false, 1},
		{"a foreign more specific route", func(w *world) { w.add(hubTable, "10.110.4.0/24", tgw) },
			[]string{wantHub[0], "10.110.4.0/24 " + tgw, wantHub[1]}, hub.RouteShadowed, false, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ec2sim.Options{})
			for _, g := range [][2]string{{"igw", igw}, {"tgw", tgw}, {"vgw", vgw}} {
				must(t)(w.AddGateway(ec2sim.GatewaySpec{Kind: g[0], ID: g[1], VPC: hubVPC}))
			}
			tc.before(w)
			n := len(w.Log())
			rep := w.pass()
			wrote := 0
			for _, m := range w.mutations(n) {
				if strings.HasPrefix(m, hubAccount) && !strings.Contains(m, "CreateTags") {
					wrote++
				}
			}
			if wrote != tc.wrote {
				t.Errorf("%d writes, want %d: %v", wrote, tc.wrote, w.mutations(n))
			}
			w.expect("hub", w.routes(hubAccount, tokyo, hubTable), tc.hub)
			if has(rep, tc.code) != (tc.code != "") || tc.code == "" && len(rep.Problems) > 0 {
				t.Errorf("problems %v, want %q", rep.Problems, tc.code)
			}
			unit := hub.Unit{Kind: hub.UnitPrefix, Spoke: svcVPC, Prefix: prefix("10.110.0.0/16")}
			if rep.Planes[0].Lacks.Has(unit) != tc.lacks {
				t.Errorf("lacks %v, want %v", rep.Planes[0].Lacks, tc.lacks)
			}
			if rep := w.pass(); rep.Changes() != 0 {
				t.Errorf("the second pass still changes: %v", rep.Planes[0].Applied)
			}
		})
	}
}

func (w *world) add(table, dest, target string) {
	w.t.Helper()
	if err := w.AddRoute(table, prefix(dest), target); err != nil {
		w.t.Fatal(err)
	}
}

// What stands in a spoke's table counts as on the hub's side; a wider route back to the
// same peering is enough.
func TestTheWayBackMayBeWider(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	w.add(svcTable, "10.100.0.0/16", svcPeering)
	rep := w.pass()
	w.expect("svc", w.routes(svcAccount, tokyo, svcTable), []string{"10.100.0.0/16 " + svcPeering})
	w.expect("control: far", w.routes(farAccount, oregon, farTable), wantFar)
	w.expect("problems", codes(rep), nil)
}

func TestADeletedPeeringTakesItsRoutesWithItOnBothSides(t *testing.T) {
	t.Parallel()
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprint(restarted), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ec2sim.Options{Delays: ec2sim.Delays{Deleted: ec2sim.Immediate}})
			w.add(hubTable, "10.120.7.0/24", farPeering) // by hand, toward the same peering
			w.pass()
			w.deletePeering(farPeering)
			if restarted {
				w.start(&w.top)
			}
			rep := w.pass()
			w.expect("hub", w.routes(hubAccount, tokyo, hubTable), wantHub[:1])
			w.expect("far", w.routes(farAccount, oregon, farTable), nil)
			w.expect("control: svc", w.routes(svcAccount, tokyo, svcTable), wantSvc)
			w.expect("ledger", w.ledger.lines(), []string{
				hubTable + " 10.110.0.0/16 " + svcPeering + " hub", svcTable + " 10.100.0.0/24 " + svcPeering + " spoke"})
			n := len(w.Log())
			w.pass()
			w.expect("mutations afterwards", w.mutations(n), nil)
			_ = rep
		})
	}
}

// Foreign blackholes stay: toward somebody else's target, or outside what the peering led to.
func TestForeignRoutesAreNeverRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{Delays: ec2sim.Delays{Deleted: ec2sim.Immediate}})
	must(t)(w.AddGateway(ec2sim.GatewaySpec{Kind: "tgw", ID: "tgw-0a000001", VPC: hubVPC}))
	w.add(hubTable, "192.168.9.0/24", farPeering)
	w.add(hubTable, "192.168.8.0/24", "tgw-0a000001")
	w.pass()
	w.deletePeering(farPeering)
	w.pass()
	w.expect("hub", w.routes(hubAccount, tokyo, hubTable), []string{wantHub[0], "192.168.8.0/24 tgw-0a000001", "192.168.9.0/24 " + farPeering + " blackhole"})
}

func TestARouteOfOursThatSomebodyLedElsewhereIsNotOursAnyMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	must(t)(w.AddGateway(ec2sim.GatewaySpec{Kind: "tgw", ID: "tgw-0a000001", VPC: hubVPC}))
	w.pass()
	w.pass()
	w.pass() // our write is settled
	dest, table, tgw := "10.110.0.0/16", hubTable, "tgw-0a000001"
	if _, err := w.client(hubAccount, tokyo).ReplaceRoute(t.Context(), &ec2.ReplaceRouteInput{RouteTableId: &table, DestinationCidrBlock: &dest, TransitGatewayId: &tgw}); err != nil {
		t.Fatal(err)
	}
	rep := w.pass()
	if !has(rep, hub.RouteConflict) {
		t.Errorf("problems %v", rep.Problems)
	}
	w.expect("ledger", w.ledger.lines()[:1], []string{hubTable + " 10.120.0.0/16 " + farPeering + " hub"})
	w.deletePeering(svcPeering) // not even now is it deleted
	w.pass()
	w.expect("hub", w.routes(hubAccount, tokyo, hubTable), []string{"10.110.0.0/16 tgw-0a000001", wantHub[1]})
}

// A new peering with the same VPC has a new id: the routes move, without a gap.
func TestRoutesMoveToANewPeering(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{Delays: ec2sim.Delays{Deleted: ec2sim.Immediate}})
	w.pass()
	w.deletePeering(svcPeering)
	must(t)(w.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0b000002", Requester: hubVPC, Accepter: svcVPC}))
	n := len(w.Log())
	w.pass()
	w.expect("hub", w.routes(hubAccount, tokyo, hubTable), []string{"10.110.0.0/16 pcx-0b000002", wantHub[1]})
	w.expect("svc", w.routes(svcAccount, tokyo, svcTable), []string{"10.100.0.0/24 pcx-0b000002"})
	w.expect("calls", w.mutations(n), []string{hubAccount + " CreateTags", hubAccount + " ReplaceRoute 10.110.0.0/16", svcAccount + " ReplaceRoute 10.100.0.0/24"})
	w.expect("ledger", w.ledger.lines()[:1], []string{hubTable + " 10.110.0.0/16 pcx-0b000002 hub"})
}

// A blackhole that an ended peering left, not in our ledger, makes way as well.
func TestABlackholeOfAnEndedPeeringMakesWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	w.add(hubTable, "10.110.0.0/16", svcPeering)
	w.deletePeering(svcPeering)
	must(t)(w.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0b000002", Requester: hubVPC, Accepter: svcVPC}))
	rep := w.pass()
	w.expect("hub", w.routes(hubAccount, tokyo, hubTable), []string{"10.110.0.0/16 pcx-0b000002", wantHub[1]})
	w.expect("problems", codes(rep), nil)
}

func TestAPrefixThatGoesTakesItsRouteAlong(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	w.pass()
	w.policy.Accounts = map[hub.AccountID]hub.Account{svcAccount: {Exclude: []netip.Prefix{prefix("10.110.0.0/16")}}}
	w.pass()
	w.expect("hub", w.routes(hubAccount, tokyo, hubTable), wantHub[1:])
	w.expect("svc", w.routes(svcAccount, tokyo, svcTable), nil)
}

func TestModeAddRemovesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{Delays: ec2sim.Delays{Deleted: ec2sim.Immediate}})
	w.policy.Mode = hub.ModeAdd
	w.pass()
	w.deletePeering(farPeering)
	n := len(w.Log())
	w.pass()
	w.expect("mutations", w.mutations(n), nil)
	w.policy.Mode = hub.ModeSync
	w.pass()
	w.expect("control: mode sync", w.routes(hubAccount, tokyo, hubTable), wantHub[:1])
}

// A denied write fails for itself, waits, and heals.
func TestADeniedWriteStopsNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	w.fault(ec2sim.FaultDeny, "CreateRoute@"+svcAccount)
	rep := w.pass()
	w.expect("svc", w.routes(svcAccount, tokyo, svcTable), nil)
	w.expect("control: far", w.routes(farAccount, oregon, farTable), wantFar)
	w.expect("hub", w.routes(hubAccount, tokyo, hubTable), wantHub)
	if !has(rep, hub.RouteDenied) || !rep.Planes[0].Lacks.Has(hub.Unit{Kind: hub.UnitSpoke, Spoke: svcVPC}) {
		t.Errorf("problems %v, lacks %v", rep.Problems, rep.Planes[0].Lacks)
	}
	n := len(w.Log())
	if rep := w.pass(); !has(rep, hub.RouteDenied) {
		t.Errorf("the reason is forgotten: %v", rep.Problems)
	}
	w.expect("tried again at once", w.mutations(n), nil)
	w.fault(ec2sim.FaultDeny, "off")
	w.offset += time.Hour
	rep = w.pass()
	w.expect("svc", w.routes(svcAccount, tokyo, svcTable), wantSvc)
	w.expect("problems", codes(rep), nil)
	w.expect("ledger", w.ledger.lines()[len(w.ledger.lines())-2:], []string{
		svcTable + " 10.100.0.0/24 " + svcPeering + " spoke", farTable + " 10.100.0.0/24 " + farPeering + " spoke"})
}

func TestAFullTableStopsOnlyItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{Quotas: ec2sim.Quotas{RoutesPerTable: 4}})
	must(t)(w.AddGateway(ec2sim.GatewaySpec{ID: "igw-0a000001", VPC: hubVPC}))
	w.add(hubTable, "0.0.0.0/0", "igw-0a000001")
	w.add(hubTable, "192.168.0.0/24", "igw-0a000001")
	w.add(hubTable, "192.168.1.0/24", "igw-0a000001")
	rep := w.pass()
	if got := w.routes(hubAccount, tokyo, hubTable); len(got) != 4 {
		t.Errorf("hub: %v", got)
	}
	w.expect("control: svc", w.routes(svcAccount, tokyo, svcTable), wantSvc)
	w.expect("control: far", w.routes(farAccount, oregon, farTable), wantFar)
	w.expect("problems", codes(rep), []string{"ROUTE_QUOTA " + hubTable})
	n := len(w.Log())
	w.pass()
	w.expect("tried again at once", w.mutations(n), nil)
	w.vpc("vpc-0a00000c", svcAccount, tokyo, "rtb-0a00000c", "10.140.0.0/16")
	must(t)(w.AddPeering(ec2sim.PeeringSpec{Requester: hubVPC, Accepter: "vpc-0a00000c"}))
	n = len(w.Log())
	w.pass()
	w.expect("calls for a further spoke", w.mutations(n), []string{hubAccount + " CreateTags", svcAccount + " CreateRoute 10.100.0.0/24"})
	w.deleteRoute(hubAccount, tokyo, hubTable, "192.168.0.0/24")
	w.deleteRoute(hubAccount, tokyo, hubTable, "192.168.1.0/24")
	w.offset += 11 * time.Minute
	w.expect("problems when there is room", codes(w.pass()), nil)
}

// What Describe does not show yet is neither made twice nor taken for gone.
func TestAReadThatLagsBehindOurWrites(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	w.fault(ec2sim.FaultRouteLag, "200s")
	w.pass()
	n := len(w.Log())
	for range 5 {
		if rep := w.pass(); rep.Changes() != 0 || rep.Pending() != 0 || len(rep.Problems) > 0 {
			t.Errorf("flaps: %+v %v", rep.Planes[0], rep.Problems)
		}
	}
	w.expect("mutations", w.mutations(n), nil)
	// After a restart nobody remembers the write: AWS says that the route exists.
	w.start(nil)
	if rep := w.pass(); len(rep.Problems) > 0 || rep.Pending() != 0 {
		t.Errorf("after a restart: %v, pending %v", rep.Problems, rep.Planes[0].Pending)
	}
	w.fault(ec2sim.FaultRouteLag, "off")
	w.pass()
	w.expect("hub", w.routes(hubAccount, tokyo, hubTable), wantHub)
	if got := len(w.ledger.lines()); got != 4 {
		t.Errorf("ledger %v", w.ledger.lines())
	}
}

func TestReplicasThatAlternate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	w.fault(ec2sim.FaultStaleReplica, "on")
	for range 8 {
		rep := w.pass()
		if rep.Pending() != 0 || len(rep.Problems) > 0 {
			t.Errorf("pending %v, problems %v", rep.Planes[0].Pending, rep.Problems)
		}
	}
	w.fault(ec2sim.FaultStaleReplica, "off")
	n := len(w.Log())
	w.pass()
	w.expect("mutations", w.mutations(n), nil)
	w.expect("hub", w.routes(hubAccount, tokyo, hubTable), wantHub)
	if got := len(w.ledger.lines()); got != 4 {
		t.Errorf("ledger %v", w.ledger.lines())
	}
}

func TestARouteThatIsRemovedAgainAndAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	w.pass()
	fights := 0
	for ; fights < 10; fights++ {
		w.pass() // seen once: our write counts as settled by the next disagreement
		w.deleteRoute(hubAccount, tokyo, hubTable, "10.110.0.0/16")
		if rep := w.pass(); has(rep, hub.RouteContested) {
			break
		}
		w.expect("restored", w.routes(hubAccount, tokyo, hubTable), wantHub)
	}
	if fights != 3 {
		t.Errorf("contested after %d restorations, want 3", fights)
	}
	w.expect("control: the other route", w.routes(hubAccount, tokyo, hubTable), wantHub[1:])
	w.offset += 6 * time.Minute
	w.pass()
	w.expect("after the pause", w.routes(hubAccount, tokyo, hubTable), wantHub)
}

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

func TestAFrozenSourceIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{Delays: ec2sim.Delays{Deleted: ec2sim.Immediate}})
	w.pass()
	w.deletePeering(farPeering)
	w.fault(ec2sim.FaultDeny, "DescribeRouteTables@"+farAccount)
	n := len(w.Log())
	w.pass()
	w.expect("mutations", w.mutations(n), []string{hubAccount + " DeleteRoute 10.120.0.0/16"})
	w.fault(ec2sim.FaultDeny, "off")
	w.offset += time.Minute
	w.pass()
	w.expect("control: when it answers again", w.routes(farAccount, oregon, farTable), nil)
}

func TestNothingIsAddedToAFrozenSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	w.pass()
	w.fault(ec2sim.FaultDeny, "DescribeRouteTables@"+farAccount)
	w.policy.ReturnRoute = hub.ReturnVPC
	w.pass()
	w.expect("control: svc", w.routes(svcAccount, tokyo, svcTable), []string{"10.100.0.0/16 " + svcPeering})
	w.fault(ec2sim.FaultDeny, "off")
	w.expect("far", w.routes(farAccount, oregon, farTable), wantFar)
	w.offset += time.Minute
	w.pass()
	w.expect("far when it answers again", w.routes(farAccount, oregon, farTable), []string{"10.100.0.0/16 " + farPeering})
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

// A route of ours that somebody led to another peering of the hub stays: it is not ours
// to delete, though a lagging replica may show the like after a replacement of our own.
func TestARouteLedToAnotherPeeringIsNotDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	for range 3 {
		w.pass()
	}
	dest, table, pcx := "10.110.0.0/16", hubTable, farPeering
	if _, err := w.client(hubAccount, tokyo).ReplaceRoute(t.Context(), &ec2.ReplaceRouteInput{RouteTableId: &table, DestinationCidrBlock: &dest, VpcPeeringConnectionId: &pcx}); err != nil {
		t.Fatal(err)
	}
	w.policy.Accounts = map[hub.AccountID]hub.Account{svcAccount: {Exclude: []netip.Prefix{prefix(dest)}}}
	w.pass()
	w.expect("hub", w.routes(hubAccount, tokyo, hubTable), []string{dest + " " + farPeering, wantHub[1]})
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

// 62 spokes at once, against AWS's own buckets: every route comes, none is throttled.
func TestManySpokesAtOnceAreNotThrottled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{Throttle: true, Quotas: ec2sim.Quotas{PeeringsPerVPC: 125}})
	const more = 60 // beyond AWS's burst of 50
	for i := range more {
		id := fmt.Sprintf("vpc-0c0000%02x", i)
		w.vpc(id, svcAccount, oregon, fmt.Sprintf("rtb-0c0000%02x", i), fmt.Sprintf("10.%d.0.0/16", 130+i))
		must(t)(w.AddPeering(ec2sim.PeeringSpec{Requester: hubVPC, Accepter: id}))
	}
	n := len(w.Log())
	for rep := w.pass(); rep.Pending() > 0; rep = w.passOnly() {
		if rep.Changes() == 0 {
			t.Fatalf("stuck: %v", rep.Planes[0].Error)
		}
	}
	if got := w.routes(hubAccount, tokyo, hubTable); len(got) != more+2 {
		t.Errorf("%d routes", len(got))
	}
	throttled := 0
	for _, r := range w.Log()[n:] {
		if r.Code == "RequestLimitExceeded" {
			throttled++
		}
	}
	if throttled != 0 {
		t.Errorf("%d calls were throttled", throttled)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	w.survey()
	want, _, _ := hub.Decide(w.policy, w.top, hub.Remembered{})
	w.expect("text", strings.Split(strings.TrimSpace(vpcroute.Text(want)), "\n"), []string{
		"# account 111111111111, region ap-northeast-1",
		"aws ec2 create-route --region ap-northeast-1 --route-table-id rtb-0a000001 --destination-cidr-block 10.110.0.0/16 --vpc-peering-connection-id pcx-0a000002",
		"aws ec2 create-route --region ap-northeast-1 --route-table-id rtb-0a000001 --destination-cidr-block 10.120.0.0/16 --vpc-peering-connection-id pcx-0a000003",
		"# account 222222222222, region ap-northeast-1",
		"aws ec2 create-route --region ap-northeast-1 --route-table-id rtb-0a000002 --destination-cidr-block 10.100.0.0/24 --vpc-peering-connection-id pcx-0a000002",
		"# account 333333333333, region us-west-2",
		"aws ec2 create-route --region us-west-2 --route-table-id rtb-0a000003 --destination-cidr-block 10.100.0.0/24 --vpc-peering-connection-id pcx-0a000003",
	})
	w.pass()
	if got := vpcroute.Leftovers(w.ledger.entries[:1]); !strings.HasPrefix(got, "aws ec2 delete-route --region ") {
		t.Errorf("leftovers %q", got)
	}
}
