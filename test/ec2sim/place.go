package ec2sim

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

var noAddr netip.Addr

// Making the objects of a cloud: used by the seeding methods and by the API alike.
// Everything here obeys AWS's rules and answers with AWS's errors.

var anywhere4 = netip.MustParsePrefix("0.0.0.0/0")

// checkBlock refuses what is no block of a VPC or subnet.
func checkBlock(p netip.Prefix, code string) error {
	low, high := 16, 28
	if p.Addr().Is6() {
		low, high = 44, 64
	}
	if !p.IsValid() || p != p.Masked() || p.Bits() < low || p.Bits() > high {
		return refuse(code, "The CIDR '%s' is invalid.", p)
	}
	return nil
}

// makeVPC makes a VPC with one block, its main table, default group and default ACL.
func (st *state) makeVPC(h home, spec VPCSpec, now time.Time) (vpc, error) {
	id, err := st.idOr(spec.ID, "vpc")
	if err != nil {
		return vpc{}, err
	}
	if len(spec.CIDRs) == 0 {
		return vpc{}, refuse("MissingParameter", "Either 'cidrBlock' or 'ipv4IpamPoolId' should be provided.")
	}
	v := vpc{id: id, home: h, dnsSupport: true}
	for i, p := range spec.CIDRs {
		if err := checkBlock(p, "InvalidVpc.Range"); err != nil {
			return vpc{}, err
		}
		if overlapping(spec.CIDRs[:i], spec.CIDRs[i:i+1]) {
			return vpc{}, refuse("InvalidVpc.Range", "The CIDR '%s' overlaps another one of the VPC.", p)
		}
		v.cidrs = append(v.cidrs, cidrBlock{st.newID("vpc-cidr-assoc"), p, cidrAssociated, now})
	}
	st.vpcs[id] = v
	main, err := st.makeTable(v, spec.MainTable, now)
	if err != nil {
		return vpc{}, err
	}
	link := tableLink{id: st.newID("rtbassoc"), table: main.id, vpc: id, main: true}
	st.tableLinks[link.id] = link
	g, err := st.makeGroup(v, GroupSpec{ID: spec.DefaultGroup, Name: "default", Description: "default VPC security group"})
	if err != nil {
		return vpc{}, err
	}
	g.rules = with(g.rules, groupRule{id: st.newID("sgr"), protocol: "-1", from: -1, to: -1, group: g.id, account: h.account})
	st.groups[g.id] = g
	a, err := st.makeACL(v, spec.DefACL, true)
	if err != nil {
		return vpc{}, err
	}
	v.mainLink, v.defaults, v.acl = link.id, g.id, a.id
	st.vpcs[id] = v
	return v, nil
}

func (st *state) makeTable(v vpc, id string, now time.Time) (table, error) {
	id, err := st.idOr(id, "rtb")
	if err != nil {
		return table{}, err
	}
	t := table{id: id, home: v.home, vpc: v.id}
	for _, p := range v.prefixes() {
		t.routes = append(t.routes, local(p, now))
	}
	slices.SortStableFunc(t.routes, localFirst)
	st.tables[id] = t
	return t, nil
}

// makeGroup makes a group that lets everything out, unless the spec has Egress.
func (st *state) makeGroup(v vpc, spec GroupSpec) (group, error) {
	id, err := st.idOr(spec.ID, "sg")
	if err != nil {
		return group{}, err
	}
	for _, o := range st.groups {
		if o.vpc == v.id && o.name == spec.Name {
			return group{}, refuse("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", spec.Name, v.id)
		}
	}
	g := group{id: id, home: v.home, vpc: v.id, name: spec.Name, description: spec.Description}
	egress := spec.Egress
	if egress == nil {
		egress = []NetRule{{Protocol: -1, Prefix: anywhere4}}
	}
	for _, r := range spec.Ingress {
		g.rules = append(g.rules, st.ruleOf(g, r, false))
	}
	for _, r := range egress {
		g.rules = append(g.rules, st.ruleOf(g, r, true))
	}
	st.groups[id] = g
	return g, nil
}

func (st *state) ruleOf(g group, r NetRule, egress bool) groupRule {
	out := groupRule{
		id: st.newID("sgr"), egress: egress, protocol: protocolName(r.Protocol),
		from: r.FromPort, to: r.ToPort, prefix: r.Prefix, group: r.Group,
	}
	if out.protocol == "-1" {
		out.from, out.to = -1, -1
	}
	if r.Group != "" {
		out.prefix = netip.Prefix{}
		out.account = orElse(st.groups[r.Group].account, g.account)
	}
	return out
}

