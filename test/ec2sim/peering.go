package ec2sim

import (
	"slices"
	"time"
)

// ownPeering finds a peering that the caller sees in this region.
func (c *call) ownPeering() (peering, error) {
	id := c.p.get("VpcPeeringConnectionId")
	p, ok := c.st.peerings[id]
	// A new request reaches the other account late (ec2.md section 1).
	hidden := p.requester.home != c.home && c.now.Before(p.created.Add(c.s.delays.ReadLag))
	if !ok || hidden || !p.seenBy(c.home, c.now, c.s.delays) {
		return p, notFound(id, "pcx")
	}
	return p, nil
}

func (c *call) createPeering() ([]node, error) {
	v, err := c.ownVPC(c.p.get("VpcId"))
	if err != nil {
		return nil, err
	}
	tags, err := c.tagSpec("vpc-peering-connection")
	if err != nil {
		return nil, err
	}
	peer := home{orElse(c.p.get("PeerOwnerId"), c.account), orElse(c.p.get("PeerRegion"), c.region)}
	peerVPC := c.p.get("PeerVpcId")
	if peerVPC == v.id {
		return nil, refuse("InvalidParameterValue", "Cannot peer a VPC with itself: %s", peerVPC)
	}
	outstanding := 0
	for _, p := range sorted(c.st.peerings, peering.live) {
		a, b := p.requester.vpc, p.accepter.vpc
		if a == v.id && b == peerVPC || a == peerVPC && b == v.id {
			return nil, refuse("VpcPeeringConnectionAlreadyExists", "A VPC peering connection between %s and %s already exists: %s", v.id, peerVPC, p.id)
		}
		if a == v.id && (p.status == peerInitiating || p.status == peerPending) {
			outstanding++
		}
	}
	if outstanding >= c.s.quotas.OutstandingRequests {
		return nil, refuse("OutstandingVpcPeeringConnectionLimitExceeded", "The maximum number of outstanding VPC peering connection requests has been reached for %s.", v.id)
	}
	p := peering{
		id: c.st.newID("pcx"), created: c.now, expires: c.now.Add(c.s.delays.Expiry),
		requester: peerSide{home: v.home, vpc: v.id}, accepter: peerSide{home: peer, vpc: peerVPC},
	}.set(peerInitiating, "Initiating Request to "+peer.account, c.now)
	c.st.peerings[p.id] = p
	c.addTags(p.id, tags)
	return []node{c.peeringItem("vpcPeeringConnection", p)}, nil
}

// wrongTransition is AWS's word for a peering in the wrong state.
func wrongTransition(p peering, to string) error {
	return refuse("InvalidStateTransition", "Invalid state transition for %s, attempted to transition from %s to %s", p.id, p.status, to)
}

// accepterOnly refuses whoever is not the accepter's owner in the accepter's region.
func (c *call) accepterOnly(p peering, verb string) error {
	if p.accepter.home != c.home {
		return refuse("OperationNotPermitted", "User %s cannot %s peering %s", c.account, verb, p.id)
	}
	return nil
}

func (c *call) acceptPeering() ([]node, error) {
	p, err := c.ownPeering()
	if err != nil {
		return nil, err
	}
	if err := c.accepterOnly(p, "accept"); err != nil {
		return nil, err
	}
	if p.status != peerPending {
		return nil, wrongTransition(p, peerProvisioning)
	}
	for _, id := range []string{p.requester.vpc, p.accepter.vpc} {
		active := 0
		for _, o := range c.st.peerings {
			if (o.status == peerActive || o.status == peerProvisioning) && (o.requester.vpc == id || o.accepter.vpc == id) {
				active++
			}
		}
		if active >= c.s.quotas.PeeringsPerVPC {
			return nil, refuse("VpcPeeringConnectionsPerVpcLimitExceeded", "The maximum number of VPC peering connections has been reached for %s.", id)
		}
	}
	p = p.set(peerProvisioning, "Provisioning", c.now)
	p.expires = time.Time{}
	c.st.peerings[p.id] = p
	return []node{c.peeringItem("vpcPeeringConnection", p)}, nil
}

func (c *call) rejectPeering() ([]node, error) {
	p, err := c.ownPeering()
	if err != nil {
		return nil, err
	}
	if err := c.accepterOnly(p, "reject"); err != nil {
		return nil, err
	}
	if p.status != peerPending {
		return nil, wrongTransition(p, peerRejected)
	}
	c.st.peerings[p.id] = p.set(peerRejected, "Rejected by "+c.account, c.now)
	return done(), nil
}

