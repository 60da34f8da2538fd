package ec2sim

import "time"

// advance moves every object whose time has come and says when the next one's
// comes (zero: never). After a jump of the clock an object takes all its steps.
func (st *state) advance(now time.Time, d Delays) (changed bool, next time.Time) {
	later := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for id, p := range st.peerings {
		for {
			due := p.due(d)
			if due.After(now) {
				later(due)
				st.peerings[id] = p
				break
			}
			changed = true
			if p.terminal() {
				st.forgetPeering(p)
				break
			}
			p = st.stepPeering(p, due, d)
		}
	}
	for id, v := range st.vpcs {
		for i := 0; i < len(v.cidrs); i++ {
			c := v.cidrs[i]
			if c.state == cidrAssociated {
				continue
			}
			due := c.since.Add(d.CIDR)
			if due.After(now) {
				later(due)
				continue
			}
			changed = true
			v = st.stepCIDR(v, c, due)
			i-- // the same place again: the block may have gone or have another step
		}
		st.vpcs[id] = v
	}
	for id, in := range st.instances {
		for {
			due, more := in.due(d)
			if !more {
				break
			}
			if due.After(now) {
				later(due)
				break
			}
			changed = true
			if in.state == instanceTerminated {
				st.forgetInstance(in)
				break
			}
			in = st.stepInstance(in, due)
			st.instances[id] = in
		}
	}
	return changed, next
}

// stepCIDR makes the next state of a block under way.
func (st *state) stepCIDR(v vpc, c cidrBlock, at time.Time) vpc {
	switch c.state {
	case cidrAssociating:
		st.addLocal(v.id, c.prefix, at)
		return v.setCIDR(c.id, cidrAssociated, at)
	case cidrDisassociating:
		st.vpcs[v.id] = v.setCIDR(c.id, cidrDisassociated, at)
		st.dropLocal(v.id, c.prefix)
		return st.vpcs[v.id]
	default: // disassociated: shown once more, then gone
		v.cidrs = without(v.cidrs, func(o cidrBlock) bool { return o.id == c.id })
		return v
	}
}

func (v vpc) setCIDR(id, state string, at time.Time) vpc {
	list := with(v.cidrs)
	for i := range list {
		if list[i].id == id {
			list[i].state, list[i].since = state, at
		}
	}
	v.cidrs = list
	return v
}

func (in instance) due(d Delays) (time.Time, bool) {
	switch in.state {
	case instancePending, instanceStopping:
		return in.since.Add(d.Instance), true
	case instanceTerminated:
		return in.since.Add(d.ShortVisible), true
	}
	return time.Time{}, false
}

// stepInstance makes the next state of an instance; a terminated one loses its
// interfaces and addresses.
func (st *state) stepInstance(in instance, at time.Time) instance {
	in.since = at
	if in.state == instancePending {
		in.state = instanceRunning
		return in
	}
	in.state = instanceTerminated
	st.releaseInterfaces(in.id)
	return in
}

// releaseInterfaces deletes the interfaces that came with an instance and detaches
// the others.
func (st *state) releaseInterfaces(id string) {
	for _, e := range sorted(st.interfaces, func(e eni) bool { return e.instance == id }) {
		if e.keep {
			e.instance, e.attachment, e.index = "", "", 0
			st.interfaces[e.id] = e
			continue
		}
		for _, a := range st.addresses {
			if a.eni == e.id {
				a.link, a.eni, a.private = "", "", noAddr
				st.addresses[a.id] = a
			}
		}
		delete(st.interfaces, e.id)
	}
}

// forgetPeering ends the visibility of a terminal peering on both sides.
func (st *state) forgetPeering(p peering) {
	delete(st.peerings, p.id)
	delete(st.tags, tagKey{p.requester.home, p.id})
	delete(st.tags, tagKey{p.accepter.home, p.id})
}

// forgetInstance ends the visibility of a terminated instance.
func (st *state) forgetInstance(in instance) {
	delete(st.instances, in.id)
	delete(st.tags, tagKey{in.home, in.id})
}
