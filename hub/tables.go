package hub

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// tablesByVPC returns the route tables that take peering routes. Tables of gateways do not.
func tablesByVPC(t Topology) map[VPCID][]Table {
	out := make(map[VPCID][]Table)
	for _, table := range t.Tables {
		if !table.Edge {
			out[table.VPC] = append(out[table.VPC], table)
		}
	}
	return out
}

// routes returns the VPC routes that spokes need: on the hub side every prefix toward its
// peering, on the spoke side, where we may see it, the way back to the hub. reaches is how
// many prefixes there are.
func (d *decision) routes(spokes []*spoke, reaches int) []VPCRoute {
	hub := d.topology.Hub
	tables := d.hubTables()
	out := make([]VPCRoute, 0, len(tables)*reaches+len(spokes))
	back := d.returnTo()
	for _, s := range spokes {
		if s.hub || len(s.prefixes) == 0 {
			continue
		}
		for _, t := range tables {
			for _, p := range s.prefixes {
				out = append(out, VPCRoute{Scope: hub.Scope, Table: t, Destination: p, Peering: s.peering.ID, Side: SideHub,
					Spoke: s.id, Unit: Unit{Kind: UnitPrefix, Spoke: s.id, Prefix: p}})
			}
		}
		for _, t := range d.spokeTables(s, back) {
			for _, p := range back {
				out = append(out, VPCRoute{Scope: s.scope, Table: t, Destination: p, Peering: s.peering.ID, Side: SideSpoke,
					Spoke: s.id, Unit: Unit{Kind: UnitSpoke, Spoke: s.id}})
			}
		}
	}
	return out
}

// hubTables returns the tables of the hub VPC that lead to spokes.
func (d *decision) hubTables() []TableID {
	choice := d.policy.HubTables
	if choice.Kind == "" {
		choice.Kind = TablesOwnSubnet
	}
	var subnet SubnetID
	if i, ok := d.device(); ok {
		subnet = i.Subnet
	}
	hub := d.topology.Hub
	tables := d.choose(choice, d.tables[hub.VPC], subnet, "hub")
	if len(tables) == 0 {
		d.report(NoTable, "hub", fmt.Sprintf("no route table of %s is chosen by aws.tables.hub: %s", hub.VPC, choice), Mend(NoTable))
	}
	return tables
}

// spokeTables returns the tables of a spoke that lead back, none when they are not ours to see.
func (d *decision) spokeTables(s *spoke, back []netip.Prefix) []TableID {
	vpc := VPCID(s.id)
	seen := d.tables[vpc]
	if s.account.Role == RoleNone || len(seen) == 0 {
		if s.account.Role == RoleNone || !d.hasSource(s.scope) {
			d.report(OtherSide, s.name, fmt.Sprintf("the route tables of %s (account %s) are not ours to see", vpc, s.scope.Account),
				fmt.Sprintf("ask account %s for a route %s -> %s in the tables of %s, or give hubd a role there", s.scope.Account, joinPrefixes(back), s.peering.ID, vpc))
		}
		return nil
	}
	choice := s.account.SpokeTables
	if choice.Kind == "" {
		choice = d.policy.SpokeTables
	}
	if choice.Kind == "" || choice.Kind == TablesOwnSubnet { // own-subnet means the hub's
		choice.Kind = TablesAll
	}
	tables := d.choose(choice, seen, "", s.name)
	if len(tables) == 0 {
		d.report(NoTable, s.name, fmt.Sprintf("no route table of %s is chosen by tables.spoke: %s", vpc, choice), Mend(NoTable))
	}
	return tables
}

func (d *decision) hasSource(s Scope) bool {
	return slices.ContainsFunc(d.topology.Sources, func(src Source) bool { return src.Scope == s })
}

// choose returns the tables that choice names among those of one VPC.
func (d *decision) choose(choice TableChoice, tables []Table, subnet SubnetID, subject string) []TableID {
	var out []TableID
	switch choice.Kind {
	case TablesAll:
		for _, t := range tables {
			out = append(out, t.ID)
		}
	case TablesOwnSubnet:
		if t, ok := tableOf(tables, subnet); ok {
			out = append(out, t.ID)
		}
	case TablesTag:
		key, value, _ := strings.Cut(choice.Tag, "=")
		for _, t := range tables {
			if got, ok := t.Tags[key]; ok && got == value {
				out = append(out, t.ID)
			}
		}
	case TablesListed:
		for _, id := range choice.Tables {
			if slices.ContainsFunc(tables, func(t Table) bool { return t.ID == id }) {
				out = append(out, id)
			} else if !slices.ContainsFunc(d.topology.Tables, func(t Table) bool { return t.ID == id && !t.Edge }) {
				d.report(NoTable, subject, fmt.Sprintf("route table %s is not there, or belongs to a gateway", id), Mend(NoTable))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// tableOf returns the table that subnet uses: the one it is associated with, else the main one.
func tableOf(tables []Table, subnet SubnetID) (Table, bool) {
	if subnet == "" {
		return Table{}, false
	}
	var main Table
	for _, t := range tables {
		if slices.Contains(t.Subnets, subnet) {
			return t, true
		}
		if t.Main {
			main = t
		}
	}
	return main, main.ID != ""
}

// returnTo returns the destinations that lead back to the hub, as wide as the policy says.
func (d *decision) returnTo() []netip.Prefix {
	i, ok := d.device()
	switch d.policy.ReturnRoute {
	case ReturnVPC:
		var out []netip.Prefix
		for _, p := range sortedPrefixes(d.topology.Hub.Prefixes) {
			if p.Addr().Is4() {
				out = append(out, p)
			}
		}
		return out
	case ReturnAddress:
		if ok && i.Address.IsValid() {
			return []netip.Prefix{netip.PrefixFrom(i.Address, i.Address.BitLen())}
		}
	default:
		if ok && i.SubnetPrefix.IsValid() {
			return []netip.Prefix{i.SubnetPrefix.Masked()}
		}
	}
	return nil
}

// String writes the choice as the config does.
func (c TableChoice) String() string {
	switch c.Kind {
	case TablesTag:
		return "tag:" + c.Tag
	case TablesListed:
		return fmt.Sprint(c.Tables)
	}
	return string(c.Kind)
}

// These two are asked thousands of times in a pass, so nothing is compared that need not be.

func compareReaches(a, b *Reach) int {
	if c := ComparePrefixes(a.Prefix, b.Prefix); c != 0 {
		return c
	}
	return strings.Compare(string(a.Spoke), string(b.Spoke))
}

func compareRoutes(a, b *VPCRoute) int {
	if c := strings.Compare(string(a.Table), string(b.Table)); c != 0 {
		return c
	}
	if c := ComparePrefixes(a.Destination, b.Destination); c != 0 {
		return c
	}
	return strings.Compare(string(a.Peering), string(b.Peering))
}
