package kroute

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"peerhub/hub"
)

const (
	// maxErrors caps how many failed changes an error names.
	maxErrors = 5
	// fewEdits is up to how many changes are put into the view's routes one by one.
	fewEdits = 64
)

// Apply makes the changes and returns what the kernel then has. After a failure, or when
// somebody wrote in between, that is read from the kernel.
func (p *Plane) Apply(ctx context.Context, seen hub.View, changes []hub.Change) (hub.View, error) {
	v, ok := seen.(*view)
	if !ok {
		return seen, fmt.Errorf("apply kernel routes: a view of another plane (%T)", seen)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	after, err := p.apply(ctx, v, changes)
	return after, err
}

func (p *Plane) apply(ctx context.Context, v *view, changes []hub.Change) (*view, error) {
	if len(changes) == 0 {
		return v, nil
	}
	var failed []error
	fail := func(c hub.Change, err error) {
		failed = append(failed, fmt.Errorf("%s %s %s: %w", c.Verb, c.Object, c.Detail, err))
	}
	steps := make([]step, 0, len(changes))
	sysctls := false
	for _, c := range changes {
		if name, ok := strings.CutPrefix(c.Object, "sysctl "); ok {
			sysctls = true
			if err := p.in.writeSysctl(sysctlPath(name), c.Detail); err != nil {
				fail(c, err)
			}
			continue
		}
		s, err := v.step(c)
		if err != nil {
			fail(c, err)
			continue
		}
		steps = append(steps, s)
	}
	// Routes before the rules that lead to them, and the other way when they go.
	slices.SortStableFunc(steps, func(a, b step) int { return a.turn() - b.turn() })
	msgs := make([]message, len(steps))
	for i, s := range steps {
		msgs[i] = s.msg
	}
	done := steps[:0]
	for i, err := range p.conn.send(ctx, msgs) {
		gone := errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT)
		if err != nil && !(steps[i].change.Verb == hub.VerbRemove && gone) {
			fail(steps[i].change, err)
			continue
		}
		done = append(done, steps[i])
	}
	err := capped(failed)
	if err == nil && !sysctls && p.seen == v && !p.stale.Load() {
		p.seen = v.after(done)
		return p.seen, nil
	}
	after, readErr := p.read()
	if readErr != nil {
		return v, errors.Join(err, readErr)
	}
	return after, err
}

// capped joins errors, but no more than a person would read.
func capped(errs []error) error {
	if n := len(errs); n > maxErrors {
		errs = append(errs[:maxErrors:maxErrors], fmt.Errorf("and %d more", n-maxErrors))
	}
	return errors.Join(errs...)
}

// step is one change with the message that makes it.
type step struct {
	change hub.Change
	isRule bool
	route  route
	rule   rule
	msg    message
}

// turn orders steps: routes are made first and removed last.
func (s step) turn() int {
	switch {
	case s.change.Verb != hub.VerbRemove && !s.isRule:
		return 0
	case s.change.Verb != hub.VerbRemove:
		return 1
	case s.isRule:
		return 2
	}
	return 3
}

// step makes a change of Plan into a message.
func (v *view) step(c hub.Change) (step, error) {
	s := step{change: c, isRule: strings.HasPrefix(c.Object, "rule ")}
	var err error
	if s.isRule {
		if s.rule, err = v.parseRule(c.Object); err == nil {
			s.msg = s.rule.message(c.Verb)
		}
		return s, err
	}
	if c.Verb == hub.VerbRemove {
		s.route, err = parseRoute(c.Object, "")
	} else {
		s.route, err = parseRoute(c.Object, c.Detail)
	}
	if err != nil {
		return s, err
	}
	index := 0
	if s.route.Dev != "" {
		l, ok := v.links[s.route.Dev]
		if !ok {
			return s, fmt.Errorf("no interface %s", s.route.Dev)
		}
		index = l.Index
	}
	s.msg = s.route.message(c.Verb, index)
	return s, nil
}

