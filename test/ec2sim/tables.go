package ec2sim

func (c *call) ownTable(id string) (table, error) {
	return own(c.st.tables, id, "rtb", c.home, func(v table) home { return v.home })
}

func (c *call) createTable() ([]node, error) {
	v, err := c.ownVPC(c.p.get("VpcId"))
	if err != nil {
		return nil, err
	}
	tags, err := c.tagSpec("route-table")
	if err != nil {
		return nil, err
	}
	if len(sorted(c.st.tables, func(t table) bool { return t.vpc == v.id })) >= c.s.quotas.TablesPerVPC {
		return nil, refuse("RouteTableLimitExceeded", "The maximum number of route tables has been reached.")
	}
	t, err := c.st.makeTable(v, "", c.now)
	if err != nil {
		return nil, err
	}
	c.addTags(t.id, tags)
	return []node{c.tableItem("routeTable", t)}, nil
}

func (c *call) deleteTable() ([]node, error) {
	t, err := c.ownTable(c.p.get("RouteTableId"))
	if err != nil {
		return nil, err
	}
	for _, l := range c.st.tableLinks {
		if l.table == t.id {
			return nil, refuse("DependencyViolation", "The routeTable '%s' has dependencies and cannot be deleted.", t.id)
		}
	}
	delete(c.st.tables, t.id)
	delete(c.st.tags, tagKey{c.home, t.id})
	return done(), nil
}

func (c *call) associateTable() ([]node, error) {
	t, err := c.ownTable(c.p.get("RouteTableId"))
	if err != nil {
		return nil, err
	}
	var l tableLink
	switch {
	case c.p.has("SubnetId") == c.p.has("GatewayId"):
		return nil, refuse("InvalidParameterCombination", "Exactly one of SubnetId and GatewayId is needed.")
	case c.p.has("GatewayId"):
		l, err = c.linkGateway(t)
	default:
		l, err = c.linkSubnet(t)
	}
	if err != nil {
		return nil, err
	}
	return []node{txt("associationId", l.id), el("associationState", txt("state", "associated"))}, nil
}

func (c *call) linkSubnet(t table) (tableLink, error) {
	sn, err := c.ownSubnet(c.p.get("SubnetId"))
	if err != nil {
		return tableLink{}, err
	}
	if sn.vpc != t.vpc {
		return tableLink{}, refuse("InvalidParameterValue", "Route table %s and subnet %s belong to different networks", t.id, sn.id)
	}
	for _, l := range c.st.tableLinks {
		if l.subnet == sn.id {
			return tableLink{}, refuse("Resource.AlreadyAssociated", "the specified association for route table %s conflicts with an existing association", t.id)
		}
	}
	return c.st.linkTable(t, sn.id), nil
}

// linkGateway makes an edge table; one that leads to a peering cannot be one.
func (c *call) linkGateway(t table) (tableLink, error) {
	g, err := c.ownGateway(c.p.get("GatewayId"))
	if err != nil {
		return tableLink{}, err
	}
	if g.vpc != t.vpc {
		return tableLink{}, refuse("InvalidParameterValue", "route table %s and network gateway %s belong to different networks", t.id, g.id)
	}
	for _, r := range t.routes {
		if idPrefix(r.target) == TargetPeering {
			return tableLink{}, refuse("InvalidParameterValue", "Route table %s has a route to %s and cannot be associated with a gateway.", t.id, r.target)
		}
	}
	l := tableLink{id: c.st.newID("rtbassoc"), table: t.id, vpc: t.vpc, gateway: g.id}
	c.st.tableLinks[l.id] = l
	return l, nil
}

func (c *call) ownLink() (tableLink, error) {
	id := c.p.get("AssociationId")
	l, ok := c.st.tableLinks[id]
	if !ok || c.st.tables[l.table].home != c.home {
		return l, notFound(id, "rtbassoc")
	}
	return l, nil
}

func (c *call) disassociateTable() ([]node, error) {
	l, err := c.ownLink()
	if err != nil {
		return nil, err
	}
	if l.main {
		return nil, refuse("InvalidParameterValue", "cannot disassociate the main route table association %s", l.id)
	}
	delete(c.st.tableLinks, l.id)
	return done(), nil
}

// replaceTableLink moves an association, also the main one, to another table. The
// association gets a new id.
func (c *call) replaceTableLink() ([]node, error) {
	l, err := c.ownLink()
	if err != nil {
		return nil, err
	}
	t, err := c.ownTable(c.p.get("RouteTableId"))
	if err != nil {
		return nil, err
	}
	if t.vpc != l.vpc {
		return nil, refuse("InvalidParameterValue", "Route table %s belongs to another network than association %s", t.id, l.id)
	}
	delete(c.st.tableLinks, l.id)
	l.id, l.table = c.st.newID("rtbassoc"), t.id
	c.st.tableLinks[l.id] = l
	if l.main {
		v := c.st.vpcs[l.vpc]
		v.mainLink = l.id
		c.st.vpcs[v.id] = v
	}
	return []node{txt("newAssociationId", l.id), el("associationState", txt("state", "associated"))}, nil
}
