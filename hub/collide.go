package hub

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// claim is a prefix that a spoke announces and that nothing but another spoke speaks against.
type claim struct {
	prefix netip.Prefix
	spoke  *spoke
	level  int
}

// The levels of a claim; the lowest wins. What the config excludes is no claim at all.
const (
	claimHeld     = iota // it held the prefix in the last pass: never changed while it is active
	claimStanding        // a route in a table of the hub VPC leads there: an adopted hub goes on as it was
	claimListed          // its account is listed
	claimOther
)

// settle gives each prefix that several spokes announce, equal, nested or overlapping, to
// one of them: by level, then by the lowest peering id. The others keep their other prefixes.
func (d *decision) settle(spokes []*spoke, holders map[netip.Prefix]PeeringID) {
	var claims []claim
	for _, s := range spokes {
		for _, p := range s.prefixes {
			claims = append(claims, claim{prefix: p, spoke: s})
		}
	}
	claims = sorted(claims, func(a, b *claim) int {
		if c := ComparePrefixes(a.prefix, b.prefix); c != 0 {
			return c
		}
		return strings.Compare(string(a.spoke.id), string(b.spoke.id))
	})
	var standing map[claimKey]bool
	for from := 0; from < len(claims); {
		to := cluster(claims, from)
		if to-from > 1 {
			if standing == nil {
				standing = standingRoutes(d.tables[d.topology.Hub.VPC])
			}
			d.contest(claims[from:to], holders, standing)
		}
		from = to
	}
}

// cluster returns the end of the claims that overlap the widest one at from. Sorted
// prefixes that overlap are nested, and the outermost comes first.
func cluster(claims []claim, from int) int {
	to := from + 1
	for to < len(claims) && claims[from].prefix.Overlaps(claims[to].prefix) {
		to++
	}
	return to
}

// claimKey is a prefix through a peering.
type claimKey struct {
	prefix  netip.Prefix
	peering PeeringID
}

func standingRoutes(tables []Table) map[claimKey]bool {
	out := make(map[claimKey]bool)
	for _, t := range tables {
		for _, r := range t.Routes {
			if r.Destination.IsValid() && !r.Blackhole {
				out[claimKey{r.Destination.Masked(), PeeringID(r.Target)}] = true
			}
		}
	}
	return out
}

// contest decides one cluster of overlapping claims.
func (d *decision) contest(claims []claim, holders map[netip.Prefix]PeeringID, standing map[claimKey]bool) {
	for i := range claims {
		c := &claims[i]
		c.level = claimOther
		switch {
		case holders[c.prefix] == c.spoke.peering.ID:
			c.level = claimHeld
		case standing[claimKey{c.prefix, c.spoke.peering.ID}]:
			c.level = claimStanding
		case c.spoke.listed:
			c.level = claimListed
		}
	}
	ranked := slices.Clone(claims)
	slices.SortFunc(ranked, func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.level, b.level), strings.Compare(string(a.spoke.peering.ID), string(b.spoke.peering.ID)),
			ComparePrefixes(a.prefix, b.prefix))
	})
	ground := newGround()
	lost := make(map[*spoke]map[netip.Prefix]bool)
	for _, c := range ranked {
		winner, ok := ground.take(c)
		if ok {
			continue
		}
		if lost[c.spoke] == nil {
			lost[c.spoke] = make(map[netip.Prefix]bool)
		}
		lost[c.spoke][c.prefix] = true
		d.report(Collision, c.spoke.name, fmt.Sprintf("%s is held by %s (%s, %s)", c.prefix, winner.spoke.name, winner.prefix, winner.spoke.peering.ID),
			collisionMend(c, winner))
	}
	for s, ps := range lost {
		s.prefixes = slices.DeleteFunc(s.prefixes, func(p netip.Prefix) bool { return ps[p] })
		if len(s.prefixes) == 0 {
			d.report(NoPrefix, s.name, "other spokes hold every prefix of it", Mend(NoPrefix))
		}
	}
}

// collisionMend says how the loser could have its prefix. Excluding is per account, so it
// parts two VPCs only when they are in different ones.
func collisionMend(loser, winner claim) string {
	account := winner.spoke.scope.Account
	if account == loser.spoke.scope.Account {
		return fmt.Sprintf("renumber one of them, or delete %s; exclude would take both, for both VPCs are in account %s", loser.spoke.peering.ID, account)
	}
	return fmt.Sprintf("renumber one of them; or, to take it from %s and give it to %s, exclude %s in account %s", winner.spoke.name, loser.spoke.name, winner.prefix, account)
}

// ground is space that is taken, with an answer to "who overlaps this" in at most 2 look-ups per bit.
type ground struct {
	taken map[netip.Prefix]claim
	above map[netip.Prefix]claim // every prefix above a taken one, and who is the first below it
}

func newGround() *ground {
	return &ground{taken: make(map[netip.Prefix]claim), above: make(map[netip.Prefix]claim)}
}

// holder returns the claim that overlaps prefix, if there is one.
func (g *ground) holder(prefix netip.Prefix) (claim, bool) {
	if w, ok := g.above[prefix]; ok {
		return w, true
	}
	for p := prefix; ; p = wider(p) {
		if w, ok := g.taken[p]; ok {
			return w, true
		}
		if p.Bits() == 0 {
			return claim{}, false
		}
	}
}

// take gives the claim its prefix and says so, unless an earlier claim overlaps it, which is returned then.
func (g *ground) take(c claim) (claim, bool) {
	if w, taken := g.holder(c.prefix); taken {
		return w, false
	}
	g.taken[c.prefix] = c
	for p := c.prefix; p.Bits() > 0; {
		p = wider(p)
		if _, ok := g.above[p]; ok {
			break // and so are all above it
		}
		g.above[p] = c
	}
	return c, true
}

// wider returns the prefix one bit shorter.
func wider(p netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked()
}
