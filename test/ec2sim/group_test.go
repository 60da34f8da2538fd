package ec2sim_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"peerhub/test/ec2sim"
)

const (
	webGroup, hubGroup = "sg-0a000000000000001", "sg-0a000000000000002"
	webACL             = "acl-0a000000000000001"
)

// groups seeds one group on each side.
func groups(l *lab) {
	must(l.t)(l.AddSecurityGroup(ec2sim.GroupSpec{ID: webGroup, VPC: svcVPC, Name: "web"}))
	must(l.t)(l.AddSecurityGroup(ec2sim.GroupSpec{ID: hubGroup, VPC: hubVPC, Name: "bastion"}))
}

// tcp is a permission for a port from a block or a group.
func tcp(port int32, from string) []types.IpPermission {
	p := types.IpPermission{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(port), ToPort: aws.Int32(port)}
	if _, err := netip.ParsePrefix(from); err == nil {
		p.IpRanges = []types.IpRange{{CidrIp: aws.String(from)}}
	} else {
		p.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: aws.String(from)}}
	}
	return []types.IpPermission{p}
}

func (l *lab) allow(group string, p []types.IpPermission) error {
	_, err := l.ec2(svcAccount).AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: aws.String(group), IpPermissions: p})
	return err
}

func (l *lab) revoke(p []types.IpPermission) error {
	_, err := l.ec2(svcAccount).RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: aws.String(webGroup), IpPermissions: p})
	return err
}

func (l *lab) deleteGroup(id string) error {
	_, err := l.ec2(svcAccount).DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: aws.String(id)})
	return err
}

func (l *lab) newGroup(name string) error {
	_, err := l.ec2(svcAccount).CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{GroupName: aws.String(name), Description: aws.String(name), VpcId: aws.String(svcVPC)})
	return err
}

func TestGroupRules(t *testing.T) {
	open := func(port int32, from string) func(*lab) error {
		return func(l *lab) error { return l.allow(webGroup, tcp(port, from)) }
	}
	web := func(l *lab) { groups(l); accepted(l.t, open(80, "10.100.0.0/24")(l)) }
	checkRules(t, []rule{
		{name: "a rule is there once", prepare: web, code: "InvalidPermission.Duplicate", refused: open(80, "10.100.0.0/24"), accepted: open(443, "10.100.0.0/24")},
		{
			name: "an absent rule is not revoked", prepare: web, code: "InvalidPermission.NotFound",
			refused: func(l *lab) error { return l.revoke(tcp(443, "10.100.0.0/24")) }, accepted: func(l *lab) error { return l.revoke(tcp(80, "10.100.0.0/24")) },
		},
		{
			name: "a group of a peer needs an active peering", prepare: groups, code: "InvalidGroup.NotFound",
			refused: open(80, hubGroup), accepted: func(l *lab) error { l.peer(); return open(80, hubGroup)(l) },
		},
		{
			name: "a group of a peer is of the same region", code: "InvalidGroup.NotFound",
			prepare: func(l *lab) {
				groups(l)
				far := must(l.t)(l.AddVPC(ec2sim.VPCSpec{Account: hubAccount, Region: oregon, CIDRs: prefixes("10.180.0.0/16")}))
				must(l.t)(l.AddSecurityGroup(ec2sim.GroupSpec{ID: "sg-0a0000000000000cc", VPC: far, Name: "far"}))
				must(l.t)(l.AddPeering(ec2sim.PeeringSpec{Requester: far, Accepter: svcVPC}))
				l.peer()
			},
			refused: open(80, "sg-0a0000000000000cc"), accepted: open(80, hubGroup),
		},
		{
			name: "rules per group have a quota", prepare: web, code: "RulesPerSecurityGroupLimitExceeded",
			options: ec2sim.Options{Quotas: ec2sim.Quotas{RulesPerGroup: 2}},
			refused: func(l *lab) error { accepted(l.t, open(81, "10.100.0.0/24")(l)); return open(82, "10.100.0.0/24")(l) }, accepted: open(81, "10.100.0.0/24"),
		},
		{
			name: "groups per interface have a quota", prepare: groups, code: "SecurityGroupsPerInterfaceLimitExceeded",
			options: ec2sim.Options{Quotas: ec2sim.Quotas{GroupsPerInterface: 1}},
			refused: func(l *lab) error {
				must(l.t)(l.AddSecurityGroup(ec2sim.GroupSpec{ID: "sg-0a0000000000000dd", VPC: hubVPC, Name: "more"}))
				return l.setGroups(hubGroup, "sg-0a0000000000000dd")
			},
			accepted: func(l *lab) error { return l.setGroups(hubGroup) },
		},
		{name: "a name is there once per VPC", prepare: groups, code: "InvalidGroup.Duplicate", refused: func(l *lab) error { return l.newGroup("web") }, accepted: func(l *lab) error { return l.newGroup("db") }},
		{
			name: "the default group stays", prepare: groups, code: "CannotDelete",
			refused: func(l *lab) error {
				out, err := l.ec2(svcAccount).DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{where("group-name", "default")}})
				accepted(l.t, err)
				return l.deleteGroup(*out.SecurityGroups[0].GroupId)
			},
			accepted: func(l *lab) error { return l.deleteGroup(webGroup) },
		},
		{
			name: "a group in use stays", prepare: groups, code: "DependencyViolation",
			refused: func(l *lab) error {
				must(l.t)(l.AddInstance(ec2sim.InstanceSpec{Subnet: svcSubnet, Groups: []string{webGroup}}))
				return l.deleteGroup(webGroup)
			},
			accepted: func(l *lab) error { return l.deleteGroup(webGroup) },
		},
		{
			name: "tcp has ports", prepare: groups, code: "InvalidParameterValue",
			refused: func(l *lab) error {
				return l.allow(webGroup, []types.IpPermission{{IpProtocol: aws.String("tcp"), IpRanges: []types.IpRange{{CidrIp: aws.String("10.0.0.0/8")}}}})
			},
			accepted: open(80, "10.0.0.0/8"),
		},
	})
}

