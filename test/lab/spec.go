package lab

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
)

// Spec says what a lab looks like. DefaultSpec is the one of the documents; every
// number and every name in it may be changed.
type Spec struct {
	Prefix string `json:"prefix"` // of the names of namespaces
	Region string `json:"region"`
	Salt   string `json:"salt"` // the ids of AWS objects are derived from it

	HubAccount   string         `json:"hub_account"`
	HubName      string         `json:"hub_name"`
	HubVPC       netip.Prefix   `json:"hub_vpc"`       // public subnet: its first /24, host 10 is the hub
	HubPublic    netip.Addr     `json:"hub_public"`    // the hub's Elastic IP
	HubInterface string         `json:"hub_interface"` // name of the hub's interface toward its VPC
	Tunnel       string         `json:"tunnel"`        // name of the OpenVPN server's interface
	Pool         netip.Prefix   `json:"pool"`          // of VPN clients
	Aggregates   []netip.Prefix `json:"aggregates"`    // pushed to clients instead of the services inside

	OfficeLAN    netip.Prefix `json:"office_lan"`    // host 1 is the site client, host 10 a desk
	OfficeClient string       `json:"office_client"` // common name of the site client
	Internet     netip.Prefix `json:"internet"`      // public addresses of laptops and office
	API          netip.Addr   `json:"api"`           // public address of the AWS API

	ExternalID string    `json:"external_id"` // demanded by the spoke role
	Services   []Service `json:"services"`

	More       int          `json:"more"`        // further peered accounts, spoke1 to spokeN, one /20 each
	MorePrefix netip.Prefix `json:"more_prefix"` // the /20 of spoke1
}

// Service is an account with one VPC and a host that answers.
type Service struct {
	Host    string       `json:"host"` // also the name of the VPC
	Account string       `json:"account"`
	Region  string       `json:"region,omitempty"` // "": the lab's
	VPC     netip.Prefix `json:"vpc"`              // two subnets: the first two /24; the host is number 10
	Peering Peering      `json:"peering"`
	Closed  bool         `json:"closed,omitempty"` // a second host, HOST-closed, whose security group admits nobody
}

// Peering says how a service stands to the hub VPC when the lab comes up.
type Peering string

// The ways a service may stand to the hub. Requested is a request made by the
// service's own account that nobody has accepted.
const (
	PeeringNone      Peering = "none"
	PeeringActive    Peering = "active"
	PeeringRequested Peering = "requested"
)

// Names of the roles in the hub account and in every service's account.
const (
	HubRole   = "peerhub-hub"
	SpokeRole = "peerhub-spoke"
)

// maxMore is the most peerings AWS grants one VPC, less those of the named services.
const maxMore = 120

// DefaultSpec is the lab of docs/lab.md.
func DefaultSpec() Spec {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	return Spec{
		Prefix: "lab-", Region: "ap-northeast-1", Salt: "lab",
		HubAccount: "111111111111", HubName: "infra-tokyo",
		HubVPC: p("10.100.0.0/16"), HubPublic: a("198.51.100.20"), HubInterface: "eth0",
		Tunnel: "tun0", Pool: p("172.27.240.0/22"), Aggregates: []netip.Prefix{p("10.96.0.0/11")},
		OfficeLAN: p("172.168.0.0/24"), OfficeClient: "office-tokyo",
		Internet: p("203.0.113.0/24"), API: a("198.51.100.10"),
		ExternalID: "ph-4f1d27",
		Services: []Service{
			{Host: "svc1", Account: "222222222222", VPC: p("10.110.0.0/16"), Peering: PeeringActive, Closed: true},
			{Host: "svc2", Account: "333333333333", VPC: p("10.120.0.0/16"), Peering: PeeringActive},
			{Host: "svc3", Account: "444444444444", VPC: p("10.112.0.0/16"), Peering: PeeringNone},
			{Host: "svc4", Account: "555555555555", VPC: p("10.200.0.0/16"), Peering: PeeringNone},
			{Host: "stranger", Account: "999999999999", VPC: p("10.66.0.0/16"), Peering: PeeringRequested},
		},
		MorePrefix: p("10.101.0.0/20"),
	}
}

// services are the named services and the further ones.
func (s Spec) services() []Service {
	out := append([]Service(nil), s.Services...)
	for i := range s.More {
		out = append(out, Service{
			Host: fmt.Sprintf("spoke%d", i+1), Account: fmt.Sprintf("%012d", 600000000001+i),
			VPC: shift(s.MorePrefix, i), Peering: PeeringActive,
		})
	}
	return out
}

func (s Service) region(spec Spec) string {
	if s.Region != "" {
		return s.Region
	}
	return spec.Region
}

// HubSubnet is the hub's own subnet, the public one.
func (s Spec) HubSubnet() netip.Prefix { return subnet(s.HubVPC, 0) }

