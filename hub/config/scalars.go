package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"peerhub/hub"
)

// Forms of names. AWS ids are eight or seventeen hexadecimal digits; what lies between is let pass.
var (
	accountForm  = regexp.MustCompile(`^[0-9]{12}$`)
	nameForm     = regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)
	regionForm   = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$`)
	clientForm   = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,64}$`)
	roleForm     = regexp.MustCompile(`^arn:aws(-[a-z]+)*:iam::(\{account\}|[0-9]{12}):role/[\w+=,.@/-]{1,512}$`)
	externalForm = regexp.MustCompile(`^[\w+=,.@:/-]{2,512}$`)
	groupForm    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$`)
	tagForm      = regexp.MustCompile(`^tag:[^=]{1,128}=.{0,256}$`)
)

// matching reads text of a form; want describes it, with an example.
func matching[T ~string](form *regexp.Regexp, want string) func(value) (T, bool) {
	return func(v value) (T, bool) {
		s, ok := v.scalar(want)
		if !ok {
			return "", false
		}
		if !form.MatchString(s) {
			v.mismatch(want)
			return "", false
		}
		return T(s), true
	}
}

// awsID reads an id such as vpc-0d41f2a7.
func awsID[T ~string](prefix string) func(value) (T, bool) {
	return matching[T](regexp.MustCompile(`^`+prefix+`-[0-9a-f]{8,17}$`), "an id such as "+prefix+"-0d41c2b3a4f5e6071")
}

// oneOf reads one of a few words.
func oneOf[T ~string](words ...T) func(value) (T, bool) {
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = string(w)
	}
	return func(v value) (T, bool) {
		want := "one of " + strings.Join(names, ", ")
		s, ok := v.scalar(want)
		if !ok {
			return "", false
		}
		if slices.Contains(names, s) {
			return T(s), true
		}
		if near := nearest(s, names); near != "" {
			want += "; did you mean " + near + "?"
		}
		v.mismatch(want)
		return "", false
	}
}

func boolean(v value) (bool, bool) {
	if b, ok := v.node.(*ast.BoolNode); ok {
		return b.Value, true
	}
	v.mismatch("true or false")
	return false, false
}

// integer reads a number between low and high.
func integer(low, high int) func(value) (int, bool) {
	return func(v value) (int, bool) {
		want := fmt.Sprintf("a number from %d to %d", low, high)
		if low == high {
			want = strconv.Itoa(low)
		}
		if _, ok := v.node.(*ast.IntegerNode); ok {
			if n, err := strconv.Atoi(raw(v.node)); err == nil && n >= low && n <= high {
				return n, true
			}
		}
		v.mismatch(want)
		return 0, false
	}
}

// duration reads a time such as 30s, between low and high.
func duration(low, high time.Duration) func(value) (time.Duration, bool) {
	return func(v value) (time.Duration, bool) {
		want := fmt.Sprintf("a time from %s to %s with its unit, such as 30s", short(low), short(high))
		s, ok := v.scalar(want)
		if !ok {
			return 0, false
		}
		d, err := time.ParseDuration(s)
		if err != nil || d < low || d > high {
			v.mismatch(want)
			return 0, false
		}
		return d, true
	}
}

// short writes a duration without its zero parts: 10m, not 10m0s.
func short(d time.Duration) string {
	s := d.String()
	s = strings.TrimSuffix(s, "m0s") + map[bool]string{true: "m"}[strings.HasSuffix(s, "m0s")]
	return strings.TrimSuffix(s, "h0m") + map[bool]string{true: "h"}[strings.HasSuffix(s, "h0m")]
}

// percent reads a share such as 20%.
func percent(v value) (int, bool) {
	const want = "a share from 0% to 100%, such as 20%"
	s, ok := v.scalar(want)
	if !ok {
		return 0, false
	}
	digits, found := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(digits)
	if !found || err != nil || n < 0 || n > 100 || strings.ContainsAny(digits, "+-") {
		v.mismatch(want)
		return 0, false
	}
	return n, true
}

// prefix reads an IPv4 prefix without host bits.
func prefix(v value) (netip.Prefix, bool) {
	const want = "an IPv4 prefix such as 10.110.0.0/16"
	s, ok := v.scalar(want)
	if !ok {
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
			v.wrong("found "+describe(v.node), fmt.Sprintf("a prefix has a length: write %s/32 for this one address", a))
			return netip.Prefix{}, false
		}
		v.mismatch(want)
		return netip.Prefix{}, false
	}
	if !p.Addr().Is4() {
		v.mismatch(want + "; IPv6 is not supported yet")
		return netip.Prefix{}, false
	}
	if p != p.Masked() {
		v.wrong("found "+describe(v.node)+", which has host bits", "write "+p.Masked().String())
		return netip.Prefix{}, false
	}
	return p, true
}

// ranges reads prefixes that must keep clear of each other (rules.go).
func ranges(kind rangeKind) func(value) ([]netip.Prefix, bool) {
	return listOf("prefixes", func(v value) (netip.Prefix, bool) {
		p, ok := prefix(v)
		if ok {
			v.r.ranges = append(v.r.ranges, located{kind: kind, prefix: p, value: v})
		}
		return p, ok
	})
}

// kernelName reads the name of a network interface, no pattern. The kernel allows 15 bytes.
func kernelName(v value) (string, bool) {
	const want = "an interface name of at most 15 characters, no pattern, such as tun0"
	s, ok := v.scalar(want)
	if !ok {
		return "", false
	}
	bad := s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`/:*?+[]"'\`, r)
	})
	if bad {
		v.mismatch(want)
		return "", false
	}
	return s, true
}

