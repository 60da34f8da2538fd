package discovery

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"peerhub/hub"
	"peerhub/hub/failpoint"
)

// peering converts a peering of vpc; false if it belongs to another VPC of the account.
func peering(p types.VpcPeeringConnection, vpc hub.VPCID, home hub.Scope) (hub.Peering, bool) {
	own, other := p.RequesterVpcInfo, p.AccepterVpcInfo
	requested := own != nil && hub.VPCID(aws.ToString(own.VpcId)) == vpc
	if !requested {
		own, other = other, own
	}
	id := aws.ToString(p.VpcPeeringConnectionId)
	if id == "" || own == nil || hub.VPCID(aws.ToString(own.VpcId)) != vpc {
		return hub.Peering{}, false
	}
	out := hub.Peering{ID: hub.PeeringID(id), HubRequested: requested, Tags: tagMap(p.Tags), Expires: aws.ToTime(p.ExpirationTime).UTC()}
	if p.ExpirationTime == nil {
		out.Expires = time.Time{}
	}
	out.Name = out.Tags["Name"]
	if p.Status != nil {
		out.State = hub.PeeringState(p.Status.Code)
		out.Message = aws.ToString(p.Status.Message)
	}
	if other == nil {
		return out, true
	}
	out.Peer.VPC = hub.VPCID(aws.ToString(other.VpcId))
	out.Peer.Scope = hub.Scope{Account: hub.AccountID(aws.ToString(other.OwnerId)), Region: hub.Region(aws.ToString(other.Region))}
	if out.Peer.Scope.Region == "" { // old answers lack it for peerings inside a region
		out.Peer.Scope.Region = home.Region
	}
	if failpoint.Off("only-active") {
		out.State = hub.PeeringActive
	}
	if out.State != hub.PeeringActive {
		return out, true // AWS tells some prefixes before, and none can be relied on
	}
	var texts []string
	for _, c := range other.CidrBlockSet {
		texts = append(texts, aws.ToString(c.CidrBlock))
	}
	if len(texts) == 0 && other.CidrBlock != nil {
		texts = append(texts, *other.CidrBlock)
	}
	for _, c := range other.Ipv6CidrBlockSet {
		texts = append(texts, aws.ToString(c.Ipv6CidrBlock))
	}
	out.Peer.Prefixes, out.Peer.Bad = prefixes(texts)
	return out, true
}

// prefixes sorts texts into prefixes and what is none. Host bits make it none: AWS
// always says the canonical form, so whoever said this is in doubt.
func prefixes(texts []string) (good []netip.Prefix, bad []string) {
	for _, s := range texts {
		p, err := netip.ParsePrefix(s)
		if err != nil || p != p.Masked() && !failpoint.Off("canonical-prefixes") {
			bad = append(bad, s)
			continue
		}
		good = append(good, p.Masked())
	}
	slices.SortFunc(good, hub.ComparePrefixes)
	slices.Sort(bad)
	return slices.Compact(good), slices.Compact(bad)
}

// vpc converts a VPC with the prefixes that are associated now. IPv6 ones are left
// out: nothing of ours can use them yet.
func vpc(v types.Vpc, scope hub.Scope) hub.VPC {
	out := hub.VPC{ID: hub.VPCID(aws.ToString(v.VpcId)), Scope: scope, Name: tagMap(v.Tags)["Name"]}
	var texts []string
	for _, a := range v.CidrBlockAssociationSet {
		if a.CidrBlockState == nil || a.CidrBlockState.State == types.VpcCidrBlockStateCodeAssociated {
			texts = append(texts, aws.ToString(a.CidrBlock))
		}
	}
	if len(v.CidrBlockAssociationSet) == 0 && v.CidrBlock != nil {
		texts = append(texts, *v.CidrBlock)
	}
	out.Prefixes, _ = prefixes(texts)
	return out
}

