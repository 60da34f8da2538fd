package kroute

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// object is the identity of a route, as it stands in changes: "route 10.1.0.0/16 table 26741".
// It is written in one piece: there may be ten thousand.
func (k routeKey) object() string {
	b := append(make([]byte, 0, 64), "route "...)
	if k.Dst == default4 {
		b = append(b, "default"...)
	} else {
		b = k.Dst.AppendTo(b)
	}
	b = append(b, " table "...)
	if k.Table == mainTable {
		b = append(b, "main"...)
	} else {
		b = strconv.AppendUint(b, uint64(k.Table), 10)
	}
	if k.Metric != 0 {
		b = strconv.AppendUint(append(b, " metric "...), uint64(k.Metric), 10)
	}
	return string(b)
}

// detail is the rest of a route, in the words of `ip route`.
func (h hop) detail() string {
	var s []string
	switch h.Kind {
	case blackhole:
		s = append(s, "blackhole")
	case unreachable:
		s = append(s, "unreachable")
	case otherKind:
		s = append(s, "of another type")
	}
	if h.Via.IsValid() {
		s = append(s, "via", h.Via.String())
	}
	if h.Dev != "" {
		s = append(s, "dev", h.Dev)
	}
	if h.Via.IsValid() && h.Dev != "" {
		s = append(s, "onlink")
	}
	if h.Odd {
		s = append(s, "with other attributes")
	}
	return strings.Join(s, " ")
}

// parseRoute is the inverse of object and detail for the routes we make. An empty detail
// gives the key only.
func parseRoute(object, detail string) (route, error) {
	var r route
	kind, rest, _ := strings.Cut(object, " ")
	dst, rest, _ := strings.Cut(rest, " ")
	table, rest, _ := strings.Cut(rest, " ")
	number, rest, _ := strings.Cut(rest, " ")
	if kind != "route" || table != "table" || number == "" {
		return r, fmt.Errorf("read %q as a route: want \"route PREFIX table NUMBER\"", object)
	}
	var err error
	if r.Dst, err = parseDst(dst); err != nil {
		return r, fmt.Errorf("read %q as a route: %w", object, err)
	}
	if r.Table, err = parseTable(number); err != nil {
		return r, fmt.Errorf("read %q as a route: %w", object, err)
	}
	if rest != "" {
		metric, ok := strings.CutPrefix(rest, "metric ")
		if !ok {
			return r, fmt.Errorf("read %q as a route: %q is not a word of ours", object, rest)
		}
		if r.Metric, err = parseNumber(metric); err != nil {
			return r, fmt.Errorf("read %q as a route: %w", object, err)
		}
	}
	r.hop, err = parseHop(detail)
	return r, err
}

// parseHop is the inverse of detail.
func parseHop(detail string) (hop, error) {
	var h hop
	for rest := detail; rest != ""; {
		var word, value string
		word, rest, _ = strings.Cut(rest, " ")
		switch word {
		case "blackhole":
			h.Kind = blackhole
			continue
		case "unreachable":
			h.Kind = unreachable
			continue
		case "onlink":
			continue
		}
		if value, rest, _ = strings.Cut(rest, " "); value == "" {
			return h, fmt.Errorf("read %q as a next hop: %q is not a word of ours, or lacks its value", detail, word)
		}
		switch word {
		case "via":
			var err error
			if h.Via, err = netip.ParseAddr(value); err != nil {
				return h, fmt.Errorf("read %q as a next hop: %w", detail, err)
			}
		case "dev":
			h.Dev = value
		default:
			return h, fmt.Errorf("read %q as a next hop: %q is not a word of ours", detail, word)
		}
	}
	return h, nil
}

// object is a rule's identity, which is the whole rule, in the words of `ip rule`.
func (r rule) object() string {
	var s strings.Builder
	s.WriteString("rule ")
	if r.V6 {
		s.WriteString("-6 ")
	}
	fmt.Fprintf(&s, "pref %d", r.Priority)
	if r.Iif != "" {
		s.WriteString(" iif " + r.Iif)
	}
	if r.Mask != 0 {
		fmt.Fprintf(&s, " fwmark 0x%x/0x%x", r.Mark, r.Mask)
	}
	fmt.Fprintf(&s, " lookup %d", r.Table)
	if r.Odd != "" {
		fmt.Fprintf(&s, " and more %x", r.Odd)
	}
	return s.String()
}

// parseRule is the inverse of object. What we never make is looked up among v's rules.
func (v *view) parseRule(object string) (rule, error) {
	for _, r := range v.rules {
		if r.object() == object {
			return r, nil
		}
	}
	var r rule
	text, ok := strings.CutPrefix(object, "rule ")
	if text, r.V6 = strings.CutPrefix(text, "-6 "); !ok {
		return r, fmt.Errorf("read %q as a rule: does not begin with \"rule\"", object)
	}
	f := strings.Fields(text)
	for i := 0; i+1 < len(f); i += 2 {
		var err error
		switch f[i] {
		case "pref":
			r.Priority, err = parseNumber(f[i+1])
		case "iif":
			r.Iif = f[i+1]
		case "fwmark":
			mark, mask, _ := strings.Cut(f[i+1], "/")
			if r.Mark, err = parseNumber(mark); err == nil {
				r.Mask, err = parseNumber(mask)
			}
		case "lookup":
			r.Table, err = parseNumber(f[i+1])
		default:
			err = fmt.Errorf("%q is not a word of ours", f[i])
		}
		if err != nil {
			return r, fmt.Errorf("read %q as a rule: %w", object, err)
		}
	}
	if r.object() != object {
		return r, fmt.Errorf("read %q as a rule: got %q", object, r.object())
	}
	return r, nil
}

func parseNumber(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 0, 32)
	return uint32(n), err
}

// command is the ip command that does verb to the route.
func (r route) command(verb string) string {
	words := []string{"ip"}
	if r.Dst.Addr().Is6() {
		words = append(words, "-6")
	}
	words = append(words, "route", verb)
	detail := r.detail()
	if r.Kind != unicast {
		words = append(words, detail, dstText(r.Dst))
	} else {
		words = append(words, dstText(r.Dst), detail)
	}
	words = append(words, "table", tableText(r.Table), "proto", strconv.Itoa(protocol))
	if r.Metric != 0 {
		words = append(words, "metric", strconv.FormatUint(uint64(r.Metric), 10))
	}
	return strings.Join(words, " ")
}

// command is the ip command that does verb to the rule.
func (r rule) command(verb string) string {
	text := strings.TrimPrefix(r.object(), "rule ")
	ip := "ip"
	if r.V6 {
		ip, text = "ip -6", strings.TrimPrefix(text, "-6 ")
	}
	return fmt.Sprintf("%s rule %s %s protocol %d", ip, verb, text, protocol)
}

func dstText(p netip.Prefix) string {
	if p == default4 {
		return "default"
	}
	return p.String()
}

func parseDst(s string) (netip.Prefix, error) {
	if s == "default" {
		return default4, nil
	}
	return netip.ParsePrefix(s)
}

func tableText(t uint32) string {
	if t == mainTable {
		return "main"
	}
	return strconv.FormatUint(uint64(t), 10)
}

func parseTable(s string) (uint32, error) {
	if s == "main" {
		return mainTable, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err
}
