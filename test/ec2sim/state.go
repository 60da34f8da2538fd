package ec2sim

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// state is the whole cloud at one moment. Objects are values, and a slice inside
// one is replaced and never written in place: clone is therefore shallow.
type state struct {
	seq uint64 // of generated ids

	vpcs       map[string]vpc
	subnets    map[string]subnet
	tables     map[string]table
	tableLinks map[string]tableLink // by association id
	gateways   map[string]gateway   // igw-, nat-, tgw-, vgw-
	addresses  map[string]address   // by allocation id
	instances  map[string]instance
	interfaces map[string]eni
	groups     map[string]group
	acls       map[string]acl
	peerings   map[string]peering
	tags       map[tagKey][]tag // sorted by key
}

// home says whose an object is.
type home struct{ account, region string }

type vpc struct {
	id string
	home
	cidrs                   []cidrBlock // primary IPv4 first
	dnsSupport, dnsNames    bool
	mainLink, acl, defaults string // main route table's association; default ACL; default group
}

// States of a CIDR block, as DescribeVpcs spells them.
const (
	cidrAssociating    = "associating"
	cidrAssociated     = "associated"
	cidrDisassociating = "disassociating"
	cidrDisassociated  = "disassociated"
)

type cidrBlock struct {
	id     string // vpc-cidr-assoc-
	prefix netip.Prefix
	state  string
	since  time.Time
}

type subnet struct {
	id string
	home
	vpc, zone string
	prefix    netip.Prefix
	aclLink   string // aclassoc-
	acl       string
	publicIP  bool // instances get a public address
}

type table struct {
	id string
	home
	vpc    string
	routes []route // local ones first, then in order of creation
	vgws   []string
}

// Origins of a route.
const (
	originTable      = "CreateRouteTable"
	originRoute      = "CreateRoute"
	originPropagated = "EnableVgwRoutePropagation"
)

type route struct {
	dest    netip.Prefix
	target  string // "local" or an id, whose prefix says the kind
	origin  string
	created time.Time
}

type tableLink struct {
	id, table, vpc  string
	subnet, gateway string // one of them, or main
	main            bool
}

type gateway struct {
	id string
	home
	vpc string // "" when detached
}

type address struct {
	id string // eipalloc-
	home
	public  netip.Addr
	link    string // eipassoc-, "" when free
	eni     string
	private netip.Addr
}

// States of an instance.
const (
	instancePending    = "pending"
	instanceRunning    = "running"
	instanceStopping   = "shutting-down"
	instanceTerminated = "terminated"
)

type instance struct {
	id string
	home
	vpc, subnet, zone string
	state             string
	since, launched   time.Time
	role              string
	image, kind       string
	hopLimit          int
	token             string // ClientToken of RunInstances
}

type privateAddr struct {
	addr   netip.Addr
	public netip.Addr // auto-assigned with the instance; Elastic ones are in addresses
}

type eni struct {
	id string
	home
	vpc, subnet, zone string
	mac, description  string
	addrs             []privateAddr // primary first
	v6                []netip.Addr
	groups            []string
	sourceDestCheck   bool
	instance          string // "" when not attached
	attachment        string // eni-attach-
	index             int    // device number
	attached          time.Time
	keep              bool // survives its instance
}

type group struct {
	id string
	home
	vpc, name, description string
	rules                  []groupRule
}

type groupRule struct {
	id          string // sgr-
	egress      bool
	protocol    string // tcp, udp, icmp, icmpv6, -1 or a number
	from, to    int
	prefix      netip.Prefix
	group       string // instead of prefix
	account     string // of group
	description string
}

type acl struct {
	id string
	home
	vpc      string
	standard bool // the VPC's default one
	entries  []aclEntry
}

type aclEntry struct {
	number           int
	egress, allow    bool
	protocol         string // number or -1
	prefix           netip.Prefix
	from, to         int
	icmpType, icmpTo int
}

type tagKey struct {
	home
	resource string
}

type tag struct{ key, value string }

func newState() *state {
	return &state{
		vpcs: map[string]vpc{}, subnets: map[string]subnet{}, tables: map[string]table{},
		tableLinks: map[string]tableLink{}, gateways: map[string]gateway{}, addresses: map[string]address{},
		instances: map[string]instance{}, interfaces: map[string]eni{}, groups: map[string]group{},
		acls: map[string]acl{}, peerings: map[string]peering{}, tags: map[tagKey][]tag{},
	}
}

func (st *state) clone() *state {
	return &state{
		seq:  st.seq,
		vpcs: maps.Clone(st.vpcs), subnets: maps.Clone(st.subnets), tables: maps.Clone(st.tables),
		tableLinks: maps.Clone(st.tableLinks), gateways: maps.Clone(st.gateways), addresses: maps.Clone(st.addresses),
		instances: maps.Clone(st.instances), interfaces: maps.Clone(st.interfaces), groups: maps.Clone(st.groups),
		acls: maps.Clone(st.acls), peerings: maps.Clone(st.peerings), tags: maps.Clone(st.tags),
	}
}

// newID makes an id that looks like AWS's and is the same in every run that does
// the same things in the same order.
func (st *state) newID(prefix string) string {
	st.seq++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", prefix, st.seq))
	return prefix + "-0" + hex.EncodeToString(sum[:])[:16]
}

// sorted lists the objects of a map that ok accepts, by id. A nil ok accepts all.
func sorted[V any](m map[string]V, ok func(V) bool) []V {
	var out []V
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if v := m[k]; ok == nil || ok(v) {
			out = append(out, v)
		}
	}
	return out
}

// with returns a copy of list with v at its end.
func with[T any](list []T, v ...T) []T {
	return append(slices.Clip(slices.Clone(list)), v...)
}

// without returns a copy of list without what drop accepts.
func without[T any](list []T, drop func(T) bool) []T {
	return slices.DeleteFunc(slices.Clone(list), drop)
}

// prefixes are a VPC's usable blocks: associated ones, and those about to go.
func (v vpc) prefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, c := range v.cidrs {
		if c.state == cidrAssociated {
			out = append(out, c.prefix)
		}
	}
	return out
}

// claimed are the blocks that nothing new may overlap: also those under way.
func (v vpc) claimed() []netip.Prefix {
	var out []netip.Prefix
	for _, c := range v.cidrs {
		if c.state != cidrDisassociated {
			out = append(out, c.prefix)
		}
	}
	return out
}

func overlapping(a, b []netip.Prefix) bool {
	return slices.ContainsFunc(a, func(p netip.Prefix) bool { return slices.ContainsFunc(b, p.Overlaps) })
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// effectiveTable is the table that a subnet obeys: its own, else the VPC's main one.
func (st *state) effectiveTable(sn subnet) string {
	for _, l := range st.tableLinks {
		if l.subnet == sn.id {
			return l.table
		}
	}
	return st.tableLinks[st.vpcs[sn.vpc].mainLink].table
}

// primary is an instance's interface with device number 0.
func (st *state) primary(instance string) (eni, bool) {
	for _, e := range st.interfaces {
		if e.instance == instance && e.index == 0 {
			return e, true
		}
	}
	return eni{}, false
}

// publicOf is the public address of a private one, if it has any.
func (st *state) publicOf(e eni, a privateAddr) netip.Addr {
	for _, ip := range st.addresses {
		if ip.eni == e.id && ip.private == a.addr {
			return ip.public
		}
	}
	return a.public
}
