package ec2sim

import (
	"net/netip"
	"slices"
	"time"
)

var rfc1918 = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
}

// mayAssociate tells why a VPC may not have a further block (ec2.md section 2).
func (st *state) mayAssociate(v vpc, b netip.Prefix, quota int) error {
	if err := checkBlock(b, "InvalidVpc.Range"); err != nil {
		return err
	}
	if restricted(v.cidrs[0].prefix, b) {
		return refuse("InvalidVpc.Range", "The CIDR '%s' is restricted. Use a CIDR from the same private address range as the current VPC CIDR, or use a publicly-routable CIDR.", b)
	}
	family := 0
	for _, o := range v.claimed() {
		if o.Addr().Is4() == b.Addr().Is4() {
			family++
		}
		if o.Overlaps(b) {
			return refuse("InvalidVpc.Range", "The CIDR '%s' overlaps %s of the same VPC.", b, o)
		}
	}
	if family >= quota {
		return refuse("CidrLimitExceeded", "This network '%s' has met its maximum number of allowed CIDRs: %d", v.id, quota)
	}
	for _, p := range sorted(st.peerings, peering.live) {
		other := p.accepter.vpc
		switch v.id {
		case p.requester.vpc:
			if p.status == peerPending || p.status == peerInitiating {
				return refuse("OperationNotPermitted", "VPC %s has the pending peering request %s", v.id, p.id)
			}
		case p.accepter.vpc:
			other = p.requester.vpc
		default:
			continue
		}
		if p.status != peerPending && overlapping(st.vpcs[other].claimed(), []netip.Prefix{b}) {
			return refuse("InvalidVpc.Range", "The CIDR '%s' overlaps a CIDR of %s, peered by %s.", b, other, p.id)
		}
	}
	for _, t := range sorted(st.tables, func(t table) bool { return t.vpc == v.id }) {
		for _, r := range t.routes {
			if r.target != TargetLocal && b.Bits() <= r.dest.Bits() && b.Contains(r.dest.Addr()) {
				return refuse("InvalidVpc.Range", "The CIDR '%s' is equal to or larger than the destination %s of a route in %s.", b, r.dest, t.id)
			}
		}
	}
	return nil
}

// restricted tells whether a block lies in another private range than the primary one.
func restricted(primary, b netip.Prefix) bool {
	in := func(p netip.Prefix) int {
		return slices.IndexFunc(rfc1918, func(r netip.Prefix) bool { return r.Contains(p.Addr()) })
	}
	return in(primary) >= 0 && in(b) >= 0 && in(primary) != in(b)
}

// failOverlapping fails the requests to a VPC that its new block overlaps.
func (st *state) failOverlapping(v vpc, now time.Time) {
	for _, p := range sorted(st.peerings, func(p peering) bool { return p.status == peerPending && p.accepter.vpc == v.id }) {
		if !st.compatible(p) {
			st.peerings[p.id] = p.set(peerFailed, failedMessage, now)
		}
	}
}
