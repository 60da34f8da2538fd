package ec2sim_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"

	"peerhub/test/ec2sim"
)

const (
	natGateway = "nat-0a000000000000001"
	vgwGateway = "vgw-0a000000000000001"
	tgwGateway = "tgw-0a000000000000001"
)

func TestRouteRules(t *testing.T) {
	peered := func(l *lab) { l.peer() }
	to := func(dest string) func(*lab) error {
		return func(l *lab) error { return l.addRoute(hubAccount, hubTable, dest, standingPeering) }
	}
	standing := func(l *lab) {
		l.peer()
		accepted(l.t, to("10.110.0.0/16")(l))
	}
	second := func(l *lab) string { // a second peering of the hub
		v := must(l.t)(l.AddVPC(ec2sim.VPCSpec{Account: otherAccount, Region: tokyo, CIDRs: prefixes("10.160.0.0/16")}))
		return must(l.t)(l.AddPeering(ec2sim.PeeringSpec{Requester: hubVPC, Accepter: v}))
	}
	checkRules(t, []rule{
		{
			name: "a destination has one static route", prepare: standing, code: "RouteAlreadyExists",
			refused:  func(l *lab) error { return l.addRoute(hubAccount, hubTable, "10.110.0.0/16", second(l)) },
			accepted: to("10.110.0.0/16"), // the same target again
		}, {
			name: "a static route may stand beside a propagated one", code: "RouteAlreadyExists",
			prepare: func(l *lab) {
				l.peer()
				must(l.t)(l.AddGateway(ec2sim.GatewaySpec{Kind: "vgw", ID: vgwGateway, VPC: hubVPC}))
				if err := l.AddPropagatedRoute(hubTable, netip.MustParsePrefix("10.110.0.0/16"), vgwGateway); err != nil {
					l.t.Fatal(err)
				}
			},
			refused: func(l *lab) error {
				accepted(l.t, to("10.110.0.0/16")(l))
				return l.createRoute(hubAccount, ec2.CreateRouteInput{RouteTableId: aws.String(hubTable),
					DestinationCidrBlock: aws.String("10.110.0.0/16"), GatewayId: aws.String(vgwGateway)})
			},
			accepted: to("10.110.0.0/16"),
		}, {
			name: "nothing inside local goes to a peering", prepare: peered, code: "InvalidParameterValue",
			refused: to("10.100.5.0/24"), accepted: to("10.110.5.0/24"),
		}, {
			name: "local itself does not go to a peering", prepare: peered, code: "InvalidParameterValue",
			refused: to("10.100.0.0/16"), accepted: to("10.96.0.0/11"), // covers local: local wins anyway
		}, {
			name: "only a subnet is more specific than local", code: "InvalidParameterValue",
			refused: func(l *lab) error {
				return l.createRoute(hubAccount, ec2.CreateRouteInput{RouteTableId: aws.String(hubTable),
					DestinationCidrBlock: aws.String("10.100.9.0/24"), NetworkInterfaceId: aws.String(hubENI)})
			},
			accepted: func(l *lab) error {
				return l.createRoute(hubAccount, ec2.CreateRouteInput{RouteTableId: aws.String(hubTable),
					DestinationCidrBlock: aws.String("10.100.0.0/24"), NetworkInterfaceId: aws.String(hubENI)})
			},
		}, {
			name: "link-local services are not routable", prepare: peered, code: "InvalidParameterValue",
			refused: to("169.254.169.254/32"), accepted: to("169.254.0.0/16"),
		}, {
			name: "routes per table have a quota", prepare: standing, code: "RouteLimitExceeded",
			options: ec2sim.Options{Quotas: ec2sim.Quotas{RoutesPerTable: 1}},
			refused: to("10.111.0.0/16"),
			accepted: func(l *lab) error {
				accepted(l.t, l.deleteRoute(hubAccount, hubTable, "10.110.0.0/16"))
				return to("10.111.0.0/16")(l)
			},
		}, {
			name: "the quota fault is a smaller quota", prepare: standing, code: "RouteLimitExceeded",
			refused: func(l *lab) error { l.fault(ec2sim.FaultQuotaRoutes, "1"); return to("10.111.0.0/16")(l) },
			accepted: func(l *lab) error {
				l.fault(ec2sim.FaultQuotaRoutes, "2")
				return to("10.111.0.0/16")(l)
			},
		}, {
			name: "a peering of another VPC is no target", code: "InvalidParameterValue",
			prepare: func(l *lab) {
				v := must(l.t)(l.AddVPC(ec2sim.VPCSpec{Account: hubAccount, Region: tokyo, CIDRs: prefixes("10.101.0.0/16")}))
				must(l.t)(l.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0a0000000000000bb", Requester: v, Accepter: svcVPC}))
				l.peer()
			},
			refused:  func(l *lab) error { return l.addRoute(hubAccount, hubTable, "10.110.0.0/16", "pcx-0a0000000000000bb") },
			accepted: to("10.110.0.0/16"),
		}, {
			name: "a deleted peering is no target", prepare: peered, code: "InvalidVpcPeeringConnectionID.NotFound",
			refused: func(l *lab) error {
				accepted(l.t, l.deletePeering(hubAccount, standingPeering))
				return to("10.110.0.0/16")(l)
			},
			accepted: to("10.110.0.0/16"),
		}, {
			name: "another VPC's internet gateway is no target", code: "InvalidParameterValue",
			prepare: func(l *lab) {
				v := must(l.t)(l.AddVPC(ec2sim.VPCSpec{Account: hubAccount, Region: tokyo, CIDRs: prefixes("10.101.0.0/16")}))
				must(l.t)(l.AddInternetGateway("igw-0a0000000000000bb", v))
			},
			refused: func(l *lab) error {
				return l.createRoute(hubAccount, ec2.CreateRouteInput{RouteTableId: aws.String(hubTable),
					DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: aws.String("igw-0a0000000000000bb")})
			},
			accepted: func(l *lab) error {
				return l.createRoute(hubAccount, ec2.CreateRouteInput{RouteTableId: aws.String(hubTable),
					DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: aws.String(hubGateway)})
			},
		}, {
			name: "a route has one target", prepare: peered, code: "InvalidParameterCombination",
			refused: func(l *lab) error {
				return l.createRoute(hubAccount, ec2.CreateRouteInput{RouteTableId: aws.String(hubTable), DestinationCidrBlock: aws.String("10.110.0.0/16"),
					VpcPeeringConnectionId: aws.String(standingPeering), NetworkInterfaceId: aws.String(hubENI)})
			},
			accepted: to("10.110.0.0/16"),
		}, {
			name: "another account's table is not found", prepare: peered, code: "InvalidRouteTableID.NotFound",
			refused:  func(l *lab) error { return l.addRoute(hubAccount, svcTable, "10.100.0.0/24", standingPeering) },
			accepted: func(l *lab) error { return l.addRoute(svcAccount, svcTable, "10.100.0.0/24", standingPeering) },
		}, {
			name: "an absent route is not replaced", prepare: standing, code: "InvalidParameterValue",
			refused:  func(l *lab) error { return l.replaceRoute(hubAccount, hubTable, "10.111.0.0/16", standingPeering) },
			accepted: func(l *lab) error { return l.replaceRoute(hubAccount, hubTable, "10.110.0.0/16", second(l)) },
		}, {
			name: "an absent route is not deleted", prepare: standing, code: "InvalidRoute.NotFound",
			refused:  func(l *lab) error { return l.deleteRoute(hubAccount, hubTable, "10.111.0.0/16") },
			accepted: func(l *lab) error { return l.deleteRoute(hubAccount, hubTable, "10.110.0.0/16") },
		}, {
			name: "local is not deleted", prepare: standing, code: "InvalidParameterValue",
			refused:  func(l *lab) error { return l.deleteRoute(hubAccount, hubTable, "10.100.0.0/16") },
			accepted: func(l *lab) error { return l.deleteRoute(hubAccount, hubTable, "10.110.0.0/16") },
		}, {
			name: "an edge table has no route to a peering", prepare: peered, code: "InvalidParameterValue",
			refused: func(l *lab) error {
				id := must(l.t)(l.AddRouteTable(ec2sim.TableSpec{VPC: hubVPC}))
				_, err := l.ec2(hubAccount).AssociateRouteTable(ctx, &ec2.AssociateRouteTableInput{RouteTableId: &id, GatewayId: aws.String(hubGateway)})
				accepted(l.t, err)
				return l.addRoute(hubAccount, id, "10.110.0.0/16", standingPeering)
			},
			accepted: func(l *lab) error {
				id := must(l.t)(l.AddRouteTable(ec2sim.TableSpec{VPC: hubVPC}))
				return l.addRoute(hubAccount, id, "10.110.0.0/16", standingPeering)
			},
		}, {
			name: "a table in use is not deleted", code: "DependencyViolation",
			refused: func(l *lab) error {
				_, err := l.ec2(hubAccount).DeleteRouteTable(ctx, &ec2.DeleteRouteTableInput{RouteTableId: aws.String(hubTable)})
				return err
			},
			accepted: func(l *lab) error {
				id := must(l.t)(l.AddRouteTable(ec2sim.TableSpec{VPC: hubVPC}))
				_, err := l.ec2(hubAccount).DeleteRouteTable(ctx, &ec2.DeleteRouteTableInput{RouteTableId: &id})
				return err
			},
		}, {
			name: "a subnet has one table", code: "Resource.AlreadyAssociated",
			prepare: func(l *lab) {
				must(l.t)(l.AddRouteTable(ec2sim.TableSpec{ID: "rtb-0a0000000000000cc", VPC: hubVPC}))
			},
			refused: func(l *lab) error {
				accepted(l.t, l.linkTable("rtb-0a0000000000000cc"))
				return l.linkTable(hubTable)
			},
			accepted: func(l *lab) error { return l.linkTable("rtb-0a0000000000000cc") },
		}, {
			name: "tables per VPC have a quota", code: "RouteTableLimitExceeded",
			options: ec2sim.Options{Quotas: ec2sim.Quotas{TablesPerVPC: 2}},
			refused: func(l *lab) error {
				accepted(l.t, l.newTable())
				return l.newTable()
			},
			accepted: func(l *lab) error { return l.newTable() },
		},
	})
}

func (l *lab) linkTable(table string) error {
	_, err := l.ec2(hubAccount).AssociateRouteTable(ctx, &ec2.AssociateRouteTableInput{RouteTableId: aws.String(table), SubnetId: aws.String(hubSubnet)})
	return err
}

func (l *lab) newTable() error {
	_, err := l.ec2(hubAccount).CreateRouteTable(ctx, &ec2.CreateRouteTableInput{VpcId: aws.String(hubVPC)})
	return err
}

func TestRoutesOfEveryKindAreListed(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	l.peer()
	for _, g := range []ec2sim.GatewaySpec{{Kind: "nat", ID: natGateway, VPC: hubVPC}, {Kind: "tgw", ID: tgwGateway, VPC: hubVPC}, {Kind: "vgw", ID: vgwGateway, VPC: hubVPC}} {
		must(t)(l.AddGateway(g))
	}
	if err := l.AddPropagatedRoute(hubTable, netip.MustParsePrefix("192.168.0.0/16"), vgwGateway); err != nil {
		t.Fatal(err)
	}
	for _, in := range []ec2.CreateRouteInput{
		{DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: aws.String(hubGateway)},
		{DestinationCidrBlock: aws.String("10.110.3.4/16"), VpcPeeringConnectionId: aws.String(standingPeering)}, // host bits
		{DestinationCidrBlock: aws.String("172.27.240.0/22"), InstanceId: aws.String(hubInstance)},
		{DestinationCidrBlock: aws.String("10.120.0.0/16"), NatGatewayId: aws.String(natGateway)},
		{DestinationCidrBlock: aws.String("10.121.0.0/16"), TransitGatewayId: aws.String(tgwGateway)},
		{DestinationIpv6CidrBlock: aws.String("2001:db8::1/32"), NetworkInterfaceId: aws.String(hubENI)},
	} {
		in.RouteTableId = aws.String(hubTable)
		accepted(t, l.createRoute(hubAccount, in))
	}
	want := []string{
		"10.100.0.0/16 local active CreateRouteTable",
		"192.168.0.0/16 " + vgwGateway + " active EnableVgwRoutePropagation",
		"0.0.0.0/0 " + hubGateway + " active CreateRoute",
		"10.110.0.0/16 " + standingPeering + " active CreateRoute",
		"172.27.240.0/22 " + hubENI + " active CreateRoute",
		"10.120.0.0/16 " + natGateway + " active CreateRoute",
		"10.121.0.0/16 " + tgwGateway + " active CreateRoute",
		"2001:db8::/32 " + hubENI + " active CreateRoute",
	}
	if diff := cmp.Diff(want, l.routes(hubAccount, hubTable)); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

func TestRouteIsABlackholeUnlessItsTargetWorks(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	id := l.request()
	state := func() string { t.Helper(); r := l.routes(hubAccount, hubTable); return r[len(r)-1] }
	accepted(t, l.addRoute(hubAccount, hubTable, "10.110.0.0/16", id))
	if got := state(); got != "10.110.0.0/16 "+id+" blackhole CreateRoute" {
		t.Errorf("pending: %s", got)
	}
	accepted(t, l.accept(svcAccount, tokyo, id))
	l.clock.Add(time.Second)
	if got := state(); got != "10.110.0.0/16 "+id+" active CreateRoute" {
		t.Errorf("active: %s", got)
	}
	accepted(t, l.deletePeering(svcAccount, id))
	if got := state(); got != "10.110.0.0/16 "+id+" blackhole CreateRoute" {
		t.Errorf("deleted: %s", got)
	}
	l.clock.Add(72 * time.Hour)
	if got := state(); got != "10.110.0.0/16 "+id+" blackhole CreateRoute" {
		t.Errorf("long gone: %s", got)
	}
	accepted(t, l.createRoute(hubAccount, ec2.CreateRouteInput{RouteTableId: aws.String(hubTable),
		DestinationCidrBlock: aws.String("172.27.240.0/22"), NetworkInterfaceId: aws.String(hubENI)}))
	if err := l.TerminateInstance(hubInstance); err != nil {
		t.Fatal(err)
	}
	l.clock.Add(time.Second)
	if got := state(); got != "172.27.240.0/22 "+hubENI+" blackhole CreateRoute" {
		t.Errorf("instance gone: %s", got)
	}
}

func TestMainAssociationMovesAndNamesNoSubnet(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	other := must(t)(l.AddRouteTable(ec2sim.TableSpec{VPC: hubVPC}))
	out, err := l.ec2(hubAccount).DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{RouteTableIds: []string{hubTable}})
	if err != nil {
		t.Fatal(err)
	}
	main := out.RouteTables[0].Associations[0]
	if !*main.Main || main.SubnetId != nil {
		t.Errorf("main association %v names a subnet", main)
	}
	_, err = l.ec2(hubAccount).DisassociateRouteTable(ctx, &ec2.DisassociateRouteTableInput{AssociationId: main.RouteTableAssociationId})
	refused(t, "InvalidParameterValue", err)
	_, err = l.ec2(hubAccount).ReplaceRouteTableAssociation(ctx, &ec2.ReplaceRouteTableAssociationInput{
		AssociationId: main.RouteTableAssociationId, RouteTableId: &other})
	accepted(t, err)
	for _, s := range l.Network().Subnets {
		if s.ID == hubSubnet && s.Table != other {
			t.Errorf("the subnet obeys %s, want the new main table %s", s.Table, other)
		}
	}
}
