package hub

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
)

// Identifiers of AWS and of our own, as named types so that they cannot be mixed up.
type (
	AccountID   string // twelve digits
	Region      string // ap-northeast-1
	VPCID       string // vpc-...
	SubnetID    string // subnet-...
	TableID     string // rtb-...
	PeeringID   string // pcx-...
	InterfaceID string // eni-...
	InstanceID  string // i-...

	// SpokeID names a spoke: the id of its VPC. The hub VPC is reachable like a spoke and has one too.
	SpokeID string
	// EgressID names a way out of the hub: the kernel interface's name.
	EgressID string
	// PlaneName is one place we write to.
	PlaneName string
)

// The four planes, in the order of additions.
const (
	PlaneKRoute   PlaneName = "kroute"
	PlaneMasq     PlaneName = "masq"
	PlaneVPCRoute PlaneName = "vpcroute"
	PlaneVPNConf  PlaneName = "vpnconf"
)

// Planes lists the planes in the order in which additions are applied:
// the path works before clients hear of it. Removals go the other way.
var Planes = [...]PlaneName{PlaneKRoute, PlaneMasq, PlaneVPCRoute, PlaneVPNConf}

// Scope is an account in a region: what one AWS client sees.
type Scope struct {
	Account AccountID
	Region  Region
}

func (s Scope) String() string { return string(s.Account) + "/" + string(s.Region) }

// CompareScopes orders scopes by account, then region.
func CompareScopes(a, b Scope) int {
	return cmp.Or(strings.Compare(string(a.Account), string(b.Account)), strings.Compare(string(a.Region), string(b.Region)))
}

// ComparePrefixes orders prefixes by address, then length.
func ComparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return cmp.Compare(a.Bits(), b.Bits())
}

// UnitKind says what a change belongs to.
type UnitKind uint8

// The kinds of unit, from the widest to the narrowest.
const (
	UnitBase   UnitKind = iota + 1 // the shared part: skeleton, tunnels, rules
	UnitEgress                     // one way out
	UnitSpoke                      // everything of one spoke
	UnitPrefix                     // one prefix of one spoke
)

// Unit is what a change belongs to, and the grain of failure: what a plane lacks
// for a unit is held for the planes after it, everything else goes on.
type Unit struct {
	Kind   UnitKind
	Egress EgressID     // UnitEgress
	Spoke  SpokeID      // UnitSpoke, UnitPrefix
	Prefix netip.Prefix // UnitPrefix
}

func (u Unit) String() string {
	switch u.Kind {
	case UnitBase:
		return "base"
	case UnitEgress:
		return "egress " + string(u.Egress)
	case UnitSpoke:
		return "spoke " + string(u.Spoke)
	case UnitPrefix:
		return fmt.Sprintf("spoke %s %s", u.Spoke, u.Prefix)
	}
	return "unknown unit"
}

// MarshalText writes the unit as "base", "egress:ID", "spoke:ID" or "prefix:ID:PREFIX".
func (u Unit) MarshalText() ([]byte, error) {
	switch u.Kind {
	case 0:
		return nil, nil
	case UnitBase:
		return []byte("base"), nil
	case UnitEgress:
		return []byte("egress:" + string(u.Egress)), nil
	case UnitSpoke:
		return []byte("spoke:" + string(u.Spoke)), nil
	case UnitPrefix:
		return []byte("prefix:" + string(u.Spoke) + ":" + u.Prefix.String()), nil
	}
	return nil, fmt.Errorf("unit of unknown kind %d", u.Kind)
}

// UnmarshalText reads what MarshalText writes.
func (u *Unit) UnmarshalText(text []byte) error {
	kind, rest, _ := strings.Cut(string(text), ":")
	switch kind {
	case "":
		*u = Unit{}
	case "base":
		*u = Unit{Kind: UnitBase}
	case "egress":
		*u = Unit{Kind: UnitEgress, Egress: EgressID(rest)}
	case "spoke":
		*u = Unit{Kind: UnitSpoke, Spoke: SpokeID(rest)}
	case "prefix":
		id, prefix, _ := strings.Cut(rest, ":")
		p, err := netip.ParsePrefix(prefix)
		if err != nil {
			return fmt.Errorf("reading unit %q: %w", text, err)
		}
		*u = Unit{Kind: UnitPrefix, Spoke: SpokeID(id), Prefix: p}
	default:
		return fmt.Errorf("reading unit %q: unknown kind", text)
	}
	return nil
}

// Units is a set of units.
type Units map[Unit]struct{}

// Has reports whether u is in the set.
func (us Units) Has(u Unit) bool { _, ok := us[u]; return ok }

// HasAny reports whether one of list is in the set.
func (us Units) HasAny(list []Unit) bool {
	for _, u := range list {
		if us.Has(u) {
			return true
		}
	}
	return false
}

// Add puts u into the set.
func (us Units) Add(u Unit) { us[u] = struct{}{} }
