package vpcroute_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

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
		{"the same, approved", func(w *world) {
			w.add(hubTable, "10.96.0.0/11", tgw)
			w.policy.Override = []netip.Prefix{prefix("10.96.0.0/11")}
		}, append(slices.Clone(wantHub), "10.96.0.0/11 "+tgw), "", false, 2},
		{"another one approved", func(w *world) {
			w.add(hubTable, "10.96.0.0/11", tgw)
			w.policy.Override = []netip.Prefix{prefix("10.96.0.0/12")}
		}, []string{"10.96.0.0/11 " + tgw}, hub.RouteCovered, true, 0},
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
	rep := w.pass()
	w.expect("hub", w.routes(hubAccount, tokyo, hubTable), []string{wantHub[0], "192.168.8.0/24 tgw-0a000001", "192.168.9.0/24 " + farPeering + " blackhole"})
	i := slices.IndexFunc(rep.Problems, func(p hub.Problem) bool { return p.Code == hub.Blackhole })
	if i < 0 || !strings.Contains(rep.Problems[i].Detail, "192.168.9.0/24") || !strings.Contains(rep.Problems[i].Mend, "delete-route") {
		t.Errorf("the foreign blackhole is not told of: %v", rep.Problems)
	}
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
