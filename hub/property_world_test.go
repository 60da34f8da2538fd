package hub_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"peerhub/hub"
)

// company is a cloud that lives: peerings come, end, vanish from answers and come back, VPCs
// grow and shrink, and sometimes nobody answers.
type company struct {
	world
	vpcs   []*vpc
	ids    int          // peerings made
	shown  hub.Topology // the last complete answer
	survey uint64
	mix    map[string]int // steps that had each kind of event
}

// vpc is one that may be peered with the hub.
type vpc struct {
	id       hub.VPCID
	account  hub.AccountID
	prefixes []netip.Prefix
	live     *hub.Peering  // nil: none
	ended    []hub.Peering // listed still
	hidden   int           // answers that will lack it
}

// kinds of events that a long run must have had enough of.
var kinds = []string{"overlap", "secondary CIDR", "removal", "re-peering", "frozen source"}

func newCompany(seed int64) *company {
	c := &company{world: newWorld(seed), mix: map[string]int{}}
	for n := range 9 {
		c.vpcs = append(c.vpcs, &vpc{id: hub.VPCID(fmt.Sprintf("vpc-%d", n)), account: c.account()})
	}
	return c
}

func (c *company) peer(v *vpc) {
	c.ids++
	p := pcx(c.ids, v.account)
	p.ID, p.Peer.VPC = hub.PeeringID(fmt.Sprintf("pcx-%03d", (c.ids*37)%1000)), v.id // not in the order of time
	v.live = &p
	if len(v.prefixes) == 0 {
		v.prefixes = []netip.Prefix{c.prefix()}
	}
}

func (c *company) end(v *vpc) {
	v.live.State = pick(c.world, hub.PeeringDeleted, hub.PeeringDeleted, hub.PeeringDeleting, hub.PeeringFailed)
	v.ended = append(v.ended, *v.live)
	v.live = nil
}

// step lets something happen and returns the next answer, and whether it is fresh.
func (c *company) step() (hub.Topology, bool) {
	anew := false
	for range 1 + c.Intn(3) {
		v := c.vpcs[c.Intn(len(c.vpcs))]
		if v.live == nil {
			if c.Intn(4) > 0 {
				c.peer(v)
			}
			continue
		}
		switch c.Intn(9) {
		case 0:
			c.end(v)
		case 1, 2: // and anew
			c.end(v)
			c.peer(v)
			anew = true
		case 3:
			if len(v.prefixes) < 4 {
				v.prefixes = append(v.prefixes, c.prefix())
			}
		case 4:
			if o := c.vpcs[c.Intn(len(c.vpcs))]; len(o.prefixes) > 0 && len(v.prefixes) < 4 {
				v.prefixes = append(v.prefixes, o.prefixes[c.Intn(len(o.prefixes))])
			}
		case 5:
			if len(v.prefixes) > 1 {
				v.prefixes = slices.Delete(slices.Clone(v.prefixes), 0, 1)
			}
		case 6:
			v.hidden = 1 + c.Intn(5)
		case 7:
			v.live.State = pick(c.world, hub.PeeringActive, hub.PeeringProvisioning, hub.PeeringPending, "hibernating")
		case 8:
			v.live.State = hub.PeeringActive
		}
	}
	if anew {
		c.mix["re-peering"]++
	}
	if c.Intn(7) == 0 && c.survey > 0 {
		c.mix["frozen source"]++
		t := c.shown
		t.Sources = slices.Clone(t.Sources)
		t.Sources[0].Fresh = false
		return t, false
	}
	c.survey++
	c.shown = survey(c.answer(), c.survey)
	return c.shown, true
}

// answer is what AWS says now.
func (c *company) answer() hub.Topology {
	var ps []hub.Peering
	many := false
	var all []netip.Prefix
	for _, v := range c.vpcs {
		if len(v.ended) > 0 && c.Intn(6) == 0 {
			v.ended = v.ended[1:] // AWS forgets it
		}
		ps = append(ps, v.ended...)
		if v.hidden > 0 {
			v.hidden--
			continue
		}
		if v.live == nil {
			continue
		}
		p := *v.live
		if p.State == hub.PeeringActive { // else AWS tells no prefixes
			p.Peer.Prefixes = slices.Clone(v.prefixes)
			all = append(all, v.prefixes...)
			many = many || len(v.prefixes) > 1
		}
		ps = append(ps, p)
	}
	if many {
		c.mix["secondary CIDR"]++
	}
	if overlapping(all) {
		c.mix["overlap"]++
	}
	return c.shuffled(topology(ps...))
}

func overlapping(all []netip.Prefix) bool {
	for i, p := range all {
		if slices.ContainsFunc(all[:i], func(q netip.Prefix) bool { return p.IsValid() && q.IsValid() && p.Overlaps(q) }) {
			return true
		}
	}
	return false
}

// evidence is what speaks for taking something away, counted apart from the guard.
type evidence struct {
	absent map[hub.Unit]int // fresh answers in a row that lack it
	run    map[hub.SpokeID]int
	began  int // reaches when the run of removals began; 0: there is none
	quiet  int // fresh answers since the last removal
}

