package hub

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Decide says what should be reachable now. It is total and pure: any input gives an
// answer, the same input in any order gives the same one, and nothing is looked up.
// Exclusion is per prefix; a spoke is left out only when no prefix of it remains.
// It returns what must be remembered so that the next answer agrees with this one.
func Decide(p Policy, t Topology, m Remembered) (Desired, []Problem, Remembered) {
	d := decision{policy: p, topology: t, tables: tablesByVPC(t)}
	want := Desired{Base: d.base()}
	d.sources()
	if t.Hub.VPC == "" {
		d.report(NoTopology, "hub", "the hub VPC is not known yet: EC2 has given no complete answer",
			"hubctl status shows the sources; nothing is changed meanwhile")
		sortProblems(&d.problems)
		return want, d.problems, m.clone()
	}
	spokes := d.spokes()
	d.nameAll(spokes, m.Names)
	for _, s := range spokes {
		d.screen(s)
	}
	d.settle(spokes, m.Winners)
	mem := m.clone()
	d.number(spokes, &mem)
	reaches := 0
	for _, s := range spokes {
		reaches += len(s.prefixes)
	}
	want.Reaches = make([]Reach, 0, reaches)
	mem.Winners = make(map[netip.Prefix]PeeringID, reaches)
	for _, s := range spokes {
		if len(s.prefixes) == 0 {
			continue
		}
		want.Spokes = append(want.Spokes, Spoke{ID: s.id, Name: s.name, Number: s.number, Scope: s.scope, Peering: s.peering.ID})
		for _, p := range s.prefixes {
			want.Reaches = append(want.Reaches, d.reach(s, p))
		}
		if !s.hub {
			for _, prefix := range s.prefixes {
				mem.Winners[prefix] = s.peering.ID
			}
		}
	}
	want.Routes = d.routes(spokes, reaches)
	want.sort()
	sortProblems(&d.problems)
	return want, d.problems, mem
}

// decision is one call of Decide.
type decision struct {
	policy   Policy
	topology Topology
	tables   map[VPCID][]Table // ordinary tables only: edge tables take no peering routes
	egress   *Egress           // nil: there is no usable way out
	problems []Problem
}

func (d *decision) report(code Code, subject, detail, mend string) {
	d.problems = append(d.problems, Problem{Code: code, Subject: subject, Detail: detail, Mend: mend})
}

// spoke is a spoke on its way through a decision.
type spoke struct {
	id       SpokeID
	hub      bool // the hub VPC itself
	scope    Scope
	peering  Peering // zero for the hub VPC
	account  Account
	listed   bool
	name     string
	number   uint16
	prefixes []netip.Prefix // those that remain, sorted
	excluded int            // left out because the config says so
}

// spokes returns the hub VPC and every approved spoke, by id, and reports the peerings
// that are none.
func (d *decision) spokes() []*spoke {
	hub := d.topology.Hub
	out := []*spoke{{id: SpokeID(hub.VPC), hub: true, scope: hub.Scope, prefixes: hub.Prefixes}}
	for _, pcx := range livePeerings(d.topology) {
		account, listed := d.policy.Accounts[pcx.Peer.Scope.Account]
		switch {
		case pcx.State != PeeringActive:
			d.notActive(pcx, account, listed)
		case d.policy.ListedOnly && !listed:
			d.report(NotListed, label(pcx, account), fmt.Sprintf("%s is active, but its account %s is not listed and spokes.from is listed", pcx.ID, pcx.Peer.Scope.Account),
				fmt.Sprintf("add %q to accounts, or delete the peering", pcx.Peer.Scope.Account))
		default:
			out = append(out, &spoke{id: SpokeID(pcx.Peer.VPC), scope: pcx.Peer.Scope, peering: pcx,
				account: account, listed: listed, prefixes: pcx.Peer.Prefixes})
		}
	}
	slices.SortFunc(out, func(a, b *spoke) int { return strings.Compare(string(a.id), string(b.id)) })
	return out
}

// livePeerings returns one peering per VPC: the active one, else the one that may become
// active. AWS allows one live peering between two VPCs; ended ones stay listed beside it for
// hours. Where none is live, the one that came furthest tells of the VPC in each scope that
// was tried: a failed try before it explains nothing.
func livePeerings(t Topology) []Peering {
	type place struct {
		scope Scope
		vpc   VPCID
	}
	live := make(map[VPCID]Peering, len(t.Peerings))
	ended := make(map[place]Peering)
	for _, pcx := range t.Peerings {
		if pcx.ID == "" || pcx.Peer.VPC == "" || pcx.Peer.VPC == t.Hub.VPC {
			continue
		}
		if at := (place{pcx.Peer.Scope, pcx.Peer.VPC}); pcx.State.Terminal() {
			if old, ok := ended[at]; !ok || tellsMore(pcx, old) {
				ended[at] = pcx
			}
		} else if old, ok := live[pcx.Peer.VPC]; !ok || tellsMore(pcx, old) {
			live[pcx.Peer.VPC] = pcx
		}
	}
	out := slices.Collect(maps.Values(live))
	for at, pcx := range ended {
		if _, ok := live[at.vpc]; !ok {
			out = append(out, pcx)
		}
	}
	return sorted(out, func(a, b *Peering) int { return strings.Compare(string(a.ID), string(b.ID)) })
}

// tellsMore reports whether a says more of its VPC than b does.
func tellsMore(a, b Peering) bool {
	x, y := peeringRank(a), peeringRank(b)
	return x < y || x == y && a.ID < b.ID
}

