package masq

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"peerhub/hub"
)

// View is a snapshot of the two tables. It implements hub.View and hub.Troubled.
type View struct {
	state     *state
	table     string
	once      bool
	port      uint32
	abilities abilities
	asked     hub.Ownership // when the want names none
	conntrack error         // why conntrack could not be read
	occupied  Occupancy
	harmed    []hub.Problem // by other people's chains
}

// mode is the ownership mode for a want.
func (v *View) mode(want hub.Desired) Mode {
	return v.abilities.choose(cmp.Or(want.Base.Ownership, v.asked))
}

// shape is what the skeleton's rules are made with for a want, here.
func (v *View) shape(want hub.Desired) shape {
	s := shape{maxFlows: want.Base.MaxFlows, fullyRandom: v.abilities.fullyRandom}
	if !v.abilities.count {
		s.maxFlows = 0
	}
	return s
}

// Plan says which changes lead from what was seen to want. A want that needs none is
// remembered with the snapshot: the idle pass asks the same again and again.
func (v *View) Plan(want hub.Desired) []hub.Change {
	ours := hub.Desired{Base: want.Base, Reaches: want.Reaches}
	if s := v.state.satisfied.Load(); s != nil && s.Equal(ours) {
		return nil
	}
	wants, has := v.differences(want, wanted(want))
	changes := giveWay(hub.Diff(wants, has))
	if len(changes) == 0 {
		ours.Reaches = slices.Clone(ours.Reaches)
		ours.Base.Egresses, ours.Base.Tunnels = slices.Clone(ours.Base.Egresses), slices.Clone(ours.Base.Tunnels)
		v.state.satisfied.Store(&ours)
	}
	return changes
}

// giveWay makes removals of intervals part of the additions that take their place: the
// kernel takes no interval over another one, and additions are applied before removals. So
// a pool can grow without a moment in which it is no pool.
func giveWay(changes []hub.Change) []hub.Change {
	type interval struct {
		first, last netip.Addr
		key         string
	}
	added := make(map[string][]interval) // by set
	each := func(verb hub.Verb, f func(c *hub.Change, set string, in interval)) {
		for i := range changes {
			if changes[i].Verb != verb {
				continue
			}
			e, err := elementOf(changes[i].Object, "")
			if d, ok := setByName(e.set); err != nil || !ok || !d.interval {
				continue
			}
			if first, last, err := addrRange(e.key); err == nil {
				f(&changes[i], e.set, interval{first, last, e.key})
			}
		}
	}
	if !slices.ContainsFunc(changes, func(c hub.Change) bool { return c.Verb == hub.VerbRemove }) {
		return changes
	}
	each(hub.VerbAdd, func(_ *hub.Change, set string, in interval) { added[set] = append(added[set], in) })
	for _, ins := range added {
		slices.SortFunc(ins, func(a, b interval) int { return a.first.Compare(b.first) })
	}
	each(hub.VerbRemove, func(c *hub.Change, set string, old interval) {
		// The last one that begins before old ends; a want has none inside another.
		n := sort.Search(len(added[set]), func(i int) bool { return added[set][i].first.Compare(old.last) > 0 })
		if n > 0 && added[set][n-1].last.Compare(old.first) >= 0 {
			c.Verb, c.Detail = hub.VerbReplace, byPrefix+added[set][n-1].key
		}
	})
	return changes
}

// byPrefix begins the detail of an interval that is replaced by another one.
const byPrefix = "by "

// Problems says what the kernel cannot do, and what stands in the way of our packets.
func (v *View) Problems(want hub.Desired) []hub.Problem {
	out := slices.Clone(v.harmed)
	if asked := cmp.Or(want.Base.Ownership, v.asked); asked == hub.OwnershipPersist && !v.abilities.persist {
		out = append(out, hub.Problem{Code: hub.KernelLacks, Subject: "table inet " + v.table,
			Detail: "masq.ownership is persist; plain is in force: " + v.mode(want).Why, Mend: "masq: {ownership: auto}"})
	}
	if want.Base.MaxFlows > 0 && !v.abilities.count {
		out = append(out, hub.Problem{Code: hub.KernelLacks, Subject: "table inet " + v.table,
			Detail: "the kernel cannot count the flows of a source (Linux 4.18): masq.max_flows has no effect", Mend: "modprobe nft_connlimit"})
	}
	if !v.abilities.fullyRandom {
		out = append(out, hub.Problem{Code: hub.KernelLacks, Subject: "table inet " + v.table,
			Detail: "the kernel does not know fully-random (Linux 3.13): of flows that begin in the same moment some may lose their first packet", Mend: hub.Mend(hub.KernelLacks)})
	}
	if share := v.occupied.share(); share >= filling {
		// Without the number of now: a problem that stays should read the same.
		detail := fmt.Sprintf("more than %d %% of the %d entries are in use: at 100 %% no new flow of anybody passes", filling, v.occupied.Limit)
		if share >= full {
			detail = fmt.Sprintf("more than %d %% of the %d entries are in use: any moment no new flow of anybody passes", full, v.occupied.Limit)
		}
		out = append(out, hub.Problem{Code: hub.ConntrackFull, Subject: "conntrack", Detail: detail, Mend: hub.Mend(hub.ConntrackFull)})
	}
	if v.conntrack != nil {
		out = append(out, hub.Problem{Code: hub.KernelLacks, Subject: "conntrack",
			Detail: "flows of removed spokes cannot be deleted: " + v.conntrack.Error(), Mend: "modprobe nf_conntrack_netlink"})
	}
	return out
}

