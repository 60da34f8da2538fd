package ec2sim

import (
	"fmt"
	"net/netip"
)

// shownBlocks are the blocks of a side that a peering shows: both sides' while it is
// active, the requester's own while it waits, nothing else (ec2.md section 1).
func (c *call) shownBlocks(p peering, side peerSide) []netip.Prefix {
	waiting := p.status == peerInitiating || p.status == peerPending || p.status == peerProvisioning
	if p.status == peerActive || waiting && side == p.requester {
		return c.st.vpcs[side.vpc].prefixes()
	}
	return nil
}

// shownStatus is the status code, or nonsense while the fault says so.
func (c *call) shownStatus(p peering) string {
	if c.s.faultNames(FaultUnknownStatus, p.id) {
		return "hibernating"
	}
	return p.status
}

func (c *call) peeringItem(name string, p peering) node {
	expires := node{}
	if p.status == peerInitiating || p.status == peerPending {
		expires = stamp("expirationTime", p.expires)
	}
	return el(name,
		txt("vpcPeeringConnectionId", p.id),
		c.peeringSide("requesterVpcInfo", p, p.requester),
		c.malformed(p, c.peeringSide("accepterVpcInfo", p, p.accepter)),
		el("status", txt("code", c.shownStatus(p)), txt("message", p.message)),
		expires,
		c.tagSet(p.id),
	)
}

func (c *call) peeringSide(name string, p peering, side peerSide) node {
	n := el(name, txt("ownerId", side.account), txt("vpcId", side.vpc), txt("region", side.region))
	var v4, v6 []netip.Prefix
	for _, b := range c.shownBlocks(p, side) {
		if b.Addr().Is4() {
			v4 = append(v4, b)
		} else {
			v6 = append(v6, b)
		}
	}
	if len(v4) > 0 {
		n.kids = append(n.kids, txt("cidrBlock", v4[0].String()),
			set("cidrBlockSet", v4, func(b netip.Prefix) node { return el("", txt("cidrBlock", b.String())) }))
	}
	if len(v6) > 0 {
		n.kids = append(n.kids, set("ipv6CidrBlockSet", v6, func(b netip.Prefix) node { return el("", txt("ipv6CidrBlock", b.String())) }))
	}
	if p.status == peerActive {
		n.kids = append(n.kids, el("peeringOptions",
			flag("allowDnsResolutionFromRemoteVpc", side.dns),
			flag("allowEgressFromLocalClassicLinkToRemoteVpc", false),
			flag("allowEgressFromLocalVpcToRemoteClassicLink", false)))
	}
	return n
}

func texts[T fmt.Stringer](list []T) []string {
	var out []string
	for _, v := range list {
		out = append(out, v.String())
	}
	return out
}
