package ec2sim

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// AddAccount makes an account and returns the key of its administrator; the same
// id gives the same key in every Sim, and again if asked twice.
func (s *Sim) AddAccount(id, name string) (accessKey, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.iam.accounts[id]
	if !ok {
		a = account{id, name, "AKIA" + derive(16, "key", id), derive(40, "secret", id)}
		s.iam.accounts[id] = a
		s.iam.keys[a.key] = principal{
			account: id, arn: "arn:aws:iam::" + id + ":user/admin",
			userID: "AIDA" + derive(16, "user", id), secret: a.secret,
		}
	}
	return a.key, a.secret
}

// AddRole makes or replaces a role and returns its ARN. Sessions of a replaced role
// obey the new policy at once.
func (s *Sim) AddRole(spec RoleSpec) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.iam.accounts[spec.Account]; !ok {
		return "", fmt.Errorf("role %s: no account %s", spec.Name, spec.Account)
	}
	if spec.Allow == nil {
		spec.Allow = []string{"*"}
	}
	spec.MaxSession = orElse(spec.MaxSession, time.Hour)
	r := role{RoleSpec: spec, arn: roleARN(spec.Account, spec.Name), id: "AROA" + derive(16, "role", spec.Account, spec.Name)}
	s.iam.roles[r.arn] = r
	return r.arn, nil
}

// RemoveRole deletes a role: nobody can assume it, and its sessions may do nothing.
func (s *Sim) RemoveRole(arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.iam.roles, arn)
}

// seed runs f on a copy of the state and keeps the copy if f succeeds.
func (s *Sim) seed(what string, f func(st *state, now time.Time) (string, error)) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.catchUp()
	st := s.st.clone()
	id, err := f(st, now)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	s.st = st
	s.touched(now)
	return id, nil
}

// find gets an object that a seed refers to.
func find[V any](m map[string]V, id, prefix string) (V, error) {
	v, ok := m[id]
	if !ok {
		return v, notFound(id, prefix)
	}
	return v, nil
}

func (st *state) name(h home, id, name string) {
	if name != "" {
		st.tags[tagKey{h, id}] = []tag{{"Name", name}}
	}
}

// AddVPC makes a VPC with its main table, default group and default ACL.
func (s *Sim) AddVPC(spec VPCSpec) (string, error) {
	return s.seed("vpc "+spec.ID, func(st *state, now time.Time) (string, error) {
		h := home{spec.Account, spec.Region}
		if _, ok := s.iam.accounts[h.account]; !ok || h.region == "" {
			return "", fmt.Errorf("no account %q, or no region %q", h.account, h.region)
		}
		v, err := st.makeVPC(h, spec, now)
		st.name(h, v.id, spec.Name)
		return v.id, err
	})
}

// AddSubnet makes a subnet.
func (s *Sim) AddSubnet(spec SubnetSpec) (string, error) {
	return s.seed("subnet "+spec.ID, func(st *state, _ time.Time) (string, error) {
		v, err := find(st.vpcs, spec.VPC, "vpc")
		if err != nil {
			return "", err
		}
		sn, err := st.makeSubnet(v, spec)
		st.name(v.home, sn.id, spec.Name)
		return sn.id, err
	})
}

// AddRouteTable makes a route table and associates it.
func (s *Sim) AddRouteTable(spec TableSpec) (string, error) {
	return s.seed("route table "+spec.ID, func(st *state, now time.Time) (string, error) {
		v, err := find(st.vpcs, spec.VPC, "vpc")
		if err != nil {
			return "", err
		}
		t, err := st.makeTable(v, spec.ID, now)
		if err != nil {
			return "", err
		}
		for _, id := range spec.Subnets {
			if sn, err := find(st.subnets, id, "subnet"); err != nil || sn.vpc != v.id {
				return "", fmt.Errorf("subnet %s is not of VPC %s", id, v.id)
			}
			st.linkTable(t, id)
		}
		if spec.Main {
			l := st.tableLinks[v.mainLink]
			l.table = t.id
			st.tableLinks[l.id] = l
		}
		st.name(v.home, t.id, spec.Name)
		return t.id, nil
	})
}

// AddRoute adds a static route as CreateRoute would; target is the id of a gateway,
// interface, instance or peering.
func (s *Sim) AddRoute(tableID string, dest netip.Prefix, target string) error {
	_, err := s.seed("route "+dest.String()+" in "+tableID, func(st *state, now time.Time) (string, error) {
		t, err := find(st.tables, tableID, "rtb")
		if err != nil {
			return "", err
		}
		if e, ok := st.primary(target); ok {
			target = e.id
		}
		return "", st.createRoute(t, dest, target, now, s.quotas.RoutesPerTable)
	})
	return err
}