// deletePeering ends a standing peering for either side, a request for its author.
func (c *call) deletePeering() ([]node, error) {
	p, err := c.ownPeering()
	if err != nil {
		return nil, err
	}
	switch {
	case p.status == peerPending && p.requester.home != c.home:
		return nil, refuse("OperationNotPermitted", "User %s cannot delete peering %s", c.account, p.id)
	case p.status != peerPending && p.status != peerActive:
		return nil, wrongTransition(p, peerDeleting)
	}
	c.st.peerings[p.id] = p.end(c.account, c.now)
	return done(), nil
}

// end is the peering after its deletion: an inter-region one takes a while.
func (p peering) end(account string, now time.Time) peering {
	p.endedBy = account
	if p.interRegion() && p.status == peerActive {
		return p.set(peerDeleting, "Deletion initiated by "+account, now)
	}
	return p.set(peerDeleted, "Deleted by "+account, now)
}

// dnsOption is the only option that is left; ClassicLink's are accepted as false.
const dnsOption = "AllowDnsResolutionFromRemoteVpc"

func (c *call) modifyPeeringOptions() ([]node, error) {
	p, err := c.ownPeering()
	if err != nil {
		return nil, err
	}
	if p.status != peerActive {
		return nil, refuse("OperationNotPermitted", "Peering %s is not active. Peering options can be added only to active peerings.", p.id)
	}
	var out []node
	for _, side := range []struct {
		param, element, name string
		half                 *peerSide
	}{
		{"AccepterPeeringConnectionOptions", "accepterPeeringConnectionOptions", "accepter", &p.accepter},
		{"RequesterPeeringConnectionOptions", "requesterPeeringConnectionOptions", "requester", &p.requester},
	} {
		key := side.param + "." + dnsOption
		if !c.p.has(key) {
			continue
		}
		if side.half.home != c.home {
			return nil, refuse("OperationNotPermitted", "User %s cannot modify %s peering options for %s", c.account, side.name, p.id)
		}
		for _, id := range []string{p.requester.vpc, p.accepter.vpc} {
			if v := c.st.vpcs[id]; c.p.is(key, false) && (!v.dnsNames || !v.dnsSupport) {
				return nil, refuse("InvalidVpcPeeringConnectionState.DnsHostnamesDisabled",
					"The VPC %s does not have DNS hostnames and DNS support enabled.", id)
			}
		}
		side.half.dns = c.p.is(key, false)
		out = append(out, el(side.element, flag("allowDnsResolutionFromRemoteVpc", side.half.dns)))
	}
	c.st.peerings[p.id] = p
	return out, nil
}

func (c *call) describePeerings() ([]node, error) {
	all := sorted(c.st.peerings, func(p peering) bool { return p.seenBy(c.home, c.now, c.s.delays) })
	all = slices.DeleteFunc(all, func(p peering) bool {
		return c.s.faultNames(FaultUnlisted, p.id) || p.requester.home != c.home && c.now.Before(p.created.Add(c.s.delays.ReadLag))
	})
	return describe(c, listing[peering]{
		element: "vpcPeeringConnectionSet", idParam: "VpcPeeringConnectionId", kind: "pcx", max: 1000,
		id:   func(p peering) string { return p.id },
		item: func(p peering) node { return c.peeringItem("", p) },
		filters: map[string]func(peering) []string{
			"accepter-vpc-info.cidr-block":  func(p peering) []string { return texts(c.shownBlocks(p, p.accepter)) },
			"accepter-vpc-info.owner-id":    one(func(p peering) string { return p.accepter.account }),
			"accepter-vpc-info.vpc-id":      one(func(p peering) string { return p.accepter.vpc }),
			"requester-vpc-info.cidr-block": func(p peering) []string { return texts(c.shownBlocks(p, p.requester)) },
			"requester-vpc-info.owner-id":   one(func(p peering) string { return p.requester.account }),
			"requester-vpc-info.vpc-id":     one(func(p peering) string { return p.requester.vpc }),
			"expiration-time":               one(func(p peering) string { return stamp("", p.expires).text }),
			"status-code":                   one(func(p peering) string { return c.shownStatus(p) }),
			"status-message":                one(func(p peering) string { return p.message }),
			"vpc-peering-connection-id":     one(func(p peering) string { return p.id }),
		},
	}, all)
}
