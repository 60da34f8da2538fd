package ec2sim

import "slices"

func (c *call) describeTables() ([]node, error) {
	links := func(f func(tableLink) string) func(table) []string {
		return func(t table) []string {
			var out []string
			for _, l := range c.linksOf(t) {
				out = append(out, f(l))
			}
			return out
		}
	}
	routes := func(f func(route) string) func(table) []string {
		return func(t table) []string {
			var out []string
			for _, r := range c.visibleRoutes(t) {
				if v := f(r); v != "" {
					out = append(out, v)
				}
			}
			return out
		}
	}
	target := func(kinds ...string) func(table) []string {
		return routes(func(r route) string {
			if slices.Contains(kinds, idPrefix(r.target)) {
				return r.target
			}
			return ""
		})
	}
	family := func(v4 bool) func(table) []string {
		return routes(func(r route) string {
			if r.dest.Addr().Is4() == v4 {
				return r.dest.String()
			}
			return ""
		})
	}
	return describe(c, listing[table]{
		element: "routeTableSet", idParam: "RouteTableId", kind: "rtb", max: 100,
		id:   func(t table) string { return t.id },
		item: func(t table) node { return c.tableItem("", t) },
		filters: map[string]func(table) []string{
			"association.gateway-id":                 links(func(l tableLink) string { return l.gateway }),
			"association.route-table-association-id": links(func(l tableLink) string { return l.id }),
			"association.route-table-id":             links(func(l tableLink) string { return l.table }),
			"association.subnet-id":                  links(func(l tableLink) string { return l.subnet }),
			"association.main": links(func(l tableLink) string {
				if l.main {
					return "true"
				}
				return "false"
			}),
			"owner-id":                          one(func(t table) string { return t.account }),
			"route-table-id":                    one(func(t table) string { return t.id }),
			"vpc-id":                            one(func(t table) string { return t.vpc }),
			"route.destination-cidr-block":      family(true),
			"route.destination-ipv6-cidr-block": family(false),
			"route.gateway-id":                  target("local", "igw", "vgw"),
			"route.instance-id":                 routes(func(r route) string { return c.st.interfaces[r.target].instance }),
			"route.nat-gateway-id":              target("nat"),
			"route.transit-gateway-id":          target("tgw"),
			"route.origin":                      routes(func(r route) string { return r.origin }),
			"route.state":                       routes(c.routeState),
			"route.vpc-peering-connection-id":   target("pcx"),
		},
	}, here(c, c.st.tables, func(t table) home { return t.home }))
}

func (c *call) linksOf(t table) []tableLink {
	return sorted(c.st.tableLinks, func(l tableLink) bool { return l.table == t.id })
}

// visibleRoutes leaves out what the route-lag fault still hides.
func (c *call) visibleRoutes(t table) []route {
	lag := c.s.faultDuration(FaultRouteLag)
	return without(t.routes, func(r route) bool {
		return r.origin == originRoute && lag > 0 && c.now.Before(r.created.Add(lag))
	})
}

func (c *call) routeState(r route) string {
	if c.st.blackhole(r) {
		return "blackhole"
	}
	return "active"
}

func (c *call) tableItem(name string, t table) node {
	return el(name,
		txt("routeTableId", t.id), txt("vpcId", t.vpc), txt("ownerId", t.account),
		set("routeSet", c.visibleRoutes(t), c.routeItem),
		set("associationSet", c.linksOf(t), func(l tableLink) node {
			return el("", txt("routeTableAssociationId", l.id), txt("routeTableId", l.table),
				opt("subnetId", l.subnet), opt("gatewayId", l.gateway), flag("main", l.main),
				el("associationState", txt("state", "associated")))
		}),
		set("propagatingVgwSet", t.vgws, func(id string) node { return el("", txt("gatewayId", id)) }),
		c.tagSet(t.id))
}

func (c *call) routeItem(r route) node {
	dest := "destinationCidrBlock"
	if r.dest.Addr().Is6() {
		dest = "destinationIpv6CidrBlock"
	}
	n := el("", txt(dest, r.dest.String()))
	switch idPrefix(r.target) {
	case TargetPeering:
		n.kids = append(n.kids, txt("vpcPeeringConnectionId", r.target))
	case TargetENI:
		e := c.st.interfaces[r.target]
		n.kids = append(n.kids, txt("networkInterfaceId", r.target), opt("instanceId", e.instance))
		if e.instance != "" {
			n.kids = append(n.kids, txt("instanceOwnerId", e.account))
		}
	case "nat":
		n.kids = append(n.kids, txt("natGatewayId", r.target))
	case "tgw":
		n.kids = append(n.kids, txt("transitGatewayId", r.target))
	default:
		n.kids = append(n.kids, txt("gatewayId", r.target))
	}
	n.kids = append(n.kids, txt("state", c.routeState(r)), txt("origin", r.origin))
	return n
}
