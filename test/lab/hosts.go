package lab

import "net/netip"

// Host is one machine of the lab: a network namespace.
type Host struct {
	Name      string       `json:"name"`
	Kind      Kind         `json:"kind"`
	Account   string       `json:"account"` // "" outside AWS
	Namespace string       `json:"namespace"`
	Addresses []netip.Addr `json:"addresses"` // of its own interfaces, private first
	Public    netip.Addr   `json:"public"`    // the address the internet sees, if any
	VPC       string       `json:"vpc"`       // "" outside AWS, like the ids below
	Instance  string       `json:"instance"`
	ENI       string       `json:"eni"`
}

// Kind is what a host is there for.
type Kind string

// The kinds of hosts.
const (
	KindOffice  Kind = "office"  // a desk on the office LAN
	KindSite    Kind = "site"    // the office's router and site client
	KindLaptop  Kind = "laptop"  // a person's VPN client
	KindHub     Kind = "hub"     // the VPN server
	KindService Kind = "service" // a host in a VPC that answers
	KindCloud   Kind = "cloud"   // where the API answers
)

// Names of the hosts every lab has.
const (
	HostOffice   = "office"
	HostOfficeGW = "office-gw"
	HostLaptop1  = "laptop1"
	HostLaptop2  = "laptop2"
	HostHub      = "hub"
	HostInfra    = "infra" // a neighbour of the hub, in its VPC's second subnet
	HostAWS      = "aws"
)

var fixedHosts = []string{HostOffice, HostOfficeGW, HostLaptop1, HostLaptop2, HostHub, HostInfra, HostAWS}

const closedSuffix = "-closed"

// Hosts lists the hosts of a lab of this Spec, in the order of the documents.
func (s Spec) Hosts() []Host {
	outside := func(name string, kind Kind, addrs ...netip.Addr) Host {
		return Host{Name: name, Kind: kind, Namespace: s.Prefix + name, Addresses: addrs, Public: addrs[len(addrs)-1]}
	}
	inside := func(name string, kind Kind, account, vpc string, addr netip.Addr) Host {
		return Host{Name: name, Kind: kind, Account: account, Namespace: s.Prefix + name, Addresses: []netip.Addr{addr},
			VPC: s.id("vpc", vpc), Instance: s.id("i", name), ENI: s.id("eni", name)}
	}
	office := outside(HostOffice, KindOffice, nth(s.OfficeLAN, 10))
	office.Public = nth(s.Internet, 20)
	hub := inside(HostHub, KindHub, s.HubAccount, HostHub, s.HubAddress())
	hub.Public = s.HubPublic
	out := []Host{
		office,
		outside(HostOfficeGW, KindSite, nth(s.OfficeLAN, 1), nth(s.Internet, 20)),
		outside(HostLaptop1, KindLaptop, nth(s.Internet, 11)),
		outside(HostLaptop2, KindLaptop, nth(s.Internet, 12)),
		hub,
		inside(HostInfra, KindService, s.HubAccount, HostHub, nth(subnet(s.HubVPC, 1), 10)),
	}
	for _, v := range s.services() {
		out = append(out, inside(v.Host, KindService, v.Account, v.Host, v.Address()))
		if v.Closed {
			out = append(out, inside(v.Host+closedSuffix, KindService, v.Account, v.Host, v.ClosedAddress()))
		}
	}
	return append(out, outside(HostAWS, KindCloud, s.API))
}

// Host is the host of that name.
func (s Spec) Host(name string) (Host, bool) {
	for _, h := range s.Hosts() {
		if h.Name == name {
			return h, true
		}
	}
	return Host{}, false
}

// VPCName is the name of a host's VPC, which its services answer with.
func (s Spec) VPCName(h Host) string {
	for _, v := range s.services() {
		if s.id("vpc", v.Host) == h.VPC {
			return v.Host
		}
	}
	return s.HubName
}