func subnet(s types.Subnet, scope hub.Scope) (hub.Subnet, error) {
	p, err := netip.ParsePrefix(aws.ToString(s.CidrBlock))
	if err != nil && aws.ToString(s.CidrBlock) != "" { // IPv6-only subnets have none
		return hub.Subnet{}, fmt.Errorf("subnet %s: %w: prefix %q", aws.ToString(s.SubnetId), errDoubt, aws.ToString(s.CidrBlock))
	}
	return hub.Subnet{ID: hub.SubnetID(aws.ToString(s.SubnetId)), VPC: hub.VPCID(aws.ToString(s.VpcId)), Scope: scope, Prefix: p}, nil
}

func table(t types.RouteTable, scope hub.Scope) hub.Table {
	out := hub.Table{
		ID: hub.TableID(aws.ToString(t.RouteTableId)), VPC: hub.VPCID(aws.ToString(t.VpcId)), Scope: scope, Tags: tagMap(t.Tags),
	}
	for _, a := range t.Associations {
		if s := a.AssociationState; s != nil { // absent in some partitions
			switch s.State {
			case types.RouteTableAssociationStateCodeDisassociating, types.RouteTableAssociationStateCodeDisassociated, types.RouteTableAssociationStateCodeFailed:
				continue
			}
		}
		switch {
		case aws.ToBool(a.Main):
			out.Main = true
		case aws.ToString(a.GatewayId) != "":
			out.Edge = true
		case aws.ToString(a.SubnetId) != "":
			out.Subnets = append(out.Subnets, hub.SubnetID(*a.SubnetId))
		}
	}
	slices.Sort(out.Subnets)
	for _, r := range t.Routes {
		out.Routes = append(out.Routes, route(r))
	}
	slices.SortFunc(out.Routes, func(a, b hub.Route) int {
		if c := hub.ComparePrefixes(a.Destination, b.Destination); c != 0 {
			return c
		}
		return strings.Compare(a.Target, b.Target)
	})
	return out
}

func route(r types.Route) hub.Route {
	out := hub.Route{Blackhole: r.State == types.RouteStateBlackhole, Static: r.Origin == types.RouteOriginCreateRoute}
	dest := aws.ToString(r.DestinationCidrBlock)
	if dest == "" {
		dest = aws.ToString(r.DestinationIpv6CidrBlock)
	}
	if p, err := netip.ParsePrefix(dest); err == nil {
		out.Destination = p.Masked()
	}
	// A route to an instance names its interface too; the interface is what it leads to.
	for _, t := range []*string{
		r.VpcPeeringConnectionId, r.NetworkInterfaceId, r.NatGatewayId, r.TransitGatewayId, r.GatewayId,
		r.EgressOnlyInternetGatewayId, r.LocalGatewayId, r.CarrierGatewayId, r.CoreNetworkArn, r.InstanceId,
	} {
		if aws.ToString(t) != "" {
			out.Target = *t
			break
		}
	}
	return out
}

// eni converts an interface and says where it stands among the instance's.
func eni(n types.NetworkInterface) (i hub.Interface, vpc hub.VPCID, index int32) {
	i = hub.Interface{
		ID: hub.InterfaceID(aws.ToString(n.NetworkInterfaceId)), MAC: strings.ToLower(aws.ToString(n.MacAddress)),
		Subnet: hub.SubnetID(aws.ToString(n.SubnetId)), SourceDestCheck: n.SourceDestCheck,
	}
	i.Address, _ = netip.ParseAddr(aws.ToString(n.PrivateIpAddress))
	for _, a := range n.PrivateIpAddresses {
		addr, err := netip.ParseAddr(aws.ToString(a.PrivateIpAddress))
		switch {
		case err != nil:
		case aws.ToBool(a.Primary):
			i.Address = addr
			i.Addresses = slices.Insert(i.Addresses, 0, addr)
		default:
			i.Addresses = append(i.Addresses, addr)
		}
	}
	if len(i.Addresses) == 0 && i.Address.IsValid() {
		i.Addresses = []netip.Addr{i.Address}
	}
	if n.Attachment != nil {
		index = aws.ToInt32(n.Attachment.DeviceIndex)
	}
	return i, hub.VPCID(aws.ToString(n.VpcId)), index
}

func tagMap(tags []types.Tag) map[string]string {
	if len(tags) == 0 {
		return nil
	}
	out := make(map[string]string, len(tags))
	for _, t := range tags {
		out[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return out
}
