package kroute

import (
	"context"
	"encoding/binary"
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
	for i := range changes {
		c := &changes[i]
		if name, ok := strings.CutPrefix(c.Object, "sysctl "); ok {
			sysctls = true
			if err := p.in.writeSysctl(sysctlPath(name), c.Detail); err != nil {
				fail(*c, err)
			}
			continue
		}
		s, err := v.step(c)
		if err != nil {
			fail(*c, err)
			continue
		}
		steps = append(steps, s)
	}
	order := inTurn(steps)
	msgs := make([]message, len(steps))
	for i, at := range order {
		msgs[i] = steps[at].msg
	}
	done := make([]*step, 0, len(steps))
	for i, err := range p.conn.send(ctx, msgs) {
		s := &steps[order[i]]
		gone := errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT)
		if err != nil && !(s.change.Verb == hub.VerbRemove && gone) {
			fail(*s.change, err)
			continue
		}
		done = append(done, s)
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
	change *hub.Change
	turn   int
	isRule bool
	route  route
	rule   rule
	msg    message
}

// The turns: routes before the rules that lead to them, and the other way when they go.
const (
	turnNewRoute = iota
	turnNewRule
	turnOldRule
	turnOldRoute
)

// inTurn returns the places of steps in the order in which they are made: by turn, and
// routes by prefix, which the kernel's tree takes fastest.
func inTurn(steps []step) []int {
	return places(len(steps), func(i, j int) int {
		a, b := &steps[i], &steps[j]
		if a.turn != b.turn {
			return a.turn - b.turn
		}
		return compareKeys(&a.route.routeKey, &b.route.routeKey)
	})
}

// step makes a change of Plan into a message.
func (v *view) step(c *hub.Change) (step, error) {
	s := step{change: c, turn: turnNewRoute, isRule: strings.HasPrefix(c.Object, "rule ")}
	switch remove := c.Verb == hub.VerbRemove; {
	case s.isRule && remove:
		s.turn = turnOldRule
	case s.isRule:
		s.turn = turnNewRule
	case remove:
		s.turn = turnOldRoute
	}
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
	// struct rtmsg: family, lengths, TOS, table, protocol, scope, type, flags
	h := unix.RtMsg{Family: family(r.Dst.Addr()), Dst_len: uint8(r.Dst.Bits()), Protocol: protocol}
	m := message{typ: unix.RTM_NEWROUTE, flags: unix.NLM_F_CREATE | unix.NLM_F_EXCL}
	switch {
	case verb == hub.VerbRemove:
		m.typ, m.flags = unix.RTM_DELROUTE, 0
		h.Scope = unix.RT_SCOPE_NOWHERE // of any scope
	case verb == hub.VerbReplace:
		m.flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	}
	if verb != hub.VerbRemove {
		h.Type = r.Kind.number()
		if r.Kind == unicast && !r.Via.IsValid() {
			h.Scope = unix.RT_SCOPE_LINK
		}
		if r.Via.IsValid() {
			// The gateway needs no route of its own then, in whichever order routes come.
			h.Flags = unix.RTNH_F_ONLINK
		}
	}
	b := append(make([]byte, 0, 64), h.Family, h.Dst_len, h.Src_len, h.Tos, h.Table, h.Protocol, h.Scope, h.Type)
	b = binary.NativeEndian.AppendUint32(b, h.Flags)
	b = appendAttr32(b, unix.RTA_TABLE, r.Table)
	if r.Dst.Bits() > 0 {
		b = appendAddr(b, unix.RTA_DST, r.Dst.Addr())
	}
	if r.Metric != 0 {
		b = appendAttr32(b, unix.RTA_PRIORITY, r.Metric)
	}
	if r.Via.IsValid() {
		b = appendAddr(b, unix.RTA_GATEWAY, r.Via)
	}
	if index != 0 {
		b = appendAttr32(b, unix.RTA_OIF, uint32(index))
	}
	m.body = b
	return m
}

// number is the kernel's number of a kind we make.
func (k kind) number() uint8 {
	switch k {
	case blackhole:
		return unix.RTN_BLACKHOLE
	case unreachable:
		return unix.RTN_UNREACHABLE
	}
	return unix.RTN_UNICAST
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
func (v *view) after(steps []*step) *view {
	out := *v
	out.rules = slices.Clone(v.rules)
	few := len(steps) <= fewEdits
	var edits []edit
	if !few {
		edits = make([]edit, 0, len(steps))
	}
	for _, s := range steps {
		remove := s.change.Verb == hub.VerbRemove
		switch {
		case s.isRule && remove:
			out.rules = slices.DeleteFunc(out.rules, func(r rule) bool { return r == s.rule })
		case s.isRule:
			out.rules = append(out.rules, s.rule)
		case few && remove:
			out.routes = out.routes.without(s.route.routeKey)
		case few:
			out.routes = out.routes.with(s.route)
		case remove:
			edits = append(edits, edit{key: s.route.routeKey})
		default:
			edits = append(edits, edit{s.route.routeKey, &s.route})
		}
	}
	if len(edits) > 0 {
		out.routes = out.routes.edited(edits)
	}
	slices.SortFunc(out.rules, compareRules)
	return &out
}
