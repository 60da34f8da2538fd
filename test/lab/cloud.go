package lab

import (
	"fmt"
	"net/netip"

	"peerhub/test/ec2sim"
)

// What the roles may do: the actions of deploy/iam (a test holds them together),
// without the conditions, which the simulated IAM does not model. The hub's role is
// also the operator's, who adds spokes from the hub.
var (
	hubActions = []string{
		"ec2:DescribeVpcPeeringConnections", "ec2:DescribeVpcs", "ec2:DescribeSubnets",
		"ec2:DescribeRouteTables", "ec2:DescribeNetworkInterfaces",
		"ec2:CreateRoute", "ec2:ReplaceRoute", "ec2:DeleteRoute",
		"ec2:AcceptVpcPeeringConnection", "ec2:CreateVpcPeeringConnection", "ec2:CreateTags", "ec2:DeleteTags",
		"sts:AssumeRole",
	}
	spokeActions = []string{
		"ec2:DescribeVpcs", "ec2:DescribeSubnets", "ec2:DescribeRouteTables", "ec2:DescribeVpcPeeringConnections",
		"ec2:CreateRoute", "ec2:ReplaceRoute", "ec2:DeleteRoute",
		"ec2:AcceptVpcPeeringConnection", // hubctl add-spoke, on the spoke's side
	}
)

// IP protocol numbers, as security groups write them.
const (
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17
)

// RoleARN is the ARN of a role of this lab.
func RoleARN(account, name string) string { return "arn:aws:iam::" + account + ":role/" + name }

// cloud seeds a simulated AWS; the first failure is kept and ends the rest.
type cloud struct {
	spec Spec
	sim  *ec2sim.Sim
	err  error
}

// seed makes the accounts, VPCs, hosts and peerings of a Spec.
func seed(spec Spec, opt ec2sim.Options) (*ec2sim.Sim, error) {
	if peered := len(spec.services()); peered > 50 {
		opt.Quotas.PeeringsPerVPC = 125 // the most that AWS grants on request
	}
	c := &cloud{spec: spec, sim: ec2sim.New(opt)}
	c.sim.AddAccount(spec.HubAccount, spec.HubName)
	c.role(ec2sim.RoleSpec{Account: spec.HubAccount, Name: HubRole, TrustedBy: []string{"ec2.amazonaws.com"}, Allow: hubActions})
	c.hub()
	for _, v := range spec.services() {
		c.sim.AddAccount(v.Account, v.Host)
		c.role(ec2sim.RoleSpec{Account: v.Account, Name: SpokeRole, ExternalID: spec.ExternalID,
			TrustedBy: []string{RoleARN(spec.HubAccount, HubRole)}, Allow: spokeActions})
		c.service(v)
	}
	if c.err != nil {
		c.sim.Close()
		return nil, fmt.Errorf("seed the simulated AWS: %w", c.err)
	}
	return c.sim, nil
}

func (c *cloud) role(r ec2sim.RoleSpec) { c.do(func() (string, error) { return c.sim.AddRole(r) }) }

func (c *cloud) do(f func() (string, error)) {
	if c.err == nil {
		_, c.err = f()
	}
}

// ID is the AWS id of an object of the lab. Kinds are the prefixes of AWS's ids;
// names are: vpc, igw: hub or the service's host; subnet: hub-public, hub-private,
// HOST-a, HOST-b; rtb: hub-public, hub-main, HOST-a, HOST-main; pcx: HOST; i, eni,
// sg: the host.
func (s Spec) ID(kind, name string) string { return s.id(kind, name) }

// hub makes the Infra VPC: a public subnet with the hub, and a second one, on the
// main table, with a neighbour.
func (c *cloud) hub() {
	s := c.spec
	c.vpc(HostHub, s.HubName, s.HubAccount, s.Region, s.HubVPC)
	c.subnet(HostHub, "hub-public", subnet(s.HubVPC, 0))
	c.subnet(HostHub, "hub-private", subnet(s.HubVPC, 1))
	c.do(func() (string, error) { return c.sim.AddInternetGateway(s.id("igw", HostHub), s.id("vpc", HostHub)) })
	c.table(HostHub, "hub-public", "hub-public")
	c.do(func() (string, error) {
		return "", c.sim.AddRoute(s.id("rtb", "hub-public"), netip.MustParsePrefix("0.0.0.0/0"), s.id("igw", HostHub))
	})
	anywhere := netip.MustParsePrefix("0.0.0.0/0")
	c.group(HostHub, HostHub, allow(protoUDP, vpnPort, anywhere), allow(protoTCP, 22, s.HubVPC))
	c.group(HostHub, HostInfra, company(s.HubVPC)...)
	hub, _ := s.Host(HostHub)
	infra, _ := s.Host(HostInfra)
	c.instance(hub, "hub-public", ec2sim.InstanceSpec{Public: s.HubPublic, Role: HubRole})
	c.instance(infra, "hub-private", ec2sim.InstanceSpec{})
}

