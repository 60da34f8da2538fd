package ec2sim

import "slices"

// routeTargets are the parameters that name a route's target, exactly one of which
// a request has. The kinds say which ids they take.
var routeTargets = []struct {
	param string
	kinds []string
}{
	{"GatewayId", []string{"igw", "vgw", "local"}}, {"NatGatewayId", []string{"nat"}},
	{"TransitGatewayId", []string{"tgw"}}, {"NetworkInterfaceId", []string{"eni"}},
	{"InstanceId", []string{"i"}}, {"VpcPeeringConnectionId", []string{"pcx"}},
}

// routeTarget reads the target of a route request.
func (c *call) routeTarget() (string, error) {
	target := ""
	if c.p.is("LocalTarget", false) {
		target = TargetLocal
	}
	for _, t := range routeTargets {
		id := c.p.get(t.param)
		if id == "" {
			continue
		}
		if target != "" {
			return "", refuse("InvalidParameterCombination", "Only one target of a route may be given")
		}
		if !slices.Contains(t.kinds, idPrefix(id)) {
			return "", refuse("InvalidGatewayID.NotFound", "The gateway ID '%s' does not exist", id)
		}
		target = id
	}
	if target == "" {
		return "", refuse("InvalidParameterCombination", "The request must contain exactly one route target")
	}
	if idPrefix(target) == "i" {
		return c.instanceTarget(target)
	}
	return target, nil
}

// instanceTarget is the interface of an instance, if it has exactly one.
func (c *call) instanceTarget(id string) (string, error) {
	in, err := c.ownInstance(id)
	if err != nil {
		return "", err
	}
	list := sorted(c.st.interfaces, func(e eni) bool { return e.instance == in.id })
	if len(list) != 1 {
		return "", refuse("InvalidInstanceID", "There are multiple interfaces attached to instance '%s'. Please specify an interface ID for the operation instead.", id)
	}
	return list[0].id, nil
}

// routeRequest reads what CreateRoute and ReplaceRoute have in common.
func (c *call) routeRequest() (t table, dest string, target string, err error) {
	if t, err = c.ownTable(c.p.get("RouteTableId")); err != nil {
		return t, "", "", err
	}
	if dest, err = c.destination(); err != nil {
		return t, "", "", err
	}
	target, err = c.routeTarget()
	return t, dest, target, err
}

// destination is the name of the parameter that holds the destination.
func (c *call) destination() (string, error) {
	v4, v6 := c.p.has("DestinationCidrBlock"), c.p.has("DestinationIpv6CidrBlock")
	switch {
	case v4 && v6:
		return "", refuse("InvalidParameterCombination", "The parameter destinationCidrBlock cannot be used with the parameter destinationIpv6CidrBlock")
	case v6:
		return "DestinationIpv6CidrBlock", nil
	case v4:
		return "DestinationCidrBlock", nil
	}
	return "", refuse("MissingParameter", "The request must contain the parameter destinationCidrBlock or destinationIpv6CidrBlock")
}

func (c *call) createRoute() ([]node, error) {
	t, dest, target, err := c.routeRequest()
	if err != nil {
		return nil, err
	}
	quota := c.s.faultNumber(FaultQuotaRoutes, c.s.quotas.RoutesPerTable)
	if err := c.st.createRoute(t, c.p.prefix(dest), target, c.now, quota); err != nil {
		return nil, err
	}
	return done(), nil
}

func (c *call) replaceRoute() ([]node, error) {
	t, dest, target, err := c.routeRequest()
	if err != nil {
		return nil, err
	}
	if err := c.st.replaceRoute(t, c.p.prefix(dest), target); err != nil {
		return nil, err
	}
	return done(), nil
}

func (c *call) deleteRoute() ([]node, error) {
	t, err := c.ownTable(c.p.get("RouteTableId"))
	if err != nil {
		return nil, err
	}
	dest, err := c.destination()
	if err != nil {
		return nil, err
	}
	if err := c.st.deleteRoute(t, c.p.prefix(dest)); err != nil {
		return nil, err
	}
	return done(), nil
}
