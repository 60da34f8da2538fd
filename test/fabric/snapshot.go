package fabric

import (
	"cmp"
	"net"
	"net/netip"
	"slices"

	"peerhub/test/ec2sim"
)

// snapshot is a Network made ready for forwarding. It is never changed after it
// was built: Update swaps it for the next one.
type snapshot struct {
	interfaces map[string]*eni
	peerings   map[string]*peering
	public     map[netip.Addr]publicAddr
}

// publicAddr is where an internet gateway delivers a public address.
type publicAddr struct {
	eni     *eni
	private netip.Addr
}

type vpc struct {
	id       string
	prefixes []netip.Prefix
	gateway  string
	hosts    map[netip.Addr]*eni
	subnets  []*subnet
	resolver netip.Addr // the second address of the primary IPv4 prefix
}

type subnet struct {
	id     string
	vpc    *vpc
	prefix netip.Prefix
	table  *table
	acl    *acl
	byMAC  map[[6]byte]*eni
}

type peering struct {
	id          string
	sides       [2]*vpc // requester, accepter; nil for a VPC that is gone
	active      bool
	interRegion bool
}

type eni struct {
	id       string
	mac      net.HardwareAddr
	subnet   *subnet
	addrs    []netip.Addr
	public   map[netip.Addr]netip.Addr
	check    bool
	hopLimit uint8
	in, out  []groupRule
	flows    *tracker // outlives the snapshot
}

func (v *vpc) holds(a netip.Addr) bool { return inAny(v.prefixes, a) }

func (e *eni) holds(a netip.Addr) bool { return slices.Contains(e.addrs, a) }

// compile turns a Network into a snapshot. trackers keeps the tracked flows of
// each interface across snapshots. References to what is not in the Network are
// left nil and refuse packets later; an interface without a subnet is left out.
func compile(n ec2sim.Network, trackers func(eniID string) *tracker) *snapshot {
	s := &snapshot{
		interfaces: make(map[string]*eni, len(n.Interfaces)),
		peerings:   make(map[string]*peering, len(n.Peerings)),
		public:     make(map[netip.Addr]publicAddr),
	}
	vpcs := make(map[string]*vpc, len(n.VPCs))
	for _, v := range n.VPCs {
		vpcs[v.ID] = &vpc{id: v.ID, prefixes: v.Prefixes, gateway: v.InternetGateway,
			hosts: make(map[netip.Addr]*eni), resolver: resolverOf(v.Prefixes)}
	}
	for _, p := range n.Peerings {
		s.peerings[p.ID] = &peering{id: p.ID, active: p.Active, interRegion: p.InterRegion,
			sides: [2]*vpc{vpcs[p.RequesterVPC], vpcs[p.AccepterVPC]}}
	}
	subnets := compileSubnets(n, vpcs)
	for _, i := range n.Interfaces {
		sub := subnets[i.Subnet]
		mac, err := net.ParseMAC(i.MAC)
		if sub == nil || err != nil || len(mac) != 6 {
			continue
		}
		e := &eni{id: i.ID, mac: mac, subnet: sub, addrs: i.Addresses, public: i.Public,
			check: i.SourceDestCheck, hopLimit: clampTTL(i.IMDSHopLimit), flows: trackers(i.ID)}
		s.interfaces[e.id] = e
		sub.byMAC[[6]byte(mac)] = e
		for _, a := range e.addrs {
			sub.vpc.hosts[a] = e
		}
		for private, public := range e.public {
			s.public[public] = publicAddr{eni: e, private: private}
		}
	}
	compileGroups(n, s)
	return s
}

func compileSubnets(n ec2sim.Network, vpcs map[string]*vpc) map[string]*subnet {
	tables := make(map[string]*table, len(n.Tables))
	for _, t := range n.Tables {
		if v := vpcs[t.VPC]; v != nil {
			tables[t.ID] = compileTable(t, v)
		}
	}
	acls := make(map[string]*acl, len(n.ACLs))
	for _, a := range n.ACLs {
		acls[a.ID] = &acl{id: a.ID, in: a.Ingress, out: a.Egress}
	}
	subnets := make(map[string]*subnet, len(n.Subnets))
	for _, d := range n.Subnets {
		v := vpcs[d.VPC]
		if v == nil {
			continue
		}
		sub := &subnet{id: d.ID, vpc: v, prefix: d.Prefix, table: tables[d.Table], acl: acls[d.ACL],
			byMAC: make(map[[6]byte]*eni)}
		if sub.table == nil {
			sub.table = &table{id: d.Table}
		}
		if sub.acl == nil {
			sub.acl = &acl{id: d.ACL}
		}
		v.subnets = append(v.subnets, sub)
		subnets[sub.id] = sub
	}
	return subnets
}

// table is a route table: the lengths that occur, longest first, and the routes
// by destination.
type table struct {
	id      string
	lengths []int
	routes  map[netip.Prefix]ec2sim.NetRoute
}

// compileTable orders the routes. A peering cannot take over an address of the
// VPC itself, however long its prefix is.
func compileTable(t ec2sim.NetTable, v *vpc) *table {
	out := &table{id: t.ID, routes: make(map[netip.Prefix]ec2sim.NetRoute, len(t.Routes))}
	for _, r := range t.Routes {
		dst := r.Destination.Masked()
		if r.Kind == ec2sim.TargetPeering && slices.ContainsFunc(v.prefixes, func(own netip.Prefix) bool {
			return own.Bits() <= dst.Bits() && own.Contains(dst.Addr())
		}) {
			continue
		}
		if old, twice := out.routes[dst]; twice && !beats(r, old) {
			continue
		}
		out.routes[dst] = r
		if !slices.Contains(out.lengths, dst.Bits()) {
			out.lengths = append(out.lengths, dst.Bits())
		}
	}
	slices.SortFunc(out.lengths, func(a, b int) int { return cmp.Compare(b, a) })
	return out
}

// beats tells which of two routes to one prefix is taken: local before all, what leads
// somewhere before a blackhole, static before propagated (VPC guide, route priority), else
// the older one.
func beats(r, old ec2sim.NetRoute) bool {
	switch {
	case old.Kind == ec2sim.TargetLocal:
		return false
	case r.Blackhole != old.Blackhole:
		return old.Blackhole
	}
	return old.Propagated && !r.Propagated
}

// lookup finds the route with the longest prefix.
func (t *table) lookup(dst netip.Addr) (ec2sim.NetRoute, bool) {
	for _, bits := range t.lengths {
		prefix, err := dst.Prefix(bits)
		if err != nil { // a length of the other address family
			continue
		}
		if r, ok := t.routes[prefix]; ok {
			return r, true
		}
	}
	return ec2sim.NetRoute{}, false
}

// resolverOf is base+2 of the first IPv4 prefix, the primary one.
func resolverOf(prefixes []netip.Prefix) netip.Addr {
	for _, p := range prefixes {
		if p.Addr().Is4() {
			return p.Masked().Addr().Next().Next()
		}
	}
	return netip.Addr{}
}

func inAny(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func clampTTL(n int) uint8 { return uint8(min(max(n, 1), 255)) }