// service makes the VPC of a service: subnet a with a table of its own, subnet b on
// the main table.
func (c *cloud) service(v Service) {
	s, a, b := c.spec, v.Host+"-a", v.Host+"-b"
	c.vpc(v.Host, v.Host, v.Account, v.region(s), v.VPC)
	c.subnet(v.Host, a, subnet(v.VPC, 0))
	c.subnet(v.Host, b, subnet(v.VPC, 1))
	c.table(v.Host, a, a)
	c.group(v.Host, v.Host, company(s.HubSubnet())...)
	h, _ := s.Host(v.Host)
	c.instance(h, a, ec2sim.InstanceSpec{})
	if v.Closed {
		c.group(v.Host, v.Host+closedSuffix)
		h, _ := s.Host(v.Host + closedSuffix)
		c.instance(h, b, ec2sim.InstanceSpec{})
	}
	p := ec2sim.PeeringSpec{ID: s.id("pcx", v.Host), Requester: s.id("vpc", HostHub), Accepter: s.id("vpc", v.Host)}
	switch v.Peering {
	case PeeringActive:
		c.do(func() (string, error) { return c.sim.AddPeering(p) })
		if c.err == nil {
			c.err = c.sim.Tag(s.HubAccount, s.Region, p.ID, "Name", v.Host)
		}
	case PeeringRequested:
		p.Requester, p.Accepter, p.Pending = p.Accepter, p.Requester, true
		c.do(func() (string, error) { return c.sim.AddPeering(p) })
	}
}

func (c *cloud) vpc(key, name, account, region string, p netip.Prefix) {
	c.do(func() (string, error) {
		return c.sim.AddVPC(ec2sim.VPCSpec{ID: c.spec.id("vpc", key), Account: account, Region: region, Name: name,
			CIDRs: []netip.Prefix{p}, MainTable: c.spec.id("rtb", key+"-main")})
	})
}

func (c *cloud) subnet(vpc, name string, p netip.Prefix) {
	c.do(func() (string, error) {
		return c.sim.AddSubnet(ec2sim.SubnetSpec{ID: c.spec.id("subnet", name), VPC: c.spec.id("vpc", vpc), Name: name, CIDR: p})
	})
}

func (c *cloud) table(vpc, name, subnet string) {
	c.do(func() (string, error) {
		return c.sim.AddRouteTable(ec2sim.TableSpec{ID: c.spec.id("rtb", name), VPC: c.spec.id("vpc", vpc), Name: name,
			Subnets: []string{c.spec.id("subnet", subnet)}})
	})
}

func (c *cloud) group(vpc, name string, ingress ...ec2sim.NetRule) {
	c.do(func() (string, error) {
		return c.sim.AddSecurityGroup(ec2sim.GroupSpec{ID: c.spec.id("sg", name), VPC: c.spec.id("vpc", vpc), Name: name, Ingress: ingress})
	})
}

func (c *cloud) instance(h Host, subnet string, i ec2sim.InstanceSpec) {
	i.ID, i.Interface, i.Subnet, i.Name = h.Instance, h.ENI, c.spec.id("subnet", subnet), h.Name
	i.Address, i.Groups = h.Addresses[0], []string{c.spec.id("sg", h.Name)}
	c.do(func() (string, error) { return c.sim.AddInstance(i) })
}

// company is what a service's security group admits: ssh, http, echo and ping from
// one prefix.
func company(from netip.Prefix) []ec2sim.NetRule {
	return []ec2sim.NetRule{
		allow(protoTCP, 22, from), allow(protoTCP, 80, from), allow(protoTCP, 7, from), allow(protoUDP, 7, from),
		{Protocol: protoICMP, FromPort: 8, ToPort: -1, Prefix: from},
	}
}

func allow(protocol, port int, from netip.Prefix) ec2sim.NetRule {
	return ec2sim.NetRule{Protocol: protocol, FromPort: port, ToPort: port, Prefix: from}
}

// names maps ids of AWS objects to words a person knows, for drops and logs.
func (s Spec) names() map[string]string {
	out := map[string]string{}
	put := func(name string, kinds ...string) {
		for _, k := range kinds {
			out[s.id(k, name)] = name
		}
	}
	put(HostHub, "vpc", "igw")
	for _, n := range []string{"hub-public", "hub-private", "hub-main"} {
		put(n, "subnet", "rtb")
	}
	for _, v := range s.services() {
		put(v.Host, "vpc", "pcx")
		for _, n := range []string{v.Host + "-a", v.Host + "-b", v.Host + "-main"} {
			put(n, "subnet", "rtb")
		}
	}
	for _, h := range s.Hosts() {
		if h.ENI != "" {
			put(h.Name, "eni", "i", "sg")
		}
		for _, a := range append([]netip.Addr{h.Public}, h.Addresses...) {
			if a.IsValid() && h.ENI == "" {
				out[a.String()] = h.Name
			}
		}
	}
	return out
}