// service reads what a tunnel may open on the hub: icmp, 53/udp.
func service(v value) (hub.Service, bool) {
	const want = `icmp, or a port with its protocol such as "53/udp"`
	s, ok := v.scalar(want)
	if !ok {
		return hub.Service{}, false
	}
	if s == "icmp" {
		return hub.Service{Protocol: s}, true
	}
	digits, protocol, _ := strings.Cut(s, "/")
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 || protocol != "tcp" && protocol != "udp" {
		v.mismatch(want)
		return hub.Service{}, false
	}
	return hub.Service{Protocol: protocol, Port: uint16(port)}, true
}

// path reads a file name; a relative one is relative to the config file's folder.
func path(dir string) func(value) (string, bool) {
	return func(v value) (string, bool) {
		s, ok := v.scalar("a path")
		if !ok {
			return "", false
		}
		if s == "" || strings.ContainsAny(s, "\x00\n") {
			v.mismatch("a path")
			return "", false
		}
		if !filepath.IsAbs(s) {
			s = filepath.Join(dir, s)
		}
		return filepath.Clean(s), true
	}
}

// socketPath is path, at most as long as the kernel takes for a socket's name.
func socketPath(dir string) func(value) (string, bool) {
	return func(v value) (string, bool) {
		s, ok := path(dir)(v)
		if ok && len(s) > 107 {
			v.mismatch("a path of at most 107 bytes, the kernel's limit for sockets")
			return "", false
		}
		return s, ok
	}
}

// listen reads HOST:PORT with the host as an address; "" switches it off.
func listen(v value) (string, bool) {
	const want = `an address with a port such as "127.0.0.1:9586", or "" for off`
	s, ok := v.scalar(want)
	if !ok || s == "" {
		return "", ok
	}
	if _, err := netip.ParseAddrPort(s); err != nil {
		v.mismatch(want)
		return "", false
	}
	return s, true
}

// endpoint reads the base URL of an EC2-like service; "" means AWS itself.
func endpoint(v value) (string, bool) {
	const want = `a URL such as "https://ec2.example.net", or "" for AWS itself`
	s, ok := v.scalar(want)
	if !ok || s == "" {
		return "", ok
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		v.mismatch(want)
		return "", false
	}
	return s, true
}

// tables reads a choice of route tables among words, a tag or a list of ids.
func tables(words ...hub.TableKind) func(value) (hub.TableChoice, bool) {
	return func(v value) (hub.TableChoice, bool) {
		if _, ok := v.node.(*ast.SequenceNode); ok {
			ids, _ := listOf("route table ids", awsID[hub.TableID]("rtb"))(v)
			if v.empty() {
				v.wrong("found a list without a route table", "want at least one id such as rtb-0d41c2b3a4f5e6071")
			}
			return hub.TableChoice{Kind: hub.TablesListed, Tables: ids}, true
		}
		if s, ok := v.node.(*ast.StringNode); ok && strings.HasPrefix(s.Value, "tag:") {
			if !tagForm.MatchString(s.Value) {
				v.mismatch(`a tag such as "tag:peerhub=yes"`)
				return hub.TableChoice{}, false
			}
			return hub.TableChoice{Kind: hub.TablesTag, Tag: strings.TrimPrefix(s.Value, "tag:")}, true
		}
		names := make([]string, 0, len(words))
		for _, w := range words {
			names = append(names, string(w))
		}
		if s, ok := v.node.(*ast.StringNode); ok && slices.Contains(names, s.Value) {
			return hub.TableChoice{Kind: hub.TableKind(s.Value)}, true
		}
		v.mismatch(strings.Join(names, ", ") + `, a tag such as "tag:peerhub=yes", or a list of ids such as [rtb-0d41c2b3a4f5e6071]`)
		return hub.TableChoice{}, false
	}
}

// quoted reports whether a key or value stands in quotes.
func quoted(n ast.Node) bool {
	t := n.GetToken()
	return t != nil && (t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType)
}