// HubAddress is the hub's address in its subnet.
func (s Spec) HubAddress() netip.Addr { return nth(s.HubSubnet(), 10) }

// Address is the address of the service's host.
func (s Service) Address() netip.Addr { return nth(subnet(s.VPC, 0), 10) }

// ClosedAddress is the address of the second host, whose group admits nobody.
func (s Service) ClosedAddress() netip.Addr { return nth(subnet(s.VPC, 1), 10) }

// id is the AWS id of an object of this lab, the same in every run.
func (s Spec) id(kind, name string) string {
	sum := sha256.Sum256([]byte(s.Salt + "/" + kind + "/" + name))
	return kind + "-0" + hex.EncodeToString(sum[:8])
}

var (
	hostName    = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)
	prefixName  = regexp.MustCompile(`^[a-z][a-z0-9]{0,20}-$`)
	ifaceName   = regexp.MustCompile(`^[a-z][a-z0-9]{0,14}$`)
	accountName = regexp.MustCompile(`^[0-9]{12}$`)
)

// Check tells everything that is wrong with a Spec.
func (s Spec) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !prefixName.MatchString(s.Prefix) {
		bad("prefix %q: want lower case letters and digits, then a dash", s.Prefix)
	}
	if s.Region == "" || s.ExternalID == "" || s.HubName == "" {
		bad("region, external_id and hub_name must not be empty")
	}
	for _, i := range []string{s.HubInterface, s.Tunnel} {
		if !ifaceName.MatchString(i) {
			bad("interface name %q: want at most 15 lower case letters and digits", i)
		}
	}
	if !hostName.MatchString(s.OfficeClient) {
		bad("office_client %q: want lower case letters, digits and dashes", s.OfficeClient)
	}
	network := func(what string, p netip.Prefix, longest int) {
		if !p.IsValid() || !p.Addr().Is4() || p != p.Masked() || p.Bits() > longest {
			bad("%s %s: want an IPv4 prefix without host bits, /%d or shorter", what, p, longest)
		}
	}
	network("hub_vpc", s.HubVPC, 23)
	network("pool", s.Pool, 28)
	network("office_lan", s.OfficeLAN, 28)
	network("internet", s.Internet, 27)
	for _, a := range []netip.Addr{s.HubPublic, s.API} {
		if !a.Is4() {
			bad("public address %s: want IPv4", a)
		}
	}
	if s.More < 0 || s.More > maxMore {
		bad("more is %d: want 0 to %d", s.More, maxMore)
	}
	if s.More > 0 {
		network("more_prefix", s.MorePrefix, 23)
	}
	if len(errs) > 0 {
		return fmt.Errorf("spec of the lab: %w", errors.Join(errs...))
	}
	accounts, hosts := map[string]string{s.HubAccount: "the hub"}, map[string]bool{}
	for _, n := range fixedHosts {
		hosts[n] = true
	}
	if !accountName.MatchString(s.HubAccount) {
		bad("hub_account %q: want 12 digits", s.HubAccount)
	}
	for _, v := range s.services() {
		network("vpc of "+v.Host, v.VPC, 23)
		if !hostName.MatchString(v.Host) || hosts[v.Host] {
			bad("host %q: want a name of its own in lower case letters, digits and dashes", v.Host)
		}
		hosts[v.Host] = true
		if !accountName.MatchString(v.Account) || accounts[v.Account] != "" {
			bad("account %q of %s: want 12 digits, an account of its own", v.Account, v.Host)
		}
		accounts[v.Account] = v.Host
		if v.Peering != PeeringNone && v.Peering != PeeringActive && v.Peering != PeeringRequested {
			bad("peering %q of %s: want none, active or requested", v.Peering, v.Host)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("spec of the lab: %w", errors.Join(errs...))
	}
	return nil
}

// subnet is the n-th /24 of an IPv4 prefix.
func subnet(p netip.Prefix, n int) netip.Prefix {
	return shift(netip.PrefixFrom(p.Masked().Addr(), 24), n)
}

// shift is the n-th prefix of the same length after p.
func shift(p netip.Prefix, n int) netip.Prefix {
	a := p.Addr().As4()
	v := binary.BigEndian.Uint32(a[:]) + uint32(n)<<(32-p.Bits())
	binary.BigEndian.PutUint32(a[:], v)
	return netip.PrefixFrom(netip.AddrFrom4(a), p.Bits())
}

// nth is host number n of an IPv4 prefix.
func nth(p netip.Prefix, n int) netip.Addr {
	return shift(netip.PrefixFrom(p.Masked().Addr(), 32), n).Addr()
}

// mask is a prefix as OpenVPN's config writes it: address and netmask.
func mask(p netip.Prefix) string {
	var m [4]byte
	binary.BigEndian.PutUint32(m[:], ^uint32(0)<<(32-p.Bits()))
	return p.Addr().String() + " " + netip.AddrFrom4(m).String()
}
