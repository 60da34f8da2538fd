package ec2sim

import (
	"time"
)

// States of a peering, as AWS spells them (ec2.md section 1).
const (
	peerInitiating   = "initiating-request"
	peerPending      = "pending-acceptance"
	peerProvisioning = "provisioning"
	peerActive       = "active"
	peerDeleting     = "deleting"
	peerDeleted      = "deleted"
	peerRejected     = "rejected"
	peerFailed       = "failed"
	peerExpired      = "expired"
)

type peering struct {
	id                  string
	requester, accepter peerSide
	status, message     string
	since, created      time.Time // of the status; of the peering
	expires             time.Time
	endedBy             string // account that deleted it
}

// peerSide is one half of a peering.
type peerSide struct {
	home
	vpc string
	dns bool // allowDnsResolutionFromRemoteVpc
}

func (p peering) terminal() bool {
	switch p.status {
	case peerDeleted, peerRejected, peerFailed, peerExpired:
		return true
	}
	return false
}

// live is a peering that stands or may come to stand: there is one between two VPCs.
func (p peering) live() bool {
	return !p.terminal() && p.status != peerDeleting
}

func (p peering) sameAccount() bool { return p.requester.account == p.accepter.account }
func (p peering) interRegion() bool { return p.requester.region != p.accepter.region }

// side is the half of an account and region. Where both halves are there it is the
// accepter's, whose rights are the greater ones.
func (p peering) side(h home) (peerSide, bool) {
	if p.accepter.home == h {
		return p.accepter, true
	}
	return p.requester, p.requester.home == h
}

func (p peering) set(status, message string, at time.Time) peering {
	p.status, p.message, p.since = status, message, at
	return p
}

// due is when the peering's status changes by itself, for a terminal one when the
// last side loses sight of it. A standing peering never does: far future.
func (p peering) due(d Delays) time.Time {
	switch p.status {
	case peerInitiating:
		return p.since.Add(d.Pending)
	case peerPending:
		return p.expires
	case peerProvisioning:
		return p.since.Add(d.Active)
	case peerDeleting:
		return p.since.Add(d.Deleted)
	case peerActive:
		return p.since.AddDate(1000, 0, 0)
	}
	return p.since.Add(max(p.visible(p.requester.home, d), p.visible(p.accepter.home, d)))
}

// visible is how long a side sees a peering after it ended (table in ec2.md
// section 1).
func (p peering) visible(h home, d Delays) time.Duration {
	requester := p.requester.home == h
	switch p.status {
	case peerDeleted:
		if p.sameAccount() || p.endedBy == h.account {
			return d.ShortVisible
		}
		return d.LongVisible
	case peerRejected:
		if requester && !p.sameAccount() {
			return d.LongVisible
		}
		return d.ShortVisible
	case peerFailed:
		if requester {
			return d.ShortVisible
		}
		return 0
	}
	return d.LongVisible // expired
}

// seenBy tells whether DescribeVpcPeeringConnections in this account and region
// lists the peering.
func (p peering) seenBy(h home, now time.Time, d Delays) bool {
	if _, ok := p.side(h); !ok {
		return false
	}
	if p.status == peerInitiating && p.requester.home != h {
		return false
	}
	return !p.terminal() || now.Before(p.since.Add(p.visible(h, d)))
}

// stepPeering makes the next state by time.
func (st *state) stepPeering(p peering, at time.Time, d Delays) peering {
	switch p.status {
	case peerInitiating:
		if !st.compatible(p) {
			return p.set(peerFailed, failedMessage, at)
		}
		p.expires = at.Add(d.Expiry)
		return p.set(peerPending, "Pending Acceptance by "+p.accepter.account, at)
	case peerPending:
		return p.set(peerExpired, "Expired", at)
	case peerProvisioning:
		return p.set(peerActive, "Active", at)
	default: // deleting
		return p.set(peerDeleted, "Deleted by "+p.endedBy, at)
	}
}

const failedMessage = "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range"

// compatible tells whether the two VPCs exist where the request says and share no
// address, in either family.
func (st *state) compatible(p peering) bool {
	r, okR := st.vpcs[p.requester.vpc]
	a, okA := st.vpcs[p.accepter.vpc]
	return okR && okA && r.id != a.id && r.home == p.requester.home && a.home == p.accepter.home &&
		!overlapping(r.claimed(), a.claimed())
}