func TestGroupsReachTheDataPlane(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	groups(l)
	l.peer()
	accepted(t, l.allow(webGroup, tcp(80, "10.100.0.0/24")))
	accepted(t, l.allow(webGroup, tcp(22, hubGroup)))
	accepted(t, l.allow(webGroup, []types.IpPermission{{IpProtocol: aws.String("icmp"), FromPort: aws.Int32(8), ToPort: aws.Int32(-1),
		IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}}}}))
	var got ec2sim.NetGroup
	for _, g := range l.Network().Groups {
		if g.ID == webGroup {
			got = g
		}
	}
	want := ec2sim.NetGroup{
		ID: webGroup, VPC: svcVPC,
		Ingress: []ec2sim.NetRule{
			{Protocol: 6, FromPort: 80, ToPort: 80, Prefix: netip.MustParsePrefix("10.100.0.0/24")},
			{Protocol: 6, FromPort: 22, ToPort: 22, Group: hubGroup},
			{Protocol: 1, FromPort: 8, ToPort: -1, Prefix: netip.MustParsePrefix("0.0.0.0/0")},
		},
		Egress: []ec2sim.NetRule{{Protocol: -1, Prefix: netip.MustParsePrefix("0.0.0.0/0")}},
	}
	if diff := cmp.Diff(want, got, comparePrefix); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	rules, err := l.ec2(svcAccount).DescribeSecurityGroupRules(ctx, &ec2.DescribeSecurityGroupRulesInput{Filters: []types.Filter{where("group-id", webGroup)}})
	if err != nil || len(rules.SecurityGroupRules) != 4 {
		t.Errorf("rules %v, %v", rules, err)
	}
}

func (l *lab) entry(number int32, action types.RuleAction, cidr string) error {
	_, err := l.ec2(svcAccount).CreateNetworkAclEntry(ctx, &ec2.CreateNetworkAclEntryInput{NetworkAclId: aws.String(webACL), RuleNumber: aws.Int32(number),
		Egress: aws.Bool(false), Protocol: aws.String("6"), RuleAction: action, CidrBlock: aws.String(cidr), PortRange: &types.PortRange{From: aws.Int32(80), To: aws.Int32(80)}})
	return err
}

