package ec2sim

import "net/netip"

// Network is what the data plane needs to know of the simulated cloud: a value,
// complete and sorted by id, that shares nothing with the simulator. The fabric
// turns it into packets; nothing else may reach into the simulator's state.
//
// A Network shows the data plane's truth, which may lag behind the API's answer
// when the data-plane lag fault is on.
type Network struct {
	Generation uint64 // grows by at least one with every change
	VPCs       []NetVPC
	Subnets    []NetSubnet
	Tables     []NetTable
	ACLs       []NetACL
	Groups     []NetGroup
	Interfaces []NetInterface
	Peerings   []NetPeering
}

// NetVPC is a VPC with its associated prefixes only (state associated).
type NetVPC struct {
	ID, Account, Region string
	Prefixes            []netip.Prefix // IPv4 and IPv6, primary first
	InternetGateway     string         // id of the attached gateway, "" if none
}

// NetSubnet is a subnet with its effective route table and network ACL.
type NetSubnet struct {
	ID, VPC string
	Prefix  netip.Prefix
	Table   string // explicit association, else the VPC's main table
	ACL     string
}

// NetTable is a route table. Local routes are listed like any other.
type NetTable struct {
	ID, VPC string
	Routes  []NetRoute
}

// Route target kinds as the data plane tells them apart.
const (
	TargetLocal    = "local"
	TargetInternet = "igw"
	TargetPeering  = "pcx"
	TargetENI      = "eni"
	TargetOther    = "other" // nat, tgw, vgw: routes to them exist, packets are dropped with a reason
)

// NetRoute is one entry of a route table.
type NetRoute struct {
	Destination netip.Prefix
	Kind        string // one of the Target constants
	Target      string // id: local, igw-, pcx-, eni-, ...
	Blackhole   bool
	Propagated  bool // by a virtual private gateway; a static route to the same prefix wins
}

// NetPeering is a peering connection; packets pass only while Active.
type NetPeering struct {
	ID           string
	RequesterVPC string
	AccepterVPC  string
	Active       bool
	InterRegion  bool // lowers the MTU to 8500
}

// NetInterface is a network interface of a running instance.
type NetInterface struct {
	ID, Instance, Account, VPC, Subnet string
	MAC                                string
	Addresses                          []netip.Addr              // primary private IPv4 first, then secondaries, then IPv6
	Public                             map[netip.Addr]netip.Addr // private -> public (Elastic or auto-assigned)
	SourceDestCheck                    bool
	Groups                             []string
	IMDSHopLimit                       int // TTL of IMDS answers, 1 by default
}

// NetGroup is a security group. Rules allow; everything else is denied.
type NetGroup struct {
	ID, VPC         string
	Ingress, Egress []NetRule
}

// NetRule is one permission of a security group. Protocol -1 is any protocol.
// For ICMP FromPort is the type and ToPort the code, -1 for any.
type NetRule struct {
	Protocol         int
	FromPort, ToPort int
	Prefix           netip.Prefix // valid unless Group is set
	Group            string       // members of this group, by their private addresses
}

// NetACL is a network ACL: stateless, first match by rule number wins, default deny.
type NetACL struct {
	ID              string
	Ingress, Egress []NetACLEntry // sorted by Number
}

// NetACLEntry is one rule of a network ACL.
type NetACLEntry struct {
	Number           int
	Allow            bool
	Protocol         int // -1 any
	Prefix           netip.Prefix
	FromPort, ToPort int // 0, 0 = all ports; for ICMP type and code, -1 any
}
