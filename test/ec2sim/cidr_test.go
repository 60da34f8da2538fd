package ec2sim_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"

	"peerhub/test/ec2sim"
)

func TestCIDRRules(t *testing.T) {
	add := func(cidr string) func(*lab) error {
		return func(l *lab) error { return l.associate(svcAccount, svcVPC, cidr) }
	}
	checkRules(t, []rule{
		{
			name: "blocks are /16 to /28", code: "InvalidVpc.Range",
			refused: add("10.96.0.0/15"), accepted: add("10.112.0.0/28"),
		}, {
			name: "blocks of a VPC do not overlap", code: "InvalidVpc.Range",
			refused: add("10.110.128.0/17"), accepted: add("10.111.128.0/17"),
		}, {
			name: "a block does not overlap an active peer's", code: "InvalidVpc.Range",
			prepare: func(l *lab) { l.peer() },
			refused: add("10.100.128.0/17"), accepted: add("10.101.128.0/17"),
		}, {
			name: "a requester with a pending request adds none", code: "OperationNotPermitted",
			prepare:  func(l *lab) { l.request() },
			refused:  func(l *lab) error { return l.associate(hubAccount, hubVPC, "10.101.0.0/16") },
			accepted: add("10.111.0.0/16"), // the accepter may
		}, {
			name: "a block is not as large as a route's destination", code: "InvalidVpc.Range",
			prepare: func(l *lab) {
				must(l.t)(l.AddGateway(ec2sim.GatewaySpec{Kind: "tgw", ID: tgwGateway, VPC: svcVPC}))
				accepted(l.t, l.createRoute(svcAccount, ec2.CreateRouteInput{RouteTableId: aws.String(svcTable),
					DestinationCidrBlock: aws.String("10.112.0.0/20"), TransitGatewayId: aws.String(tgwGateway)}))
			},
			refused: add("10.112.0.0/20"), accepted: add("10.112.0.0/21"),
		}, {
			name: "a stale /32 blocks every block around it", code: "InvalidVpc.Range",
			prepare: func(l *lab) {
				l.peer()
				accepted(l.t, l.addRoute(svcAccount, svcTable, "10.113.0.10/32", standingPeering))
				accepted(l.t, l.deletePeering(svcAccount, standingPeering))
			},
			refused: add("10.113.0.0/24"),
			accepted: func(l *lab) error {
				accepted(l.t, l.deleteRoute(svcAccount, svcTable, "10.113.0.10/32"))
				return add("10.113.0.0/24")(l)
			},
		}, {
			name: "blocks per VPC have a quota", code: "CidrLimitExceeded",
			options: ec2sim.Options{Quotas: ec2sim.Quotas{CIDRsPerVPC: 2}},
			refused: func(l *lab) error {
				accepted(l.t, add("10.111.0.0/16")(l))
				return add("10.112.0.0/16")(l)
			},
			accepted: add("10.111.0.0/16"),
		}, {
			name: "private ranges do not mix", code: "InvalidVpc.Range",
			refused: add("192.168.0.0/16"), accepted: add("100.64.0.0/16"),
		}, {
			name: "the primary block stays", code: "OperationNotPermitted",
			prepare: func(l *lab) {
				must(l.t)(l.AddVPC(ec2sim.VPCSpec{ID: "vpc-0a0000000000000dd", Account: svcAccount, Region: tokyo, CIDRs: prefixes("10.170.0.0/16", "10.171.0.0/16")}))
			},
			refused: func(l *lab) error { return l.disassociate("vpc-0a0000000000000dd", 0) }, accepted: func(l *lab) error { return l.disassociate("vpc-0a0000000000000dd", 1) },
		}, {
			name: "a block with a subnet stays", code: "InvalidCidrBlock.InUse",
			prepare: func(l *lab) {
				must(l.t)(l.AddVPC(ec2sim.VPCSpec{ID: "vpc-0a0000000000000dd", Account: svcAccount, Region: tokyo, CIDRs: prefixes("10.170.0.0/16", "10.171.0.0/16", "10.172.0.0/16")}))
				must(l.t)(l.AddSubnet(ec2sim.SubnetSpec{VPC: "vpc-0a0000000000000dd", CIDR: prefixes("10.171.1.0/24")[0]}))
			},
			refused: func(l *lab) error { return l.disassociate("vpc-0a0000000000000dd", 1) }, accepted: func(l *lab) error { return l.disassociate("vpc-0a0000000000000dd", 2) },
		}, {
			name: "subnets lie inside the VPC", code: "InvalidSubnet.Range",
			refused: func(l *lab) error { return l.newSubnet("10.111.0.0/24") }, accepted: func(l *lab) error { return l.newSubnet("10.110.2.0/24") },
		}, {
			name: "subnets do not overlap", code: "InvalidSubnet.Conflict",
			refused: func(l *lab) error { return l.newSubnet("10.110.1.128/25") }, accepted: func(l *lab) error { return l.newSubnet("10.110.2.128/25") },
		},
	})
}

