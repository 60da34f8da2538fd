package discovery

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sync/errgroup"

	"peerhub/hub"
)

// part is what one source says.
type part struct {
	hub      hub.Hub       // hub's source only
	peerings []hub.Peering // hub's source only
	subnets  []hub.Subnet  // hub's source only
	vpcs     []hub.VPC
	tables   []hub.Table
}

// filterValues is how many values AWS takes in one filter.
const filterValues = 200

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}

// readVPCs reads VPCs and their route tables in one account and region: one page set
// each, however many spokes. must has to be in the answer; may need not (VPCs that hold
// routes of ours and may be gone).
func readVPCs(ctx context.Context, c *ec2.Client, scope hub.Scope, must, may []hub.VPCID) (part, error) {
	ids := make([]string, 0, len(must)+len(may))
	for _, id := range slices.Concat(must, may) {
		ids = append(ids, string(id))
	}
	var p part
	if len(ids) == 0 {
		return p, nil // an empty filter would list the whole account
	}
	for chunk := range slices.Chunk(ids, filterValues) {
		f := []types.Filter{filter("vpc-id", chunk...)}
		g, ctx := errgroup.WithContext(ctx)
		var vpcs []types.Vpc
		var tables []types.RouteTable
		g.Go(func() (err error) {
			vpcs, err = pages(ctx, "DescribeVpcs", func(ctx context.Context, token *string) ([]types.Vpc, *string, error) {
				out, err := c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: f, MaxResults: aws.Int32(1000), NextToken: token})
				if err != nil {
					return nil, nil, err
				}
				return out.Vpcs, out.NextToken, nil
			})
			return err
		})
		g.Go(func() (err error) {
			tables, err = pages(ctx, "DescribeRouteTables", func(ctx context.Context, token *string) ([]types.RouteTable, *string, error) {
				out, err := c.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: f, MaxResults: aws.Int32(100), NextToken: token})
				if err != nil {
					return nil, nil, err
				}
				return out.RouteTables, out.NextToken, nil
			})
			return err
		})
		if err := g.Wait(); err != nil {
			return part{}, err
		}
		for _, v := range vpcs {
			if o := aws.ToString(v.OwnerId); o != "" && o != string(scope.Account) {
				return part{}, fmt.Errorf("DescribeVpcs: %w: %s belongs to account %s", errDoubt, aws.ToString(v.VpcId), o)
			}
			p.vpcs = append(p.vpcs, vpc(v, scope))
		}
		for _, t := range tables {
			p.tables = append(p.tables, table(t, scope))
		}
	}
	return p, p.believable(must)
}

// believable checks what every true answer has: the VPCs asked for, nothing twice, and
// the main table of each VPC.
func (p part) believable(must []hub.VPCID) error {
	for _, id := range must {
		if !slices.ContainsFunc(p.vpcs, func(v hub.VPC) bool { return v.ID == id }) {
			return fmt.Errorf("DescribeVpcs: %w: it lacks %s", errDoubt, id)
		}
	}
	for _, v := range p.vpcs {
		if !slices.ContainsFunc(p.tables, func(t hub.Table) bool { return t.VPC == v.ID && t.Main }) {
			return fmt.Errorf("DescribeRouteTables: %w: it lacks the main table of %s", errDoubt, v.ID)
		}
	}
	seen := map[hub.TableID]bool{}
	for _, t := range p.tables {
		if seen[t.ID] {
			return fmt.Errorf("DescribeRouteTables: %w: %s is in it twice", errDoubt, t.ID)
		}
		seen[t.ID] = true
	}
	return nil
}