// seen counts a fresh answer for all that stood before it.
func (e *evidence) seen(prev hub.Desired, t hub.Topology) {
	next := map[hub.Unit]int{}
	for _, r := range prev.Reaches {
		if r.Spoke == "vpc-hub" {
			continue
		}
		if p, ok := liveOf(t, r.Spoke); ok && (p.State != hub.PeeringActive || hasPrefix(p, r.Prefix)) {
			continue // there, or neither active nor an end: it counts anew
		}
		next[r.Unit()] = e.absent[r.Unit()] + 1
	}
	e.absent = next
}

func liveOf(t hub.Topology, id hub.SpokeID) (hub.Peering, bool) {
	for _, p := range t.Peerings {
		if hub.SpokeID(p.Peer.VPC) == id && !p.State.Terminal() {
			return p, true
		}
	}
	return hub.Peering{}, false
}

func hasPrefix(p hub.Peering, q netip.Prefix) bool {
	return slices.ContainsFunc(p.Peer.Prefixes, func(x netip.Prefix) bool { return x.IsValid() && x.Masked() == q })
}

// judge says what is wrong with the removals between two wants.
func (e *evidence) judge(prev, now hub.Desired, in hub.Input, fresh bool) error {
	there := map[hub.Unit]bool{}
	for _, r := range now.Reaches {
		there[r.Unit()] = true
	}
	spokes := map[hub.SpokeID]hub.Spoke{}
	for _, s := range prev.Spokes {
		spokes[s.ID] = s
	}
	gone := map[hub.SpokeID]int{}
	for _, r := range prev.Reaches {
		if there[r.Unit()] || r.Spoke == "vpc-hub" || refusedByConfig(in.Policy, spokes[r.Spoke], r.Prefix) {
			continue
		}
		live, lives := liveOf(in.Topology, r.Spoke)
		switch {
		case !fresh:
			return fmt.Errorf("%s of %s went while its source was frozen", r.Prefix, r.Spoke)
		case lives && live.State != hub.PeeringActive:
			return fmt.Errorf("%s of %s went while its peering is %s", r.Prefix, r.Spoke, live.State)
		case lives && hasPrefix(live, r.Prefix) && live.ID == spokes[r.Spoke].Peering:
			return fmt.Errorf("%s of %s went though it is announced by %s", r.Prefix, r.Spoke, live.ID)
		case lives && hasPrefix(live, r.Prefix):
			continue // peered anew: the prefix may have found another holder meanwhile
		case !lives && endedNow(in.Topology, spokes[r.Spoke].Peering), in.AllowRemovals:
		case e.absent[r.Unit()] < in.Policy.Safety.RemovalsAfter:
			return fmt.Errorf("%s of %s went after %d fresh answers without it, want %d", r.Prefix, r.Spoke, e.absent[r.Unit()], in.Policy.Safety.RemovalsAfter)
		}
		gone[r.Spoke]++
	}
	return e.bound(gone, len(prev.Reaches), in, fresh)
}

// bound holds a run of removals against the limit.
func (e *evidence) bound(gone map[hub.SpokeID]int, stood int, in hub.Input, fresh bool) error {
	if len(gone) == 0 {
		if fresh && e.began > 0 {
			if e.quiet++; e.quiet >= in.Policy.Safety.RemovalsAfter {
				e.began, e.run = 0, nil
			}
		}
		return nil
	}
	if in.AllowRemovals {
		e.began, e.run, e.quiet = 0, nil, 0
		return nil
	}
	if e.began == 0 {
		e.began, e.run = stood, map[hub.SpokeID]int{}
	}
	e.quiet = 0
	total := 0
	for id, n := range gone {
		e.run[id] += n
	}
	for n := range maps.Values(e.run) {
		total += n
	}
	if len(e.run) > 1 && total*100 > in.Policy.Safety.MaxRemoved*e.began {
		return fmt.Errorf("%d of %d prefixes of %d spokes went in a run, more than %d %%", total, e.began, len(e.run), in.Policy.Safety.MaxRemoved)
	}
	return nil
}

func endedNow(t hub.Topology, id hub.PeeringID) bool {
	return slices.ContainsFunc(t.Peerings, func(p hub.Peering) bool { return p.ID == id && p.State.Terminal() })
}

// refusedByConfig tells whether the operator does not want a prefix that stood before.
func refusedByConfig(p hub.Policy, s hub.Spoke, q netip.Prefix) bool {
	a, listed := p.Accounts[s.Scope.Account]
	inside := func(list []netip.Prefix) bool {
		return slices.ContainsFunc(list, func(x netip.Prefix) bool { return x.Contains(q.Addr()) && x.Bits() <= q.Bits() })
	}
	return p.ListedOnly && !listed || slices.ContainsFunc(a.Exclude, q.Overlaps) ||
		!inside(p.Allow) && !inside(pfxs("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
}