func TestACLRules(t *testing.T) {
	seeded := func(l *lab) {
		must(l.t)(l.AddACL(ec2sim.ACLSpec{ID: webACL, VPC: svcVPC}))
		accepted(l.t, l.entry(100, types.RuleActionAllow, "10.100.0.0/24"))
	}
	numbered := func(n int32) func(*lab) error {
		return func(l *lab) error { return l.entry(n, types.RuleActionDeny, "10.0.0.0/8") }
	}
	drop := func(n int32) func(*lab) error {
		return func(l *lab) error {
			_, err := l.ec2(svcAccount).DeleteNetworkAclEntry(ctx, &ec2.DeleteNetworkAclEntryInput{NetworkAclId: aws.String(webACL), RuleNumber: aws.Int32(n), Egress: aws.Bool(false)})
			return err
		}
	}
	checkRules(t, []rule{
		{name: "a number is there once per direction", prepare: seeded, code: "NetworkAclEntryAlreadyExists", refused: numbered(100), accepted: numbered(99)},
		{name: "numbers end at 32766", prepare: seeded, code: "InvalidParameterValue", refused: numbered(32767), accepted: numbered(32766)},
		{name: "the last entry stays", prepare: seeded, code: "InvalidNetworkAclEntry.NotFound", refused: drop(32767), accepted: drop(100)},
		{
			name: "entries have a quota", prepare: seeded, code: "NetworkAclEntryLimitExceeded", options: ec2sim.Options{Quotas: ec2sim.Quotas{EntriesPerACL: 3}},
			refused: func(l *lab) error { accepted(l.t, numbered(101)(l)); return numbered(102)(l) }, accepted: numbered(101),
		},
		{
			name: "an ACL in use stays", prepare: seeded, code: "DependencyViolation",
			refused:  func(l *lab) error { l.useACL(); return l.deleteACL() },
			accepted: func(l *lab) error { return l.deleteACL() },
		},
	})
}

// useACL moves the service's subnet to the seeded ACL.
func (l *lab) useACL() {
	l.t.Helper()
	out, err := l.ec2(svcAccount).DescribeNetworkAcls(ctx, &ec2.DescribeNetworkAclsInput{Filters: []types.Filter{where("association.subnet-id", svcSubnet)}})
	accepted(l.t, err)
	_, err = l.ec2(svcAccount).ReplaceNetworkAclAssociation(ctx, &ec2.ReplaceNetworkAclAssociationInput{
		AssociationId: out.NetworkAcls[0].Associations[0].NetworkAclAssociationId, NetworkAclId: aws.String(webACL)})
	accepted(l.t, err)
}

func (l *lab) deleteACL() error {
	_, err := l.ec2(svcAccount).DeleteNetworkAcl(ctx, &ec2.DeleteNetworkAclInput{NetworkAclId: aws.String(webACL)})
	return err
}

func TestACLsReachTheDataPlaneInOrder(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	must(t)(l.AddACL(ec2sim.ACLSpec{ID: webACL, VPC: svcVPC}))
	l.useACL()
	accepted(t, l.entry(200, types.RuleActionAllow, "10.0.0.0/8"))
	accepted(t, l.entry(100, types.RuleActionDeny, "10.100.0.0/24"))
	n := l.Network()
	for _, s := range n.Subnets {
		if s.ID == svcSubnet && s.ACL != webACL {
			t.Errorf("the subnet obeys %s", s.ACL)
		}
	}
	for _, a := range n.ACLs {
		if a.ID != webACL {
			continue
		}
		var got []string
		for _, e := range a.Ingress {
			got = append(got, fmt.Sprint(e.Number, e.Allow, e.Protocol, e.Prefix, e.FromPort, e.ToPort))
		}
		want := []string{"100 false 6 10.100.0.0/24 80 80", "200 true 6 10.0.0.0/8 80 80", "32767 false -1 0.0.0.0/0 0 0"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
