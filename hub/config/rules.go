package config

import (
	"fmt"
	"net/netip"
)

// rangeKind says what a prefix of the config is for.
type rangeKind string

const (
	rangePool      rangeKind = "pool"
	rangeSite      rangeKind = "site"
	rangeProtected rangeKind = "protected"
	rangeAggregate rangeKind = "aggregate"
)

// located is a prefix and where it stands.
type located struct {
	kind   rangeKind
	prefix netip.Prefix
	value
}

// clash says why two ranges of these kinds may not overlap; "" when they may.
func clash(a, b rangeKind) string {
	switch {
	case a == rangeAggregate && b == rangeAggregate:
		return ""
	case a == rangeAggregate && b == rangeProtected, a == rangeProtected && b == rangeAggregate:
		return "" // protecting a part of an aggregate is what protect is for
	case a == rangeAggregate || b == rangeAggregate:
		return "clients would be told to reach their own network through the tunnel"
	case a == rangeProtected || b == rangeProtected:
		return "pools and sites are protected anyway"
	}
	return "a source address must belong to one of them"
}

// checkRanges reports overlaps between pools, sites, protected and aggregates, each once.
func (r *reader) checkRanges() {
	for i, b := range r.ranges {
		for _, a := range r.ranges[:i] {
			if !a.prefix.Overlaps(b.prefix) {
				continue
			}
			if why := clash(a.kind, b.kind); why != "" {
				r.clashes(a, b, why)
				break
			}
			if a.kind == b.kind && a.prefix == b.prefix && a.place() == b.place() {
				r.clashes(a, b, "remove one of them")
				break
			}
		}
	}
}

// place is the list a prefix stands in.
func (l located) place() string { return listPath(l.key) }

func listPath(key string) string {
	for i := len(key) - 1; i >= 0; i-- {
		if key[i] == '[' {
			return key[:i]
		}
	}
	return key
}

func (r *reader) clashes(a, b located, why string) {
	at := b.value.origin()
	first := a.value.origin()
	r.errs = append(r.errs, Error{File: at.File, Line: at.Line, Column: at.Column, Key: b.key,
		Found: fmt.Sprintf("%s overlaps %s of %s in line %d", b.prefix, a.prefix, a.key, first.Line), Want: why})
}

// named is parse with the rule that no two things of a kind may have the same name.
func named(kind string, parse func(value) (string, bool)) func(value) (string, bool) {
	return func(v value) (string, bool) {
		s, ok := parse(v)
		if !ok {
			return s, false
		}
		if first, taken := v.r.names[kind+" "+s]; taken {
			v.wrong(fmt.Sprintf("found %q, which is taken", s), fmt.Sprintf("%s in %s:%d has it", first.key, first.at.File, first.at.Line))
			return s, false
		}
		v.r.names[kind+" "+s] = claim{key: v.key, at: v.origin()}
		return s, true
	}
}

// claim is who has a name.
type claim struct {
	key string
	at  Origin
}