func (l *lab) newSubnet(cidr string) error {
	_, err := l.ec2(svcAccount).CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: aws.String(svcVPC), CidrBlock: aws.String(cidr)})
	return err
}

// blocks lists a VPC's blocks as "prefix state".
func (l *lab) blocks(account, vpc string) (ids, list []string) {
	l.t.Helper()
	out, err := l.ec2(account).DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{vpc}})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, a := range out.Vpcs[0].CidrBlockAssociationSet {
		ids = append(ids, *a.AssociationId)
		list = append(list, *a.CidrBlock+" "+string(a.CidrBlockState.State))
	}
	return ids, list
}

func (l *lab) disassociate(vpc string, index int) error {
	ids, _ := l.blocks(svcAccount, vpc)
	_, err := l.ec2(svcAccount).DisassociateVpcCidrBlock(ctx, &ec2.DisassociateVpcCidrBlockInput{AssociationId: &ids[index]})
	return err
}

func TestBlockPassesThroughItsStatesWithItsLocalRoute(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	l.peer()
	look := func(blocks, routes []string) {
		t.Helper()
		_, got := l.blocks(svcAccount, svcVPC)
		if diff := cmp.Diff(blocks, got); diff != "" {
			t.Errorf("blocks (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(routes, l.routes(svcAccount, svcTable)); diff != "" {
			t.Errorf("routes (-want +got):\n%s", diff)
		}
	}
	const primary, secondary = "10.110.0.0/16 local active CreateRouteTable", "10.111.0.0/16 local active CreateRouteTable"
	accepted(t, l.associate(svcAccount, svcVPC, "10.111.0.0/16"))
	look([]string{"10.110.0.0/16 associated", "10.111.0.0/16 associating"}, []string{primary})
	l.clock.Add(time.Second)
	look([]string{"10.110.0.0/16 associated", "10.111.0.0/16 associated"}, []string{primary, secondary})
	accepted(t, l.addRoute(hubAccount, hubTable, "10.111.0.0/16", standingPeering))
	accepted(t, l.disassociate(svcVPC, 1))
	look([]string{"10.110.0.0/16 associated", "10.111.0.0/16 disassociating"}, []string{primary, secondary})
	l.clock.Add(time.Second)
	look([]string{"10.110.0.0/16 associated"}, []string{primary})
	if got := l.routes(hubAccount, hubTable); got[1] != "10.111.0.0/16 "+standingPeering+" active CreateRoute" {
		t.Errorf("a route to a block that is gone: %s, want it active still", got[1])
	}
}

func TestOverlappingBlockOfTheAccepterFailsThePendingRequest(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	id := l.request()
	accepted(t, l.associate(svcAccount, svcVPC, "10.111.0.0/16"))
	if got := l.status(hubAccount, id); got != "pending-acceptance" {
		t.Errorf("after a block that does not overlap: %s", got)
	}
	accepted(t, l.associate(svcAccount, svcVPC, "10.100.64.0/18"))
	if got := l.status(hubAccount, id); got != "failed" {
		t.Errorf("after an overlapping block: %s", got)
	}
}
