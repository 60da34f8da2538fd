package hub

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The lengths AWS gives to VPC prefixes. Anything wider would capture what is not the spoke's.
const (
	shortestPrefix = 16
	longestPrefix  = 28
)

// reserved is space that no VPC may announce to us: "this" network, loopback, link-local
// with IMDS and the VPC's services (169.254.168.0/22 among them), multicast, class E.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("240.0.0.0/4"),
}

// private is the space of RFC 1918. CGNAT space (100.64.0.0/10) is not: many VPCs share it.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
}

// refusal is why a prefix is left out; the zero value means: it may be reached.
type refusal struct {
	code     Code
	excluded bool // the operator wanted it: no problem is shown
	detail   string
	mend     string
}

func (r refusal) refused() bool { return r.code != "" || r.excluded }

// refuse says why p, a masked prefix of a spoke of account a, must not be reached.
// For the hub VPC's own prefixes only the places that must stay apart count.
func refuse(p netip.Prefix, hub bool, a Account, policy Policy, topology Topology) refusal {
	if q, ok := overlapping(p, a.Exclude); ok && !hub {
		return refusal{excluded: true, detail: fmt.Sprintf("%s is in exclude (%s)", p, q)}
	}
	if !hub && (p.Bits() < shortestPrefix || p.Bits() > longestPrefix) {
		return refusal{code: BadLength, detail: fmt.Sprintf("%s is not between /%d and /%d", p, shortestPrefix, longestPrefix), mend: Mend(BadLength)}
	}
	if q, ok := overlapping(p, reserved); ok {
		return refusal{code: ReservedSpace, detail: fmt.Sprintf("%s is in reserved space (%s)", p, q), mend: Mend(ReservedSpace)}
	}
	if q, ok := overlapping(p, topology.Hub.Prefixes); ok && !hub {
		return refusal{code: OverlapsHub, detail: fmt.Sprintf("%s overlaps the hub VPC (%s)", p, q), mend: Mend(OverlapsHub)}
	}
	for _, vpn := range policy.VPNs {
		if q, ok := overlapping(p, vpn.Pools); ok {
			return refusal{code: OverlapsPool, detail: fmt.Sprintf("%s overlaps pool %s of vpn %s", p, q, vpn.Name), mend: Mend(OverlapsPool)}
		}
		for _, site := range vpn.Sites {
			if q, ok := overlapping(p, site.Networks); ok {
				return refusal{code: OverlapsSite, detail: fmt.Sprintf("%s overlaps %s of site %s", p, q, site.Name), mend: Mend(OverlapsSite)}
			}
		}
	}
	if hub {
		return refusal{}
	}
	if q, ok := overlapping(p, policy.Protect); ok {
		return refusal{code: OverlapsProtected, detail: fmt.Sprintf("%s overlaps %s, which is protected", p, q), mend: Mend(OverlapsProtected)}
	}
	if !inside(p, private) && !inside(p, policy.Allow) {
		return refusal{code: NotAllowed, detail: fmt.Sprintf("%s is outside RFC 1918 and not allowed", p), mend: Mend(NotAllowed)}
	}
	return refusal{}
}

// overlapping returns the first of qs that shares an address with p.
func overlapping(p netip.Prefix, qs []netip.Prefix) (netip.Prefix, bool) {
	for _, q := range qs {
		if p.Overlaps(q) {
			return q, true
		}
	}
	return netip.Prefix{}, false
}

// inside reports whether one of qs contains all of p.
func inside(p netip.Prefix, qs []netip.Prefix) bool {
	return slices.ContainsFunc(qs, func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Overlaps(p) })
}

// screen leaves those prefixes of s which may be reached as far as s alone is concerned.
func (d *decision) screen(s *spoke) {
	for _, bad := range s.peering.Peer.Bad {
		d.report(BadPrefix, s.name, fmt.Sprintf("%q is not a prefix", bad), Mend(BadPrefix))
	}
	announced := len(s.prefixes)
	var six, left []netip.Prefix
	for _, p := range s.prefixes {
		switch {
		case !p.IsValid():
			d.report(BadPrefix, s.name, "an announced prefix is empty", Mend(BadPrefix))
			continue
		case !p.Addr().Is4():
			six = append(six, p.Masked())
			continue
		}
		p = p.Masked()
		switch r := refuse(p, s.hub, s.account, d.policy, d.topology); {
		case r.excluded:
			s.excluded++
		case r.refused():
			d.report(r.code, s.name, r.detail, r.mend)
		default:
			left = append(left, p)
		}
	}
	if len(six) > 0 {
		// Once a spoke: a dual-stack VPC is nothing unusual.
		slices.SortFunc(six, ComparePrefixes)
		d.report(BadPrefix, s.name, fmt.Sprintf("IPv6 is not carried yet: %s", joinPrefixes(six)), "nothing: its IPv4 prefixes are served")
	}
	s.prefixes = sortedPrefixes(left)
	if len(s.prefixes) == 0 && (announced == 0 || s.excluded < announced) {
		d.report(NoPrefix, s.name, fmt.Sprintf("none of the %d announced prefixes can be reached", announced), Mend(NoPrefix))
	}
}

func joinPrefixes(ps []netip.Prefix) string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.String()
	}
	return strings.Join(texts, ", ")
}
