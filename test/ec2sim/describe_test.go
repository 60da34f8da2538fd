package ec2sim_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"peerhub/test/ec2sim"
)

func where(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}

// vpcs lists the CIDRs of the VPCs that filters let through.
func (l *lab) vpcs(account string, filters ...types.Filter) ([]string, error) {
	out, err := l.ec2(account).DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: filters})
	if err != nil {
		return nil, err
	}
	var list []string
	for _, v := range out.Vpcs {
		list = append(list, *v.CidrBlock)
	}
	slices.Sort(list)
	return list, nil
}

func TestFiltersAreAndedAndTheirValuesOred(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	for i, name := range []string{"alpha", "beta", "beta*"} {
		id := must(t)(l.AddVPC(ec2sim.VPCSpec{Account: otherAccount, Region: tokyo, Name: name, CIDRs: prefixes(fmt.Sprintf("10.20%d.0.0/16", i))}))
		if err := l.Tag(otherAccount, tokyo, id, "env", map[int]string{0: "prod", 1: "prod", 2: "test"}[i]); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name    string
		filters []types.Filter
		want    []string
	}{
		{"none", nil, []string{"10.200.0.0/16", "10.201.0.0/16", "10.202.0.0/16"}},
		{"values are ORed", []types.Filter{where("cidr", "10.200.0.0/16", "10.202.0.0/16")}, []string{"10.200.0.0/16", "10.202.0.0/16"}},
		{"filters are ANDed", []types.Filter{where("tag:env", "prod"), where("tag:Name", "b*")}, []string{"10.201.0.0/16"}},
		{"* is any number of characters", []types.Filter{where("cidr", "10.20*")}, []string{"10.200.0.0/16", "10.201.0.0/16", "10.202.0.0/16"}},
		{"? is none or one", []types.Filter{where("tag:Name", "beta?")}, []string{"10.201.0.0/16", "10.202.0.0/16"}},
		{`\ takes a wildcard as it is`, []types.Filter{where("tag:Name", `beta\*`)}, []string{"10.202.0.0/16"}},
		{"values are case-sensitive", []types.Filter{where("tag:Name", "Alpha")}, nil},
		{"by tag key", []types.Filter{where("tag-key", "env")}, []string{"10.200.0.0/16", "10.201.0.0/16", "10.202.0.0/16"}},
		{"nothing fits", []types.Filter{where("vpc-id", "vpc-0")}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := l.vpcs(otherAccount, tt.filters...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDescribeRules(t *testing.T) {
	describe := func(in ec2.DescribeVpcsInput) func(*lab) error {
		return func(l *lab) error { _, err := l.ec2(hubAccount).DescribeVpcs(ctx, &in); return err }
	}
	tables := func(n int32) func(*lab) error {
		return func(l *lab) error {
			_, err := l.ec2(hubAccount).DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{MaxResults: aws.Int32(n)})
			return err
		}
	}
	checkRules(t, []rule{
		{
			name: "filters are known by name", code: "InvalidParameterValue",
			refused:  describe(ec2.DescribeVpcsInput{Filters: []types.Filter{where("region", tokyo)}}),
			accepted: describe(ec2.DescribeVpcsInput{Filters: []types.Filter{where("owner-id", hubAccount)}}),
		}, {
			name: "a page has 5 objects at least", code: "InvalidParameterValue",
			refused: describe(ec2.DescribeVpcsInput{MaxResults: aws.Int32(4)}), accepted: describe(ec2.DescribeVpcsInput{MaxResults: aws.Int32(5)}),
		}, {
			name: "a page has 1000 objects at most", code: "InvalidParameterValue",
			refused: describe(ec2.DescribeVpcsInput{MaxResults: aws.Int32(1001)}), accepted: describe(ec2.DescribeVpcsInput{MaxResults: aws.Int32(1000)}),
		}, {
			name: "a page of route tables has 100 at most", code: "InvalidParameterValue", refused: tables(101), accepted: tables(100),
		}, {
			name: "a token is one that was given", code: "InvalidParameterValue",
			refused:  describe(ec2.DescribeVpcsInput{NextToken: aws.String("made-up")}),
			accepted: describe(ec2.DescribeVpcsInput{}),
		}, {
			name: "every id must exist", code: "InvalidVpcID.NotFound",
			refused: describe(ec2.DescribeVpcsInput{VpcIds: []string{hubVPC, svcVPC}}), accepted: describe(ec2.DescribeVpcsInput{VpcIds: []string{hubVPC}}),
		}, {
			name: "instances: ids and pages exclude each other", code: "InvalidParameterCombination",
			refused: func(l *lab) error {
				_, err := l.ec2(hubAccount).DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{hubInstance}, MaxResults: aws.Int32(5)})
				return err
			},
			accepted: func(l *lab) error {
				_, err := l.ec2(hubAccount).DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{hubInstance}})
				return err
			},
		}, {
			name: "actions are known by name", code: "InvalidAction",
			refused: func(l *lab) error {
				_, err := l.ec2(hubAccount).DescribeVolumes(ctx, &ec2.DescribeVolumesInput{})
				return err
			},
			accepted: describe(ec2.DescribeVpcsInput{}),
		}, {
			name: "parameters are known by name", code: "UnknownParameter",
			refused: func(l *lab) error {
				_, err := l.ec2(hubAccount).DescribeInstances(ctx, &ec2.DescribeInstancesInput{IncludeManagedResources: aws.Bool(true)})
				return err
			},
			accepted: func(l *lab) error {
				_, err := l.ec2(hubAccount).DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
				return err
			},
		}, {
			name: "a prefix must be one", code: "InvalidParameterValue", prepare: func(l *lab) { l.peer() },
			refused:  func(l *lab) error { return l.addRoute(hubAccount, hubTable, "10.110.0.0", standingPeering) },
			accepted: func(l *lab) error { return l.addRoute(hubAccount, hubTable, "10.110.0.0/32", standingPeering) },
		},
	})
}