// differences are want and snapshot as hub compares them, without the elements that are the
// same in both: of ten thousand that is nearly all.
func (v *View) differences(want hub.Desired, items []item) (wants, has []hub.Object) {
	wants, has = v.tables(want)
	// The kernel does not know spoke ids: they come from the want where it has the mark.
	spokes := make(map[string]hub.SpokeID)
	for _, it := range items {
		if it.set == "out" {
			spokes[it.key] = it.unit.Spoke
		}
	}
	object := func(e stored) hub.Object {
		u := unitOf(e.element, spokes)
		shared := u.Kind == hub.UnitBase || u.Kind == hub.UnitEgress
		return hub.Object{Key: e.object, Value: e.value, Unit: u, Hold: shared && want.Base.Hold}
	}
	count := v.state.elements.len()
	wants = slices.Grow(wants, max(0, len(items)-count))
	met := 0
	for _, it := range items {
		e, ok := v.state.elements.get(it.object)
		if ok {
			met++
		}
		if ok && e.value == it.value {
			continue
		}
		wants = append(wants, hub.Object{Key: it.object, Value: it.value, Unit: it.unit, Hold: it.hold})
		if ok {
			has = append(has, object(e))
		}
	}
	if met < count {
		known := make(map[string]bool, len(items))
		for _, it := range items {
			known[it.object] = true
		}
		v.state.elements.all(func(e stored) {
			if !known[e.object] {
				has = append(has, object(e))
			}
		})
	}
	return wants, append(has, v.staleFlows(items)...)
}

// tables are the two tables, as they are wanted and as they are. What is bound to a living
// process (the keep table, and being the owner of a table that persists) is no business of
// one that ends after its pass: it would have to be made again and again.
func (v *View) tables(want hub.Desired) (wants, has []hub.Object) {
	object := func(name, value string) hub.Object {
		return hub.Object{Key: "table inet " + name, Value: value, Unit: baseUnit, Hold: want.Base.Hold}
	}
	mode := v.mode(want).Ownership
	wants = append(wants, object(v.table, skeletonValue(v.shape(want), mode)))
	if mode == hub.OwnershipPlain && v.abilities.own && !v.once {
		wants = append(wants, object(keepName(v.table), keepValue))
	}
	if v.state.table.exists {
		has = append(has, object(v.table, v.tableValue()))
	}
	if k := v.state.keep; k.exists && !v.once {
		value := keepValue
		if k.owner != v.port {
			value = fmt.Sprintf("owned by netlink port %d", k.owner)
		}
		has = append(has, object(keepName(v.table), value))
	}
	return wants, has
}

// staleFlows are the marks in conntrack that belong to no wanted spoke.
func (v *View) staleFlows(items []item) []hub.Object {
	if len(v.state.flows) == 0 {
		return nil
	}
	live := make(map[string]bool)
	for _, it := range items {
		if it.set == "out" {
			live[it.key] = true
		}
	}
	var out []hub.Object
	for _, m := range v.state.flows {
		if mark := markText(m); !live[mark] {
			out = append(out, hub.Object{Key: flowsPrefix + mark, Value: "conntrack entries of a spoke that is no more",
				Unit: hub.Unit{Kind: hub.UnitSpoke}})
		}
	}
	return out
}

const flowsPrefix = "flows "

// tableValue is skeletonValue when everything is right.
func (v *View) tableValue() string {
	t := v.state.table
	parts := []string{t.note}
	switch {
	case t.flags == 0:
		parts = append(parts, string(hub.OwnershipPlain))
	case t.flags == tableFlags(hub.OwnershipPersist) && t.owner == v.port, v.once && t.flags == tablePersist:
		parts = append(parts, string(hub.OwnershipPersist))
	case t.flags&tableOwner != 0 && t.owner != 0:
		parts = append(parts, fmt.Sprintf("owned by netlink port %d", t.owner))
	default:
		parts = append(parts, fmt.Sprintf("flags %#x without an owner", t.flags))
	}
	if v.state.damage != "" {
		parts = append(parts, v.state.damage)
	}
	return strings.Join(parts, ", ")
}

// unitOf says what an element belongs to.
func unitOf(e element, spokes map[string]hub.SpokeID) hub.Unit {
	switch e.set {
	case "address4":
		return hub.Unit{Kind: hub.UnitEgress, Egress: hub.EgressID(e.key)}
	case "out", "back":
		return hub.Unit{Kind: hub.UnitSpoke, Spoke: spokes[e.key]}
	case "spokes4":
		p, err := netip.ParsePrefix(e.key)
		if err != nil {
			p = netip.Prefix{} // somebody's range
		}
		return hub.Unit{Kind: hub.UnitPrefix, Spoke: spokes[e.data], Prefix: p}
	}
	return baseUnit
}
