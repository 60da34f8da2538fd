package hub

import (
	"net/netip"
	"time"
)

// Topology is what AWS says: complete per source, or that source's last good answer.
type Topology struct {
	Hub      Hub
	Sources  []Source  // sorted by scope
	Peerings []Peering // every peering of the hub VPC, terminal ones included; sorted by id
	VPCs     []VPC     // spoke VPCs seen with their owners' eyes (optional detail); sorted by id
	Tables   []Table   // route tables of the hub VPC and of the spokes we may see; sorted by id
	Subnets  []Subnet  // sorted by id
}

// Hub is the VPN instance and its VPC: IMDS and EC2, or stated in the config.
type Hub struct {
	Name       string
	Scope      Scope
	Partition  string // aws, aws-cn, aws-us-gov
	VPC        VPCID
	Prefixes   []netip.Prefix // the VPC's associated prefixes
	Instance   InstanceID
	Interfaces []Interface // device 0 first
}

// Interface is a network interface of the hub, joined with the kernel's by MAC address or name.
type Interface struct {
	Name            string // the kernel's name; "" when no kernel interface has the MAC
	ID              InterfaceID
	MAC             string
	Subnet          SubnetID
	SubnetPrefix    netip.Prefix
	Address         netip.Addr   // primary private address
	Addresses       []netip.Addr // all private IPv4 addresses, primary first
	SourceDestCheck *bool        // nil: unknown
}

// Source is one place we read from, and how good its present answer is.
type Source struct {
	Scope  Scope
	Fresh  bool      // the last read was complete
	At     time.Time // when the answer in use was read; zero: never
	Survey uint64    // grows with every complete answer; the guard counts agreeing ones
	Code   Code      // why it is not fresh, "" when it is
	Error  string
}

// PeeringState is AWS's status code of a peering, verbatim.
type PeeringState string

// The nine states. Others may come; they are left alone.
const (
	PeeringInitiating   PeeringState = "initiating-request"
	PeeringPending      PeeringState = "pending-acceptance"
	PeeringProvisioning PeeringState = "provisioning"
	PeeringActive       PeeringState = "active"
	PeeringDeleting     PeeringState = "deleting"
	PeeringDeleted      PeeringState = "deleted"
	PeeringRejected     PeeringState = "rejected"
	PeeringFailed       PeeringState = "failed"
	PeeringExpired      PeeringState = "expired"
)

// Terminal reports whether nothing can come of the peering any more.
func (s PeeringState) Terminal() bool {
	switch s {
	case PeeringDeleted, PeeringRejected, PeeringFailed, PeeringExpired, PeeringDeleting:
		return true
	}
	return false
}

// Peering is a peering connection between the hub VPC and another one.
type Peering struct {
	ID           PeeringID
	State        PeeringState
	Message      string // AWS's prose; shown, never parsed
	HubRequested bool   // the hub VPC is the requester
	Peer         Peer   // the other side, told by VPC id
	Expires      time.Time
	Name         string // our side's Name tag, "" if none
	Tags         map[string]string
}

// Peer is the other side of a peering. Prefixes are known only while the peering is active.
type Peer struct {
	Scope    Scope
	VPC      VPCID
	Prefixes []netip.Prefix // sorted, masked
	Bad      []string       // entries that could not be read as prefixes, verbatim
}

// VPC is a VPC as its owner sees it.
type VPC struct {
	ID       VPCID
	Scope    Scope
	Prefixes []netip.Prefix
	Name     string
}

// Subnet is a subnet of a VPC.
type Subnet struct {
	ID     SubnetID
	VPC    VPCID
	Scope  Scope
	Prefix netip.Prefix
}

// Table is a VPC route table.
type Table struct {
	ID      TableID
	VPC     VPCID
	Scope   Scope
	Main    bool
	Subnets []SubnetID // explicit associations
	Edge    bool       // associated with a gateway: takes no peering routes
	Tags    map[string]string
	Routes  []Route
}

// Route is one entry of a VPC route table.
type Route struct {
	Destination netip.Prefix // invalid for prefix-list destinations, which are not listed
	Target      string       // pcx-..., igw-..., eni-..., local
	Blackhole   bool
	Static      bool // Origin CreateRoute; propagated and local ones are not
}