// protocolName is the protocol as security groups spell it.
func protocolName(n int) string {
	switch n {
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case protoICMP:
		return "icmp"
	case protoICMPv6:
		return "icmpv6"
	}
	return fmt.Sprint(n)
}

// lastEntry is the number of the entry that denies the rest.
const lastEntry = 32767

// makeACL makes an ACL that denies everything, or for the VPC's default one allows it.
func (st *state) makeACL(v vpc, id string, standard bool) (acl, error) {
	id, err := st.idOr(id, "acl")
	if err != nil {
		return acl{}, err
	}
	a := acl{id: id, home: v.home, vpc: v.id, standard: standard}
	for _, egress := range []bool{true, false} {
		if standard {
			a.entries = append(a.entries, aclEntry{number: 100, egress: egress, allow: true, protocol: "-1", prefix: anywhere4})
		}
		a.entries = append(a.entries, aclEntry{number: lastEntry, egress: egress, protocol: "-1", prefix: anywhere4})
	}
	st.acls[id] = a
	return a, nil
}

func (st *state) makeSubnet(v vpc, spec SubnetSpec) (subnet, error) {
	id, err := st.idOr(spec.ID, "subnet")
	if err != nil {
		return subnet{}, err
	}
	if err := checkBlock(spec.CIDR, "InvalidSubnet.Range"); err != nil {
		return subnet{}, err
	}
	inside := slices.ContainsFunc(v.prefixes(), func(p netip.Prefix) bool {
		return p.Bits() <= spec.CIDR.Bits() && p.Contains(spec.CIDR.Addr())
	})
	if !inside {
		return subnet{}, refuse("InvalidSubnet.Range", "The CIDR '%s' is invalid.", spec.CIDR)
	}
	for _, o := range st.subnets {
		if o.vpc == v.id && o.prefix.Overlaps(spec.CIDR) {
			return subnet{}, refuse("InvalidSubnet.Conflict", "The CIDR '%s' conflicts with another subnet", spec.CIDR)
		}
	}
	sn := subnet{
		id: id, home: v.home, vpc: v.id, zone: orElse(spec.Zone, v.region+"a"), prefix: spec.CIDR,
		acl: v.acl, aclLink: st.newID("aclassoc"), publicIP: spec.PublicIP,
	}
	st.subnets[id] = sn
	return sn, nil
}

// linkTable associates a table with a subnet, replacing what it had.
func (st *state) linkTable(t table, subnetID string) tableLink {
	for _, l := range sorted(st.tableLinks, func(l tableLink) bool { return l.subnet == subnetID }) {
		delete(st.tableLinks, l.id)
	}
	l := tableLink{id: st.newID("rtbassoc"), table: t.id, vpc: t.vpc, subnet: subnetID}
	st.tableLinks[l.id] = l
	return l
}

// usedIn tells which addresses of a subnet are taken: AWS keeps the first four and
// the last.
func (st *state) taken(sn subnet, a netip.Addr) bool {
	first, reserved := sn.prefix.Addr(), 4
	for range reserved {
		if a == first {
			return true
		}
		first = first.Next()
	}
	if !sn.prefix.Contains(a.Next()) {
		return true
	}
	for _, e := range st.interfaces {
		if e.vpc == sn.vpc && slices.ContainsFunc(e.addrs, func(p privateAddr) bool { return p.addr == a }) {
			return true
		}
	}
	return false
}

// freeAddress is an asked address if it may be used, or the lowest free one.
func (st *state) freeAddress(sn subnet, asked netip.Addr) (netip.Addr, error) {
	if asked.IsValid() {
		switch {
		case !sn.prefix.Contains(asked):
			return noAddr, refuse("InvalidParameterValue", "Address %s does not fall within the subnet's address range", asked)
		case st.taken(sn, asked):
			return noAddr, refuse("InvalidIPAddress.InUse", "Address %s is in use.", asked)
		}
		return asked, nil
	}
	for a := sn.prefix.Addr(); sn.prefix.Contains(a); a = a.Next() {
		if !st.taken(sn, a) {
			return a, nil
		}
	}
	return noAddr, refuse("InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet '%s' to satisfy the requested number of instances.", sn.id)
}

// macOf is an interface's hardware address: stable, locally administered as AWS's are.
func macOf(id string) string {
	s := sha256.Sum256([]byte(id))
	return fmt.Sprintf("06:%02x:%02x:%02x:%02x:%02x", s[0], s[1], s[2], s[3], s[4])
}
