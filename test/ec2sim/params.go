package ec2sim

import (
	"cmp"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// params are a request's parameters in the Query protocol's flat form:
// Filter.1.Value.2=x. Their form has been checked against the action's schema
// before a handler sees them, so reading one cannot fail.
type params url.Values

func (p params) get(name string) string { return url.Values(p).Get(name) }
func (p params) has(name string) bool   { return url.Values(p).Has(name) }

func (p params) is(name string, def bool) bool {
	if !p.has(name) {
		return def
	}
	return strings.EqualFold(p.get(name), "true")
}

func (p params) num(name string, def int) int {
	n, err := strconv.Atoi(p.get(name))
	if err != nil {
		return def
	}
	return n
}

// prefix is a block in canonical form: AWS drops host bits by itself.
func (p params) prefix(name string) netip.Prefix {
	x, err := netip.ParsePrefix(p.get(name))
	if err != nil {
		return netip.Prefix{}
	}
	return x.Masked()
}

func (p params) addr(name string) netip.Addr {
	a, err := netip.ParseAddr(p.get(name))
	if err != nil {
		return noAddr
	}
	return a
}

// items lists the prefixes of a structured list in order: "Filter" gives
// "Filter.1", "Filter.2".
func (p params) items(name string) []string {
	var order []int
	for key := range p {
		rest, ok := strings.CutPrefix(key, name+".")
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(rest, ".")
		if n, err := strconv.Atoi(number); err == nil && !slices.Contains(order, n) {
			order = append(order, n)
		}
	}
	slices.SortFunc(order, cmp.Compare)
	out := make([]string, len(order))
	for i, n := range order {
		out[i] = name + "." + strconv.Itoa(n)
	}
	return out
}

// list reads a flat list of values: VpcId.1, VpcId.2.
func (p params) list(name string) []string {
	var out []string
	for _, key := range p.items(name) {
		out = append(out, p.get(key))
	}
	return out
}

// schema is what an action takes: parameter patterns, list positions written n,
// with the form of the value.
type schema struct {
	forms    map[string]string
	required []string
}

// parseSchema reads "RouteTableId:rtb! DestinationCidrBlock:cidr4 Filter.n.Name".
// After the colon stands the form: bool, int, cidr, cidr4, cidr6, addr4 or the prefix
// of an id; without one it is any text. ! makes the parameter required.
func parseSchema(text string) schema {
	s := schema{forms: map[string]string{"Action": "", "Version": "", "DryRun": "bool"}}
	for field := range strings.FieldsSeq(text) {
		field, required := strings.CutSuffix(field, "!")
		name, form, _ := strings.Cut(field, ":")
		s.forms[name] = form
		if required {
			s.required = append(s.required, name)
		}
	}
	return s
}

var position = regexp.MustCompile(`\.[0-9]+(\.|$)`)

// check refuses unknown, missing and ill-formed parameters, in AWS's words.
func (s schema) check(p params) error {
	for _, name := range slices.Sorted(mapKeys(p)) {
		pattern := position.ReplaceAllString(position.ReplaceAllString(name, ".n$1"), ".n$1")
		form, ok := s.forms[pattern]
		if !ok {
			return refuse("UnknownParameter", "The parameter %s is not recognized", name)
		}
		if err := checkForm(name, p.get(name), form); err != nil {
			return err
		}
	}
	for _, name := range s.required {
		if !p.has(name) && !p.has(strings.TrimSuffix(name, ".n")+".1") {
			return refuse("MissingParameter", "The request must contain the parameter %s", strings.TrimSuffix(name, ".n"))
		}
	}
	return nil
}

func checkForm(name, value, form string) error {
	invalid := refuse("InvalidParameterValue", "Value (%s) for parameter %s is invalid.", value, name)
	switch form {
	case "":
		return nil
	case "bool":
		if !strings.EqualFold(value, "true") && !strings.EqualFold(value, "false") {
			return invalid
		}
	case "int":
		if _, err := strconv.Atoi(value); err != nil {
			return invalid
		}
	case "cidr", "cidr4", "cidr6":
		p, err := netip.ParsePrefix(value)
		if err != nil || form == "cidr4" && !p.Addr().Is4() || form == "cidr6" && !p.Addr().Is6() {
			return refuse("InvalidParameterValue", "Value (%s) for parameter %s is invalid. This is not a valid CIDR block.", value, name)
		}
	case "addr4":
		if a, err := netip.ParseAddr(value); err != nil || !a.Is4() {
			return refuse("InvalidParameterValue", "invalid value for parameter %s: %s", name, value)
		}
	default:
		return checkID(value, form)
	}
	return nil
}
