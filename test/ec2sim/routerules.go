package ec2sim

import (
	"net/netip"
	"slices"
	"time"
)

// What no route may lead to (ec2.md section 3).
var unroutable = []netip.Prefix{netip.MustParsePrefix("169.254.168.0/22"), netip.MustParsePrefix("fd00:ec2::/32")}

// local is a table's route for a block of its own VPC.
func local(p netip.Prefix, now time.Time) route {
	return route{dest: p, target: TargetLocal, origin: originTable, created: now}
}

// addLocal puts a block's local route into every table of a VPC.
func (st *state) addLocal(vpcID string, p netip.Prefix, now time.Time) {
	for _, t := range sorted(st.tables, func(t table) bool { return t.vpc == vpcID }) {
		t.routes = slices.Insert(with(t.routes), 0, local(p, now))
		slices.SortStableFunc(t.routes, localFirst)
		st.tables[t.id] = t
	}
}

// dropLocal takes a block's local route out of every table of a VPC.
func (st *state) dropLocal(vpcID string, p netip.Prefix) {
	for _, t := range sorted(st.tables, func(t table) bool { return t.vpc == vpcID }) {
		t.routes = without(t.routes, func(r route) bool { return r.target == TargetLocal && r.dest == p })
		st.tables[t.id] = t
	}
}

func localFirst(a, b route) int {
	switch {
	case a.target == TargetLocal && b.target != TargetLocal:
		return -1
	case b.target == TargetLocal && a.target != TargetLocal:
		return 1
	case a.target == TargetLocal:
		return comparePrefix(a.dest, b.dest)
	}
	return 0
}

// findRoute is the index of a table's route for a destination that DeleteRoute and
// ReplaceRoute mean: not a propagated one. -1: none.
func (t table) findRoute(dest netip.Prefix) int {
	return slices.IndexFunc(t.routes, func(r route) bool { return r.dest == dest && r.origin != originPropagated })
}

// createRoute adds a static route, or says why AWS refuses it. The same route
// again is a success without effect.
func (st *state) createRoute(t table, dest netip.Prefix, target string, now time.Time, quota int) error {
	if target == TargetLocal {
		return refuse("InvalidParameterValue", "A route to local cannot be created; it comes with a CIDR block of the VPC.")
	}
	if err := st.routable(t, dest, target); err != nil {
		return err
	}
	if i := t.findRoute(dest); i >= 0 {
		if t.routes[i].target == target {
			return nil
		}
		return refuse("RouteAlreadyExists", "The route identified by %s already exists.", dest)
	}
	static := 0
	for _, r := range t.routes {
		if r.origin == originRoute && r.dest.Addr().Is4() == dest.Addr().Is4() {
			static++
		}
	}
	if static >= quota {
		return refuse("RouteLimitExceeded", "The maximum number of routes has been reached.")
	}
	t.routes = with(t.routes, route{dest, target, originRoute, now})
	st.tables[t.id] = t
	return nil
}

// replaceRoute changes the target of a static or local route.
func (st *state) replaceRoute(t table, dest netip.Prefix, target string) error {
	i := t.findRoute(dest)
	if i < 0 {
		return refuse("InvalidParameterValue", "There is no route defined for '%s' in the route table. Use CreateRoute instead.", dest)
	}
	if target == TargetLocal {
		// Back to what it was: only a block of the VPC can be local.
		if t.routes[i].origin != originTable {
			return refuse("InvalidParameterValue", "The destination %s is no CIDR block of the VPC and cannot be local.", dest)
		}
	} else if err := st.routable(t, dest, target); err != nil {
		return err
	}
	list := with(t.routes)
	list[i].target = target
	t.routes = list
	st.tables[t.id] = t
	return nil
}

// deleteRoute removes a static route.
func (st *state) deleteRoute(t table, dest netip.Prefix) error {
	i := t.findRoute(dest)
	if i < 0 {
		return refuse("InvalidRoute.NotFound", "no route with destination-cidr-block %s in route table %s", dest, t.id)
	}
	if t.routes[i].origin == originTable {
		return refuse("InvalidParameterValue", "cannot remove local route %s in route table %s", dest, t.id)
	}
	t.routes = slices.Delete(with(t.routes), i, i+1)
	st.tables[t.id] = t
	return nil
}

// routable checks a destination and its target against the VPC.
func (st *state) routable(t table, dest netip.Prefix, target string) error {
	for _, p := range unroutable {
		if p.Addr().Is4() == dest.Addr().Is4() && p.Bits() <= dest.Bits() && p.Contains(dest.Addr()) {
			return refuse("InvalidParameterValue", "The destination CIDR block %s is reserved and cannot be routed.", dest)
		}
	}
	if err := st.usableTarget(t, target); err != nil {
		return err
	}
	for _, r := range t.routes {
		if r.origin != originTable || r.dest.Bits() > dest.Bits() || !r.dest.Contains(dest.Addr()) {
			continue
		}
		kind := idPrefix(target)
		if kind != TargetENI && kind != "nat" {
			return refuse("InvalidParameterValue",
				"Route target is not supported. This route only supports interface and instance targets.")
		}
		if r.dest != dest && !st.isSubnet(t.vpc, dest) {
			return refuse("InvalidParameterValue",
				"The destination CIDR block %s is more specific than %s but matches no subnet of the VPC.", dest, r.dest)
		}
	}
	for _, l := range st.tableLinks {
		if l.table == t.id && l.gateway != "" && idPrefix(target) == TargetPeering {
			return refuse("InvalidParameterValue", "Route table %s is associated with a gateway and cannot have a route to %s.", t.id, target)
		}
	}
	return nil
}

func (st *state) isSubnet(vpcID string, p netip.Prefix) bool {
	for _, sn := range st.subnets {
		if sn.vpc == vpcID && sn.prefix == p {
			return true
		}
	}
	return false
}

// usableTarget checks that a target exists, is the table's account's to use, and
// belongs to the table's VPC.
func (st *state) usableTarget(t table, target string) error {
	elsewhere := refuse("InvalidParameterValue", "route table %s and %s belong to different networks", t.id, target)
	switch idPrefix(target) {
	case TargetPeering:
		p, ok := st.peerings[target]
		side, mine := p.side(t.home)
		if !ok || !mine || !p.live() || p.status == peerInitiating && p.requester.home != t.home {
			return refuse("InvalidVpcPeeringConnectionID.NotFound", "The vpcPeeringConnection ID '%s' does not exist", target)
		}
		if side.vpc != t.vpc && p.requester.vpc != t.vpc {
			return elsewhere
		}
	case TargetENI:
		e, ok := st.interfaces[target]
		if !ok || e.home != t.home {
			return refuse("InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '%s' does not exist", target)
		}
		if e.vpc != t.vpc {
			return elsewhere
		}
	default:
		g, ok := st.gateways[target]
		if !ok || g.home != t.home && idPrefix(target) != "tgw" {
			return refuse(notFoundCode[idPrefix(target)], "The gateway ID '%s' does not exist", target)
		}
		if g.vpc != t.vpc && idPrefix(target) != "tgw" {
			return elsewhere
		}
	}
	return nil
}
