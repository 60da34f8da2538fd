package vpcroute_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"peerhub/hub"
	"peerhub/test/ec2sim"
)

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
	w.offset += 11 * time.Second
	rep = w.pass()
	w.expect("svc", w.routes(svcAccount, tokyo, svcTable), wantSvc)
	w.expect("problems", codes(rep), nil)
	w.expect("ledger", w.ledger.lines()[len(w.ledger.lines())-2:], []string{
		svcTable + " 10.100.0.0/24 " + svcPeering + " spoke", farTable + " 10.100.0.0/24 " + farPeering + " spoke"})
}

// A route that may not be removed stays ours, is named with the line that removes it, and
// goes when we may.
func TestADeniedRemovalIsListedAndGoesLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{})
	w.pass()
	w.expect("control: made", w.routes(svcAccount, tokyo, svcTable), wantSvc)
	w.fault(ec2sim.FaultDeny, "DeleteRoute@"+svcAccount)
	w.deletePeering(svcPeering)
	rep := w.pass()
	line := "aws ec2 delete-route --region " + tokyo + " --route-table-id " + svcTable + " --destination-cidr-block 10.100.0.0/24"
	if !slices.ContainsFunc(rep.Problems, func(p hub.Problem) bool { return p.Code == hub.RouteDenied && strings.HasSuffix(p.Mend, line) }) {
		t.Errorf("nothing says %q: %v", line, rep.Problems)
	}
	if got := w.routes(svcAccount, tokyo, svcTable); len(got) != 1 {
		t.Errorf("svc: %v", got)
	}
	w.fault(ec2sim.FaultDeny, "off")
	w.offset += 11 * time.Second
	rep = w.pass()
	w.expect("svc", w.routes(svcAccount, tokyo, svcTable), nil)
	w.expect("problems", codes(rep), nil)
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

// Who is told of a full table hears which routes fit into one.
func TestAFullTableSaysWhatFitsIntoOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ec2sim.Options{Quotas: ec2sim.Quotas{RoutesPerTable: 6}})
	w.vpc("vpc-0a00000d", svcAccount, tokyo, "rtb-0a00000d", "10.150.0.0/18", "10.150.64.0/18", "10.150.128.0/17", "10.160.0.0/18")
	must(t)(w.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0a00000d", Requester: hubVPC, Accepter: "vpc-0a00000d"}))
	w.pass()
	w.vpc("vpc-0a00000e", svcAccount, tokyo, "rtb-0a00000e", "10.170.0.0/16")
	must(t)(w.AddPeering(ec2sim.PeeringSpec{Requester: hubVPC, Accepter: "vpc-0a00000e"}))
	rep := w.pass()
	i := slices.IndexFunc(rep.Problems, func(p hub.Problem) bool { return p.Code == hub.RouteQuota })
	if i < 0 || !strings.Contains(rep.Problems[i].Detail, "6 static routes. 10.150.0.0/16 covers 3 routes toward pcx-0a00000d") {
		t.Fatalf("problems: %v", rep.Problems)
	}
	for _, r := range []string{"10.150.0.0/18", "10.150.64.0/18", "10.150.128.0/17"} {
		w.deleteRoute(hubAccount, tokyo, hubTable, r)
	}
	w.add(hubTable, "10.150.0.0/16", "pcx-0a00000d") // as it says
	w.offset += 11 * time.Minute
	w.pass()
	w.pass()
	w.expect("hub", w.routes(hubAccount, tokyo, hubTable), append(slices.Clone(wantHub), "10.150.0.0/16 pcx-0a00000d", "10.160.0.0/18 pcx-0a00000d", "10.170.0.0/16 "+w.peeringTo("vpc-0a00000e")))
}

// peeringTo is the id of the peering with a VPC.
func (w *world) peeringTo(vpc hub.VPCID) string {
	for _, p := range w.top.Peerings {
		if p.Peer.VPC == vpc {
			return string(p.ID)
		}
	}
	return ""
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
