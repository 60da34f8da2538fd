package ec2sim_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"peerhub/test/ec2sim"
)

var comparePrefix = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmpopts.IgnoreFields(ec2sim.Network{}, "Generation", "ACLs", "Groups"),
	cmpopts.IgnoreFields(ec2sim.NetSubnet{}, "ACL"),
	cmpopts.IgnoreFields(ec2sim.NetInterface{}, "Groups", "MAC"),
	cmpopts.EquateEmpty(),
}

func TestNetworkIsWhatTheDataPlaneObeys(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	l.peer()
	accepted(t, l.addRoute(hubAccount, hubTable, "10.110.0.0/16", standingPeering))
	far := netip.MustParsePrefix("10.120.0.0/16")
	want := ec2sim.Network{
		VPCs: []ec2sim.NetVPC{
			{ID: hubVPC, Account: hubAccount, Region: tokyo, Prefixes: prefixes("10.100.0.0/16"), InternetGateway: hubGateway},
			{ID: svcVPC, Account: svcAccount, Region: tokyo, Prefixes: prefixes("10.110.0.0/16")},
			{ID: farVPC, Account: otherAccount, Region: oregon, Prefixes: []netip.Prefix{far}},
		},
		Subnets: []ec2sim.NetSubnet{
			{ID: hubSubnet, VPC: hubVPC, Prefix: netip.MustParsePrefix("10.100.0.0/24"), Table: hubTable},
			{ID: svcSubnet, VPC: svcVPC, Prefix: netip.MustParsePrefix("10.110.1.0/24"), Table: svcTable},
		},
		Interfaces: []ec2sim.NetInterface{
			{ID: hubENI, Instance: hubInstance, Account: hubAccount, VPC: hubVPC, Subnet: hubSubnet,
				Addresses: []netip.Addr{netip.MustParseAddr("10.100.0.10")}, SourceDestCheck: true, IMDSHopLimit: 1,
				Public: map[netip.Addr]netip.Addr{netip.MustParseAddr("10.100.0.10"): netip.MustParseAddr("203.0.113.10")}},
			{ID: svcENI, Instance: svcInstance, Account: svcAccount, VPC: svcVPC, Subnet: svcSubnet,
				Addresses: []netip.Addr{netip.MustParseAddr("10.110.1.10")}, SourceDestCheck: true, IMDSHopLimit: 1},
		},
		Peerings: []ec2sim.NetPeering{{ID: standingPeering, RequesterVPC: hubVPC, AccepterVPC: svcVPC, Active: true}},
	}
	got := l.Network()
	var hub []ec2sim.NetRoute
	for _, table := range got.Tables {
		if table.ID == hubTable {
			hub = table.Routes
		}
	}
	wantRoutes := []ec2sim.NetRoute{
		{Destination: netip.MustParsePrefix("10.100.0.0/16"), Kind: "local", Target: "local"},
		{Destination: netip.MustParsePrefix("10.110.0.0/16"), Kind: "pcx", Target: standingPeering},
	}
	if diff := cmp.Diff(wantRoutes, hub, comparePrefix); diff != "" {
		t.Errorf("hub's routes (-want +got):\n%s", diff)
	}
	got.Tables = nil
	if diff := cmp.Diff(want, got, comparePrefix); diff != "" {
		t.Errorf("network (-want +got):\n%s", diff)
	}
}

// signal waits for a watcher's signal.
func signal(t *testing.T, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(10 * time.Second):
		t.Fatal("no signal")
	}
}

// quiet asserts that no signal waits.
func quiet(t *testing.T, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
		t.Error("a signal without a change")
	default:
	}
}

func TestWatchersHearOfEveryChangeAndOnlyOfChanges(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	l.peer()
	ch, cancel := l.Watch()
	before := l.Network().Generation
	accepted(t, l.addRoute(hubAccount, hubTable, "10.110.0.0/16", standingPeering))
	signal(t, ch)
	if after := l.Network().Generation; after <= before {
		t.Errorf("generation %d after %d", after, before)
	}
	accepted(t, describeVPCs(l.ec2(hubAccount)))
	refused(t, "InvalidRoute.NotFound", l.deleteRoute(hubAccount, hubTable, "10.1.0.0/16"))
	refused(t, "DryRunOperation", l.createRoute(hubAccount, ec2.CreateRouteInput{RouteTableId: aws.String(hubTable), DryRun: aws.Bool(true),
		DestinationCidrBlock: aws.String("10.111.0.0/16"), VpcPeeringConnectionId: aws.String(standingPeering)}))
	quiet(t, ch)
	cancel()
	if _, open := <-ch; open {
		t.Error("the channel is open after cancel")
	}
	cancel() // twice is harmless
}

// TestTimeAloneTellsWatchers uses the real clock: nobody asks while the peering
// becomes active.
func TestTimeAloneTellsWatchers(t *testing.T) {
	s := ec2sim.New(ec2sim.Options{})
	defer s.Close()
	s.AddAccount(hubAccount, "hub")
	a := must(t)(s.AddVPC(ec2sim.VPCSpec{Account: hubAccount, Region: tokyo, CIDRs: prefixes("10.1.0.0/16")}))
	sn := must(t)(s.AddSubnet(ec2sim.SubnetSpec{VPC: a, CIDR: prefixes("10.1.1.0/24")[0]}))
	i := must(t)(s.AddInstance(ec2sim.InstanceSpec{Subnet: sn}))
	ch, cancel := s.Watch()
	defer cancel()
	if err := s.TerminateInstance(i); err != nil {
		t.Fatal(err)
	}
	for len(s.Network().Interfaces) > 0 {
		signal(t, ch)
	}
	// The instance left the network at once; a while later its interface went too.
	signal(t, ch)
}

func TestDataPlaneLagShowsThePast(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	l.peer()
	active := func() bool { return len(l.Network().Peerings) == 1 }
	l.fault(ec2sim.FaultDataPlaneLag, "10s")
	accepted(t, l.deletePeering(hubAccount, standingPeering))
	if got := l.status(hubAccount, standingPeering); got != "deleted" {
		t.Errorf("the API says %s", got)
	}
	if !active() {
		t.Error("the data plane obeys at once in spite of its lag")
	}
	l.clock.Add(9 * time.Second)
	if !active() {
		t.Error("the data plane obeys before its time")
	}
	l.clock.Add(2 * time.Second)
	if active() {
		t.Error("the data plane never obeys")
	}
	l.peer2()
	if active() {
		t.Error("a new peering passes at once in spite of the lag")
	}
	l.fault(ec2sim.FaultDataPlaneLag, "off")
	if !active() {
		t.Error("without the lag the data plane does not obey")
	}
}

// TestTheLaggingDataPlaneTellsWatchersWhenItChanges uses the real clock.
func TestTheLaggingDataPlaneTellsWatchersWhenItChanges(t *testing.T) {
	s := ec2sim.New(ec2sim.Options{})
	defer s.Close()
	s.AddAccount(hubAccount, "hub")
	if err := s.SetFault(ec2sim.FaultDataPlaneLag, "100ms"); err != nil {
		t.Fatal(err)
	}
	ch, cancel := s.Watch()
	defer cancel()
	must(t)(s.AddVPC(ec2sim.VPCSpec{Account: hubAccount, Region: tokyo, CIDRs: prefixes("10.1.0.0/16")}))
	for len(s.Network().VPCs) == 0 {
		signal(t, ch)
	}
}

// peer2 seeds a second active peering between the same VPCs.
func (l *lab) peer2() {
	l.t.Helper()
	must(l.t)(l.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0a000000000000002", Requester: hubVPC, Accepter: svcVPC}))
}