func peeringRank(p Peering) int {
	switch {
	case p.State == PeeringActive:
		return 0
	case !p.State.Terminal():
		return 1
	case p.State == PeeringDeleting, p.State == PeeringDeleted: // it lived
		return 2
	}
	return 3
}

// notActive reports a peering that is no spoke. Ended ones are news only to those who
// wanted them: strangers' refused requests are not.
func (d *decision) notActive(pcx Peering, account Account, listed bool) {
	who := label(pcx, account)
	acc := pcx.Peer.Scope.Account
	switch pcx.State {
	case PeeringPending:
		switch why := Useless(d.policy, d.topology, pcx); {
		case pcx.HubRequested:
			d.report(PeeringNotActive, who, fmt.Sprintf("%s waits until account %s accepts it%s", pcx.ID, acc, until(pcx)),
				fmt.Sprintf("in account %s: aws ec2 accept-vpc-peering-connection --region %s --vpc-peering-connection-id %s", acc, pcx.Peer.Scope.Region, pcx.ID))
		case listed && why != "":
			d.report(PeeringNotActive, who, fmt.Sprintf("%s is a request of account %s, which is listed, but it is of no use: %s; left alone%s", pcx.ID, acc, why, until(pcx)),
				"renumber that VPC, or reject the request")
		case listed:
			d.report(PeeringNotActive, who, fmt.Sprintf("%s is a request of account %s, which is listed: it is accepted in mode add or sync", pcx.ID, acc), "hubctl sync")
		default:
			d.report(PeeringNotActive, who, fmt.Sprintf("%s is a request of account %s, which nobody listed: left alone%s", pcx.ID, acc, until(pcx)),
				fmt.Sprintf("if you know it, add %q to accounts; else reject it", acc))
		}
	case PeeringInitiating, PeeringProvisioning:
		d.report(PeeringNotActive, who, fmt.Sprintf("%s is being set up (%s)", pcx.ID, pcx.State), "nothing: it takes seconds")
	case PeeringFailed, PeeringRejected, PeeringExpired:
		if listed || pcx.HubRequested {
			d.report(PeeringEnded, who, fmt.Sprintf("%s with %s is %s: %s", pcx.ID, pcx.Peer.VPC, pcx.State, pcx.Message), "request it anew: hubctl add-spoke")
		}
	case PeeringDeleting, PeeringDeleted:
		// The guard tells of it when it takes something away.
	default:
		d.report(PeeringNotActive, who, fmt.Sprintf("%s is in state %q, which is not known here: left as it is", pcx.ID, pcx.State), "look at it in the AWS console")
	}
}

func until(pcx Peering) string {
	if pcx.Expires.IsZero() {
		return ""
	}
	return ", expires " + pcx.Expires.UTC().Format("2006-01-02 15:04") + " UTC"
}

// label names a peering that has no spoke name.
func label(pcx Peering, account Account) string {
	if name := sanitise(account.Name); name != "" {
		return name
	}
	if name := sanitise(pcx.Name); name != "" {
		return name
	}
	return string(pcx.Peer.Scope.Account)
}

// reach returns the reach of p. Without a way out it carries no egress and is on hold:
// the guard keeps those that stood before.
func (d *decision) reach(s *spoke, p netip.Prefix) Reach {
	r := Reach{Spoke: s.id, Name: s.name, Prefix: p, Real: p, Mark: uint32(s.number), Hold: true}
	if d.egress != nil {
		r.Egress, r.Mark, r.Hold = d.egress.ID, uint32(d.egress.Class)<<MarkClassShift|uint32(s.number), false
	}
	return r
}

// sources reports the places that do not answer.
func (d *decision) sources() {
	for _, s := range d.topology.Sources {
		if s.Fresh {
			continue
		}
		subject := s.Scope.String()
		if a := d.policy.Accounts[s.Scope.Account]; a.Name != "" {
			subject = a.Name
		}
		code, detail := s.Code, s.Error
		if code == "" {
			code = SourceStale
		}
		if detail == "" {
			detail = "no answer yet"
		}
		if s.At.IsZero() {
			detail = fmt.Sprintf("%s: %s; never read", s.Scope, detail)
		} else {
			detail = fmt.Sprintf("%s: %s; what is known is as of %s", s.Scope, detail, s.At.UTC().Format("2006-01-02 15:04:05 UTC"))
		}
		d.report(code, subject, detail, Mend(code))
	}
}

// sort brings the want into its order.
func (d *Desired) sort() {
	d.Spokes = sorted(d.Spokes, func(a, b *Spoke) int { return strings.Compare(string(a.ID), string(b.ID)) })
	d.Reaches = sorted(d.Reaches, compareReaches)
	d.Routes = sorted(d.Routes, compareRoutes)
}

// clone copies m so that Decide and the guard never write into their input. Winners are
// never changed, only replaced.
func (m Remembered) clone() Remembered {
	out := m
	out.Numbers = maps.Clone(m.Numbers)
	out.Names = maps.Clone(m.Names)
	out.Absent = maps.Clone(m.Absent)
	out.AbsentPrefixes = make(map[SpokeID]map[netip.Prefix]Absence, len(m.AbsentPrefixes))
	for id, ps := range m.AbsentPrefixes {
		out.AbsentPrefixes[id] = maps.Clone(ps)
	}
	out.Run.Removed = maps.Clone(m.Run.Removed)
	if out.Numbers == nil {
		out.Numbers = make(map[SpokeID]uint16)
	}
	if out.Names == nil {
		out.Names = make(map[SpokeID]string)
	}
	if out.Absent == nil {
		out.Absent = make(map[SpokeID]Absence)
	}
	return out
}
