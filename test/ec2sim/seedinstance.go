package ec2sim

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// AddInstance makes a running instance with one interface.
func (s *Sim) AddInstance(spec InstanceSpec) (string, error) {
	return s.seed("instance "+spec.ID, func(st *state, now time.Time) (string, error) {
		return st.seedInstance(s, spec, now)
	})
}

// TerminateInstance ends an instance as TerminateInstances does: through
// shutting-down, with its interfaces and addresses released in the end.
func (s *Sim) TerminateInstance(id string) error {
	_, err := s.seed("terminate "+id, func(st *state, now time.Time) (string, error) {
		in, err := find(st.instances, id, "i")
		if err == nil {
			st.terminate(in, now)
		}
		return "", err
	})
	return err
}

// ReplaceInstance ends an instance at once and puts a new one in its place: what an
// auto scaling group does. Empty fields of the spec are taken from the old instance
// (subnet, private and Elastic address, groups, role, checks); id, interface and
// hardware address are new.
func (s *Sim) ReplaceInstance(id string, spec InstanceSpec) (string, error) {
	return s.seed("replace "+id, func(st *state, now time.Time) (string, error) {
		in, err := find(st.instances, id, "i")
		if err != nil {
			return "", err
		}
		old, ok := st.primary(id)
		if !ok {
			return "", fmt.Errorf("no primary interface")
		}
		spec.Subnet = orElse(spec.Subnet, in.subnet)
		spec.Address = orElse(spec.Address, old.addrs[0].addr)
		spec.Role = orElse(spec.Role, in.role)
		spec.HopLimit = orElse(spec.HopLimit, in.hopLimit)
		if spec.Groups == nil {
			spec.Groups = old.groups
		}
		for _, ip := range st.addresses {
			if ip.eni == old.id && ip.private == old.addrs[0].addr {
				spec.Public = orElse(spec.Public, ip.public)
			}
		}
		in.state, in.since = instanceStopping, now
		in = st.stepInstance(in, now)
		st.instances[id] = in
		return st.seedInstance(s, spec, now)
	})
}

func (st *state) seedInstance(s *Sim, spec InstanceSpec, now time.Time) (string, error) {
	sn, err := find(st.subnets, spec.Subnet, "subnet")
	if err != nil {
		return "", err
	}
	id, err := st.idOr(spec.ID, "i")
	if err != nil {
		return "", err
	}
	if spec.Role != "" {
		if _, ok := s.iam.roles[roleARN(sn.account, spec.Role)]; !ok {
			return "", fmt.Errorf("no role %s in account %s", spec.Role, sn.account)
		}
	}
	e, err := st.makeInterface(sn, spec.Interface, spec.Address, spec.Groups, s.quotas)
	if err != nil {
		return "", err
	}
	for _, a := range spec.Secondary {
		a, err := st.freeAddress(sn, a)
		if err != nil {
			return "", err
		}
		e.addrs = with(e.addrs, privateAddr{addr: a})
		st.interfaces[e.id] = e
	}
	e.v6 = slices.Clone(spec.IPv6)
	e.sourceDestCheck = !spec.NoSourceDestCheck
	e.instance, e.attachment, e.attached = id, st.newID("eni-attach"), now
	if spec.Public.IsValid() {
		if err := st.seedElastic(e, spec.Public); err != nil {
			return "", err
		}
	} else if sn.publicIP {
		e.addrs = with(e.addrs)
		e.addrs[0].public = st.newPublic()
	}
	st.interfaces[e.id] = e
	st.instances[id] = instance{
		id: id, home: sn.home, vpc: sn.vpc, subnet: sn.id, zone: sn.zone,
		state: instanceRunning, since: now, launched: now, role: spec.Role,
		image: "ami-0123456789abcdef0", kind: "t4g.nano", hopLimit: orElse(spec.HopLimit, 1),
	}
	st.name(sn.home, id, spec.Name)
	return id, nil
}

// seedElastic gives an interface an Elastic address, made if there is none yet.
func (st *state) seedElastic(e eni, public netip.Addr) error {
	a := address{id: "", home: e.home, public: public}
	for _, o := range st.addresses {
		if o.public == public {
			a = o
		}
	}
	if a.home != e.home || a.eni != "" {
		return fmt.Errorf("public address %s is used elsewhere", public)
	}
	if a.id == "" {
		a.id = st.newID("eipalloc")
	}
	a.link, a.eni, a.private = st.newID("eipassoc"), e.id, e.addrs[0].addr
	st.addresses[a.id] = a
	return nil
}

// makeInterface makes an interface in a subnet, not attached.
func (st *state) makeInterface(sn subnet, id string, asked netip.Addr, groups []string, q Quotas) (eni, error) {
	id, err := st.idOr(id, "eni")
	if err != nil {
		return eni{}, err
	}
	a, err := st.freeAddress(sn, asked)
	if err != nil {
		return eni{}, err
	}
	if len(groups) == 0 {
		groups = []string{st.vpcs[sn.vpc].defaults}
	}
	if err := st.usableGroups(sn.vpc, groups, q); err != nil {
		return eni{}, err
	}
	e := eni{
		id: id, home: sn.home, vpc: sn.vpc, subnet: sn.id, zone: sn.zone, mac: macOf(id),
		addrs: []privateAddr{{addr: a}}, groups: slices.Clone(groups), sourceDestCheck: true,
	}
	st.interfaces[id] = e
	return e, nil
}

func (st *state) usableGroups(vpcID string, groups []string, q Quotas) error {
	if len(groups) > q.GroupsPerInterface {
		return refuse("SecurityGroupsPerInterfaceLimitExceeded", "The maximum number of security groups per interface has been reached.")
	}
	for _, id := range groups {
		if g, ok := st.groups[id]; !ok || g.vpc != vpcID {
			return refuse("InvalidGroup.NotFound", "The security group '%s' does not exist in VPC '%s'", id, vpcID)
		}
	}
	return nil
}

// terminate begins the end of an instance.
func (st *state) terminate(in instance, now time.Time) {
	if in.state == instancePending || in.state == instanceRunning {
		in.state, in.since = instanceStopping, now
		st.instances[in.id] = in
	}
}

// newPublic is a public address that nobody has, from TEST-NET-3 and then TEST-NET-2.
func (st *state) newPublic() netip.Addr {
	used := map[netip.Addr]bool{}
	for _, a := range st.addresses {
		used[a.public] = true
	}
	for _, e := range st.interfaces {
		for _, a := range e.addrs {
			used[a.public] = true
		}
	}
	a := netip.MustParseAddr("203.0.113.1")
	for used[a] {
		a = a.Next()
		if a == netip.MustParseAddr("203.0.113.255") {
			a = netip.MustParseAddr("198.51.100.1")
		}
	}
	return a
}

// setTags adds and replaces tags of a resource as one account and region sees them.
func (st *state) setTags(h home, resource string, add []tag) {
	k := tagKey{h, resource}
	list := st.tags[k]
	for _, t := range add {
		list = with(without(list, func(o tag) bool { return o.key == t.key }), t)
	}
	slices.SortFunc(list, func(a, b tag) int { return strings.Compare(a.key, b.key) })
	st.tags[k] = list
}