// readHub reads the hub's own source: its interfaces, the peerings of its VPC, the VPC
// with subnets and tables, and the spokes that live in the same account and region.
func (d *Discovery) readHub(ctx context.Context, c *ec2.Client, id identity, kernel []KernelInterface, mayEnter func(hub.Peering) bool, extra []hub.VPCID) (part, error) {
	var p part
	g, first := errgroup.WithContext(ctx)
	var enis []types.NetworkInterface
	var pcxs []types.VpcPeeringConnection
	g.Go(func() (err error) { enis, err = d.readInterfaces(first, c, id); return err })
	g.Go(func() (err error) {
		// No filter: requester and accepter cannot be OR-ed in one call.
		pcxs, err = pages(first, "DescribeVpcPeeringConnections", func(ctx context.Context, token *string) ([]types.VpcPeeringConnection, *string, error) {
			out, err := c.DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{MaxResults: aws.Int32(1000), NextToken: token})
			if err != nil {
				return nil, nil, err
			}
			return out.VpcPeeringConnections, out.NextToken, nil
		})
		return err
	})
	if err := g.Wait(); err != nil {
		return part{}, err
	}
	home, interfaces, err := d.choose(enis, kernel)
	if err != nil {
		return part{}, err
	}
	for _, x := range pcxs {
		if y, ours := peering(x, home, id.scope); ours {
			p.peerings = append(p.peerings, y)
		}
	}
	slices.SortFunc(p.peerings, func(a, b hub.Peering) int { return strings.Compare(string(a.ID), string(b.ID)) })
	for i := 1; i < len(p.peerings); i++ {
		if p.peerings[i].ID == p.peerings[i-1].ID {
			return part{}, fmt.Errorf("DescribeVpcPeeringConnections: %w: %s is in it twice", errDoubt, p.peerings[i].ID)
		}
	}

	must := []hub.VPCID{home}
	for _, y := range p.peerings {
		if y.Peer.Scope == id.scope && mayEnter(y) && !slices.Contains(must, y.Peer.VPC) {
			must = append(must, y.Peer.VPC)
		}
	}
	extra = slices.DeleteFunc(slices.Clone(extra), func(v hub.VPCID) bool { return slices.Contains(must, v) })
	g, second := errgroup.WithContext(ctx)
	var vpcs part
	g.Go(func() (err error) { vpcs, err = readVPCs(second, c, id.scope, must, extra); return err })
	g.Go(func() (err error) { p.subnets, err = readSubnets(second, c, id.scope, home); return err })
	if err := g.Wait(); err != nil {
		return part{}, err
	}
	p.vpcs, p.tables = vpcs.vpcs, vpcs.tables
	p.hub = hub.Hub{Name: d.opts.Hub.Name, Scope: id.scope, Partition: id.partition, VPC: home, Instance: id.instance, Interfaces: interfaces}
	for _, v := range p.vpcs {
		if v.ID == home {
			p.hub.Prefixes = v.Prefixes
			if p.hub.Name == "" {
				p.hub.Name = v.Name
			}
		}
	}
	for i := range p.hub.Interfaces {
		n := &p.hub.Interfaces[i]
		s := slices.IndexFunc(p.subnets, func(s hub.Subnet) bool { return s.ID == n.Subnet })
		if s < 0 {
			return part{}, fmt.Errorf("DescribeSubnets: %w: it lacks %s of %s", errDoubt, n.Subnet, n.ID)
		}
		n.SubnetPrefix = p.subnets[s].Prefix
	}
	return p, nil
}

func (d *Discovery) readInterfaces(ctx context.Context, c *ec2.Client, id identity) ([]types.NetworkInterface, error) {
	f := filter("attachment.instance-id", string(id.instance))
	if d.interfacesStated() {
		f = filter("network-interface-id")
		for _, i := range d.opts.Hub.Interfaces {
			f.Values = append(f.Values, string(i.ENI))
		}
	}
	return pages(ctx, "DescribeNetworkInterfaces", func(ctx context.Context, token *string) ([]types.NetworkInterface, *string, error) {
		out, err := c.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: []types.Filter{f}, MaxResults: aws.Int32(1000), NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.NetworkInterfaces, out.NextToken, nil
	})
}

// choose finds the hub's interfaces and VPC. An instance may have interfaces in other
// VPCs; those are not ours.
func (d *Discovery) choose(enis []types.NetworkInterface, kernel []KernelInterface) (hub.VPCID, []hub.Interface, error) {
	type seen struct {
		eni   hub.Interface
		vpc   hub.VPCID
		index int32
	}
	var all []seen
	for _, n := range enis {
		i, v, index := eni(n)
		all = append(all, seen{i, v, index})
	}
	slices.SortFunc(all, func(a, b seen) int {
		if a.index != b.index {
			return int(a.index - b.index)
		}
		return strings.Compare(string(a.eni.ID), string(b.eni.ID))
	})
	home := d.opts.Hub.VPC
	if home == "" && len(all) > 0 {
		home = all[0].vpc
	}
	var list []hub.Interface
	for _, s := range all {
		if s.vpc == home {
			list = append(list, s.eni)
		}
	}
	list = named(list, d.opts.Hub.Interfaces, kernel)
	if len(list) == 0 {
		return "", nil, fmt.Errorf("DescribeNetworkInterfaces: %w: no interface of the hub in VPC %s (see hub.vpc, hub.instance and hub.interfaces)", errDoubt, home)
	}
	return home, list, nil
}

func readSubnets(ctx context.Context, c *ec2.Client, scope hub.Scope, home hub.VPCID) ([]hub.Subnet, error) {
	list, err := pages(ctx, "DescribeSubnets", func(ctx context.Context, token *string) ([]types.Subnet, *string, error) {
		out, err := c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{
			Filters: []types.Filter{filter("vpc-id", string(home))}, MaxResults: aws.Int32(1000), NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.Subnets, out.NextToken, nil
	})
	if err != nil {
		return nil, err
	}
	var out []hub.Subnet
	for _, s := range list {
		n, err := subnet(s, scope)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}