// AddPropagatedRoute adds a route that a virtual private gateway announces.
func (s *Sim) AddPropagatedRoute(tableID string, dest netip.Prefix, vgw string) error {
	_, err := s.seed("propagated route in "+tableID, func(st *state, now time.Time) (string, error) {
		t, err := find(st.tables, tableID, "rtb")
		if err != nil {
			return "", err
		}
		if err := st.usableTarget(t, vgw); err != nil {
			return "", err
		}
		t.routes = with(t.routes, route{dest.Masked(), vgw, originPropagated, now})
		if !slices.Contains(t.vgws, vgw) {
			t.vgws = with(t.vgws, vgw)
		}
		st.tables[t.id] = t
		return "", nil
	})
	return err
}

// AddInternetGateway makes an internet gateway and attaches it.
func (s *Sim) AddInternetGateway(id, vpcID string) (string, error) {
	return s.AddGateway(GatewaySpec{ID: id, VPC: vpcID})
}

// AddGateway makes a gateway and attaches it. Kinds other than igw exist only as
// targets of routes.
func (s *Sim) AddGateway(spec GatewaySpec) (string, error) {
	kind := orElse(spec.Kind, "igw")
	return s.seed(kind+" "+spec.ID, func(st *state, _ time.Time) (string, error) {
		if !slices.Contains([]string{"igw", "nat", "tgw", "vgw"}, kind) {
			return "", fmt.Errorf("kind must be igw, nat, tgw or vgw")
		}
		v, err := find(st.vpcs, spec.VPC, "vpc")
		if err != nil {
			return "", err
		}
		id, err := st.idOr(spec.ID, kind)
		if err != nil {
			return "", err
		}
		st.gateways[id] = gateway{id, v.home, v.id}
		st.name(v.home, id, spec.Name)
		return id, nil
	})
}

// AddSecurityGroup makes a security group.
func (s *Sim) AddSecurityGroup(spec GroupSpec) (string, error) {
	return s.seed("security group "+spec.ID, func(st *state, _ time.Time) (string, error) {
		v, err := find(st.vpcs, spec.VPC, "vpc")
		if err != nil {
			return "", err
		}
		spec.Description = orElse(spec.Description, spec.Name)
		g, err := st.makeGroup(v, spec)
		st.name(v.home, g.id, spec.Name)
		return g.id, err
	})
}

// AddACL makes a network ACL and associates it. It denies what no entry allows.
func (s *Sim) AddACL(spec ACLSpec) (string, error) {
	return s.seed("network ACL "+spec.ID, func(st *state, _ time.Time) (string, error) {
		v, err := find(st.vpcs, spec.VPC, "vpc")
		if err != nil {
			return "", err
		}
		a, err := st.makeACL(v, spec.ID, false)
		if err != nil {
			return "", err
		}
		for _, e := range spec.Ingress {
			a.entries = append(a.entries, entryOf(e, false))
		}
		for _, e := range spec.Egress {
			a.entries = append(a.entries, entryOf(e, true))
		}
		st.acls[a.id] = a
		for _, id := range spec.Subnets {
			sn, err := find(st.subnets, id, "subnet")
			if err != nil || sn.vpc != v.id {
				return "", fmt.Errorf("subnet %s is not of VPC %s", id, v.id)
			}
			sn.acl, sn.aclLink = a.id, st.newID("aclassoc")
			st.subnets[id] = sn
		}
		st.name(v.home, a.id, spec.Name)
		return a.id, nil
	})
}

func entryOf(e NetACLEntry, egress bool) aclEntry {
	out := aclEntry{number: e.Number, egress: egress, allow: e.Allow, protocol: fmt.Sprint(e.Protocol), prefix: e.Prefix.Masked()}
	if e.Protocol == protoICMP || e.Protocol == protoICMPv6 {
		out.icmpType, out.icmpTo = e.FromPort, e.ToPort
	} else {
		out.from, out.to = e.FromPort, e.ToPort
	}
	return out
}

// AddPeering makes a peering, active at once unless the spec says Pending. It obeys
// the rules: an overlap is an error here.
func (s *Sim) AddPeering(spec PeeringSpec) (string, error) {
	return s.seed("peering "+spec.ID, func(st *state, now time.Time) (string, error) {
		id, err := st.idOr(spec.ID, "pcx")
		if err != nil {
			return "", err
		}
		r, err := find(st.vpcs, spec.Requester, "vpc")
		if err != nil {
			return "", err
		}
		a, err := find(st.vpcs, spec.Accepter, "vpc")
		if err != nil {
			return "", err
		}
		p := peering{
			id: id, created: now, expires: now.Add(s.delays.Expiry),
			requester: peerSide{home: r.home, vpc: r.id}, accepter: peerSide{home: a.home, vpc: a.id},
		}
		if !st.compatible(p) {
			return "", fmt.Errorf("%s", strings.ToLower(failedMessage))
		}
		p = p.set(peerActive, "Active", now)
		if spec.Pending {
			p = p.set(peerPending, "Pending Acceptance by "+a.account, now)
		}
		st.peerings[id] = p
		return id, nil
	})
}

// Tag sets a tag as an account in a region sees it.
func (s *Sim) Tag(account, region, resource, key, value string) error {
	_, err := s.seed("tag "+resource, func(st *state, _ time.Time) (string, error) {
		st.setTags(home{account, region}, resource, []tag{{key, value}})
		return "", nil
	})
	return err
}