// message is the request that adds, replaces or removes the route.
func (r route) message(verb hub.Verb, index int) message {
	h := nl.RtMsg{RtMsg: unix.RtMsg{Family: family(r.Dst.Addr()), Dst_len: uint8(r.Dst.Bits()), Protocol: protocol}}
	m := message{typ: unix.RTM_NEWROUTE, flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL}
	switch {
	case verb == hub.VerbRemove:
		m.typ, m.flags = unix.RTM_DELROUTE, 0
		h.Scope = unix.RT_SCOPE_NOWHERE // of any scope
	case verb == hub.VerbReplace:
		m.flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	if verb != hub.VerbRemove {
		h.Type = map[kind]uint8{unicast: unix.RTN_UNICAST, blackhole: unix.RTN_BLACKHOLE, unreachable: unix.RTN_UNREACHABLE}[r.Kind]
		if r.Kind == unicast && !r.Via.IsValid() {
			h.Scope = unix.RT_SCOPE_LINK
		}
		if r.Via.IsValid() {
			// The gateway needs no route of its own then, in whichever order routes come.
			h.Flags = unix.RTNH_F_ONLINK
		}
	}
	m.body = append(make([]byte, 0, 64), h.Serialize()...)
	m.body = appendAttr32(m.body, unix.RTA_TABLE, r.Table)
	if r.Dst.Bits() > 0 {
		m.body = appendAttr(m.body, unix.RTA_DST, r.Dst.Addr().AsSlice())
	}
	if r.Metric != 0 {
		m.body = appendAttr32(m.body, unix.RTA_PRIORITY, r.Metric)
	}
	if r.Via.IsValid() {
		m.body = appendAttr(m.body, unix.RTA_GATEWAY, r.Via.AsSlice())
	}
	if index != 0 {
		m.body = appendAttr32(m.body, unix.RTA_OIF, uint32(index))
	}
	return m
}

// message is the request that adds or removes the rule.
func (r rule) message(verb hub.Verb) message {
	m := message{typ: unix.RTM_NEWRULE, flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL}
	if verb == hub.VerbRemove {
		m.typ, m.flags = unix.RTM_DELRULE, 0
	}
	if r.Odd != "" {
		m.body = []byte(r.Odd) // the kernel's own words, whatever they are
		return m
	}
	h := nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Type: nl.FR_ACT_TO_TBL}}
	if r.V6 {
		h.Family = unix.AF_INET6
	}
	m.body = append(make([]byte, 0, 80), h.Serialize()...)
	m.body = appendAttr32(m.body, nl.FRA_PRIORITY, r.Priority)
	if r.Iif != "" {
		m.body = appendAttr(m.body, nl.FRA_IIFNAME, append([]byte(r.Iif), 0))
	}
	if r.Mask != 0 {
		m.body = appendAttr32(m.body, nl.FRA_FWMARK, r.Mark)
		m.body = appendAttr32(m.body, nl.FRA_FWMASK, r.Mask)
	}
	m.body = appendAttr32(m.body, nl.FRA_TABLE, r.Table)
	m.body = appendAttr(m.body, nl.FRA_PROTOCOL, []byte{protocol})
	return m
}

// after is the view with steps made.
func (v *view) after(steps []step) *view {
	out := *v
	out.rules = slices.Clone(v.rules)
	few := len(steps) <= fewEdits
	edits := map[routeKey]*step{}
	for i := range steps {
		s := &steps[i]
		remove := s.change.Verb == hub.VerbRemove
		switch {
		case s.isRule && remove:
			out.rules = slices.DeleteFunc(out.rules, func(r rule) bool { return r == s.rule })
		case s.isRule:
			out.rules = append(out.rules, s.rule)
		case !few:
			edits[s.route.routeKey] = s
		case remove:
			out.routes = out.routes.without(s.route.routeKey)
		default:
			out.routes = out.routes.with(s.route)
		}
	}
	if len(edits) > 0 {
		routes := make([]route, 0, out.routes.n+len(edits))
		for _, r := range out.routes.all() {
			if _, edited := edits[r.routeKey]; !edited {
				routes = append(routes, r)
			}
		}
		for _, s := range edits {
			if s.change.Verb != hub.VerbRemove {
				routes = append(routes, s.route)
			}
		}
		out.routes = newList(routes)
	}
	slices.SortFunc(out.rules, compareRules)
	return &out
}
