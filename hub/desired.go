package hub

import (
	"net/netip"
	"slices"
	"strings"
)

// Desired is the whole want of a pass: what should be reachable now, and by which way. Sorted.
type Desired struct {
	Base    Base
	Spokes  []Spoke    // every spoke with a reach, the hub VPC among them; by id
	Reaches []Reach    // by prefix, then spoke
	Routes  []VPCRoute // by table, then destination
}

// Base is the shared part: it stands whether or not there is a spoke.
type Base struct {
	Egresses   []Egress // device 0 first, class 1, 2, ...
	Tunnels    []Tunnel // by name
	Servers    []Server // by name
	HubPrefix  []netip.Prefix
	Override   []netip.Prefix // destinations of foreign VPC routes that ours may be inside of
	SetSysctls bool
	Masquerade bool // let the kernel choose the source address
	MaxFlows   int  // toward spokes, of one source address at a time; 0: any number
	Ownership  Ownership
	Hold       bool // the shared part is neither added to nor removed from
}

// Egress is a way out of the hub.
type Egress struct {
	ID      EgressID // kernel interface name
	Class   uint8    // 1..59; the mark's bits 24-30 and the kernel routing table 26740+Class
	Address netip.Addr
	Gateway netip.Addr // first address of the subnet: the VPC router
	Subnet  netip.Prefix
	Hold    bool
}

// Tunnel is one tunnel interface and what may come out of it.
type Tunnel struct {
	Name    string
	Origins []netip.Prefix // pools and site networks: legal sources
	Sites   []netip.Prefix // networks that need a kernel route into the tunnel
	ToHub   []Service
	Other   OtherTraffic
}

// Server is one OpenVPN server as vpnconf sees it.
type Server struct {
	Name       string
	ClientDir  string
	OwnFiles   OwnFiles
	Aggregates []netip.Prefix
	Sites      []Site // clients with networks of their own
}

// Spoke says who stands behind the reaches that carry its id.
type Spoke struct {
	ID      SpokeID
	Name    string // as in its reaches
	Number  uint16 // as in the marks
	Scope   Scope
	Peering PeeringID // "" for the hub VPC
}

// Reach is one prefix of one spoke, as clients see it, and the way there.
type Reach struct {
	Spoke        SpokeID
	Name         string       // the spoke's name: [A-Za-z0-9._-], at most 63
	Prefix, Real netip.Prefix // Real differs under an alias
	Egress       EgressID
	Mark         uint32 // class<<24 | spoke number
	Hold         bool   // neither add nor remove
}

// Needs lists the units this reach depends on: base, its egress, its spoke, itself.
func (r Reach) Needs() []Unit {
	return []Unit{{Kind: UnitBase}, {Kind: UnitEgress, Egress: r.Egress}, {Kind: UnitSpoke, Spoke: r.Spoke}, r.Unit()}
}

// Unit is the reach's own unit.
func (r Reach) Unit() Unit { return Unit{Kind: UnitPrefix, Spoke: r.Spoke, Prefix: r.Prefix} }

// Side tells the two ends of a peering apart.
type Side string

// The hub side's routes lead to spokes, the spoke side's lead back.
const (
	SideHub   Side = "hub"
	SideSpoke Side = "spoke"
)

// VPCRoute is a wanted entry of a VPC route table.
type VPCRoute struct {
	Scope       Scope // whose credentials can write it
	Table       TableID
	Destination netip.Prefix
	Peering     PeeringID
	Side        Side
	Spoke       SpokeID
	Unit        Unit // UnitPrefix on the hub side, UnitSpoke on the spoke side
	Hold        bool
}

// Holding returns d with everything that needs one of units on hold. d is not changed.
func (d Desired) Holding(units Units) Desired {
	if len(units) == 0 {
		return d
	}
	out := d
	base := units.Has(Unit{Kind: UnitBase})
	out.Base.Hold = d.Base.Hold || base
	out.Base.Egresses = slices.Clone(d.Base.Egresses)
	for i := range out.Base.Egresses {
		e := &out.Base.Egresses[i]
		e.Hold = e.Hold || base || units.Has(Unit{Kind: UnitEgress, Egress: e.ID})
	}
	out.Reaches = slices.Clone(d.Reaches)
	for i := range out.Reaches {
		r := &out.Reaches[i]
		r.Hold = r.Hold || units.HasAny(r.Needs())
	}
	out.Routes = slices.Clone(d.Routes)
	for i := range out.Routes {
		r := &out.Routes[i]
		r.Hold = r.Hold || base || units.Has(r.Unit) || units.Has(Unit{Kind: UnitSpoke, Spoke: r.Spoke})
	}
	return out
}

// Verb is what a change does.
type Verb string

// The verbs. Replace counts as an addition: it never leaves a gap.
const (
	VerbAdd     Verb = "add"
	VerbRemove  Verb = "remove"
	VerbReplace Verb = "replace"
)

// Change is one step of a plan.
type Change struct {
	Verb   Verb   `json:"verb"`
	Unit   Unit   `json:"-"`
	Object string `json:"object"` // identity in the plane: "route 10.1.0.0/16 table 26741"
	Detail string `json:"detail"` // value, in the words of the tool a person would check with
}

// Object is a thing a plane has or wants: an identity, a value and the unit it belongs to.
// Want and have are compared as objects; Diff is the same for every plane.
type Object struct {
	Key   string // identity within the plane, sortable
	Value string // canonical value; a difference is a replace
	Unit  Unit
	Hold  bool // neither add, replace nor remove
}

// Diff says which changes lead from have to want, sorted by key. A held object of the
// want protects its key: neither added, replaced nor removed. Of two objects of have with
// one key the last counts.
func Diff(want, have []Object) []Change {
	places := make(map[string]int, len(have))
	for i := range have {
		places[have[i].Key] = i
	}
	met := make([]bool, len(have))
	out := make([]Change, 0, max(len(want)-len(have), len(have)-len(want)))
	for i := range want {
		w := &want[i]
		at, there := places[w.Key]
		if there = there && !met[at]; there {
			met[at] = true
		}
		switch {
		case w.Hold || there && have[at].Hold:
		case !there:
			out = append(out, Change{Verb: VerbAdd, Unit: w.Unit, Object: w.Key, Detail: w.Value})
		case have[at].Value != w.Value:
			out = append(out, Change{Verb: VerbReplace, Unit: w.Unit, Object: w.Key, Detail: w.Value})
		}
	}
	for i := range have {
		if h := &have[i]; !met[i] && !h.Hold && places[h.Key] == i {
			out = append(out, Change{Verb: VerbRemove, Unit: h.Unit, Object: h.Key, Detail: h.Value})
		}
	}
	if len(out) == 0 {
		return nil
	}
	return sorted(out, func(a, b *Change) int { return strings.Compare(a.Object, b.Object) })
}

// Additions returns the changes that add or replace, Removals those that remove.
func Additions(cs []Change) []Change { return filter(cs, func(v Verb) bool { return v != VerbRemove }) }

// Removals returns the changes that take something away.
func Removals(cs []Change) []Change { return filter(cs, func(v Verb) bool { return v == VerbRemove }) }

func filter(cs []Change, keep func(Verb) bool) []Change {
	n := 0
	for i := range cs {
		if keep(cs[i].Verb) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	out := make([]Change, 0, n)
	for i := range cs {
		if keep(cs[i].Verb) {
			out = append(out, cs[i])
		}
	}
	return out
}