func TestPagesAreCompleteAndDisjoint(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	for i := range 11 {
		must(t)(l.AddVPC(ec2sim.VPCSpec{Account: otherAccount, Region: tokyo, CIDRs: prefixes(fmt.Sprintf("10.%d.0.0/16", i))}))
	}
	p := ec2.NewDescribeVpcsPaginator(l.ec2(otherAccount), &ec2.DescribeVpcsInput{MaxResults: aws.Int32(5)})
	var sizes []int
	seen := map[string]bool{}
	for p.HasMorePages() {
		out, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(out.Vpcs))
		for _, v := range out.Vpcs {
			seen[*v.VpcId] = true
		}
	}
	if diff := cmp.Diff([]int{5, 5, 1}, sizes); diff != "" || len(seen) != 11 {
		t.Errorf("%d VPCs of 11, pages (-want +got):\n%s", len(seen), diff)
	}
}

func TestAccountsAndRegionsAreApart(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	must(t)(l.AddVPC(ec2sim.VPCSpec{Account: hubAccount, Region: oregon, CIDRs: prefixes("10.190.0.0/16")}))
	got, err := l.vpcs(hubAccount)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.100.0.0/16"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out, err := l.ec2In(hubAccount, oregon).DescribeVpcs(ctx, &ec2.DescribeVpcsInput{})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Vpcs) != 1 || *out.Vpcs[0].CidrBlock != "10.190.0.0/16" {
		t.Errorf("the other region has %v", out.Vpcs)
	}
}

func TestDescribeTagsListsOwnTags(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	out, err := l.ec2(hubAccount).DescribeTags(ctx, &ec2.DescribeTagsInput{Filters: []types.Filter{where("resource-type", "instance"), where("key", "Name")}})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Tags) != 1 || *out.Tags[0].Value != "bastion" || *out.Tags[0].ResourceId != hubInstance {
		t.Errorf("got %v", out.Tags)
	}
	_, err = l.ec2(hubAccount).DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: []string{hubInstance}, Tags: []types.Tag{{Key: aws.String("Name")}}})
	accepted(t, err)
	out, err = l.ec2(hubAccount).DescribeTags(ctx, &ec2.DescribeTagsInput{Filters: []types.Filter{where("resource-id", hubInstance)}})
	if err != nil || len(out.Tags) != 0 {
		t.Errorf("after deletion %v, %v", out, err)
	}
}
