package ec2sim

import (
	"net/netip"
	"time"
)

// Specs for seeding. An empty id is replaced by a generated one; a given id must
// look like AWS's: prefix, dash, 8 or 17 hexadecimal digits.

// VPCSpec is a VPC with its main route table, default group and default ACL.
type VPCSpec struct {
	ID, Account, Region, Name       string
	CIDRs                           []netip.Prefix // primary IPv4 first
	MainTable, DefaultGroup, DefACL string         // ids, optional
}

// SubnetSpec is a subnet. It uses the VPC's main table until another is associated.
type SubnetSpec struct {
	ID, VPC, Name, Zone string // Zone: region + "a" if empty
	CIDR                netip.Prefix
	PublicIP            bool // instances get a public address
}

// TableSpec is a route table, associated with Subnets.
type TableSpec struct {
	ID, VPC, Name string
	Subnets       []string
	Main          bool // becomes the VPC's main table
}

// GatewaySpec is a gateway: igw, nat, tgw or vgw. It is attached to VPC.
type GatewaySpec struct {
	Kind, ID, VPC, Name string // Kind "" is igw
}

// GroupSpec is a security group. A nil Egress is AWS's default: everything.
type GroupSpec struct {
	ID, VPC, Name, Description string
	Ingress, Egress            []NetRule
}

// ACLSpec is a network ACL, associated with Subnets.
type ACLSpec struct {
	ID, VPC, Name   string
	Subnets         []string
	Ingress, Egress []NetACLEntry
}

// InstanceSpec is a running instance with one interface.
type InstanceSpec struct {
	ID, Interface, Subnet, Name string
	Address                     netip.Addr   // the lowest free one if not valid
	Secondary                   []netip.Addr // further private IPv4
	IPv6                        []netip.Addr
	Public                      netip.Addr // an Elastic address; the subnet's PublicIP gives another kind
	Groups                      []string   // the VPC's default group if empty
	Role                        string     // name of a role of the account, served by IMDS
	NoSourceDestCheck           bool
	HopLimit                    int // TTL of IMDS answers; 1 if zero
}

// RoleSpec is an IAM role. Conditions of policies are not modelled.
type RoleSpec struct {
	Account, Name string
	TrustedBy     []string // account ids, ARNs of users, roles and sessions, "ec2.amazonaws.com" for instances, "*"
	ExternalID    string   // demanded from everybody if set
	Allow         []string // actions such as "ec2:Describe*"; nil: all ("*")
	Deny          []string
	MaxSession    time.Duration // 1 h if zero, at most 12 h
}

// PeeringSpec is a peering between two VPCs, active at once unless Pending.
type PeeringSpec struct {
	ID, Requester, Accepter string // VPC ids
	Pending                 bool
}
