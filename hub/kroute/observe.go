package kroute

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Interface is a network interface as the kernel has it: the facts that tell which ENI it is.
type Interface struct {
	Name  string
	Index int
	MAC   string // lower case with colons, "" when there is none
	Up    bool   // administratively
	// PointToPoint links have one other end, so routes need no gateway.
	PointToPoint bool
	Addresses    []netip.Prefix // with host bits, primary first, IPv4 before IPv6
}

// view is what was seen of the kernel, never changed once made. It implements hub.View
// and hub.Troubled.
type view struct {
	links   map[string]Interface
	routes  list // ours
	foreign map[routeKey]foreignRoute
	// gateways are the next hops of default routes in main, by interface.
	gateways map[string]netip.Addr
	ruleView
	sysctls map[string]string // path under /proc/sys -> value
}

// foreignRoute is somebody else's route in main or in one of our tables.
type foreignRoute struct {
	route
	proto uint8
}

// read takes the whole picture.
func (c *conn) read(in namespace) (*view, error) {
	links, err := c.interfaces()
	if err != nil {
		return nil, err
	}
	v := &view{links: make(map[string]Interface, len(links)), foreign: map[routeKey]foreignRoute{},
		gateways: map[string]netip.Addr{}}
	names := make(map[uint32]string, len(links))
	for _, l := range links {
		v.links[l.Name] = l
		names[uint32(l.Index)] = l.Name
	}
	var mine []route
	for _, fam := range []uint8{unix.AF_INET, unix.AF_INET6} {
		msgs, err := c.dump(unix.RTM_GETROUTE, fam)
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, m := range msgs {
			if familyOf(m) == fam { // without IPv6 the kernel answers for every family
				mine = v.addRoute(mine, m, names)
			}
		}
	}
	v.routes = newList(mine)
	if v.ruleView, err = agreed(c.rules, ruleView.same); err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	v.sysctls, err = in.readSysctls(links)
	return v, err
}

// ruleView is what was seen of the rules.
type ruleView struct {
	rules []rule // ours, sorted
	// byOthers are foreign rules in our range of priorities.
	byOthers map[rule]bool
	// ipv6 is false when the kernel was booted without it. With it there is always a rule.
	ipv6 bool
}

func (a ruleView) same(b ruleView) bool {
	return a.ipv6 == b.ipv6 && slices.Equal(a.rules, b.rules) && maps.Equal(a.byOthers, b.byOthers)
}

// rules lists the rules of our range of priorities, as one dump tells them.
func (c *conn) rules() (ruleView, error) {
	v := ruleView{byOthers: map[rule]bool{}}
	for _, fam := range []uint8{unix.AF_INET, unix.AF_INET6} {
		msgs, err := c.dump(unix.RTM_GETRULE, fam)
		if err != nil {
			return v, err
		}
		for _, m := range msgs {
			if familyOf(m) == fam { // without IPv6 the kernel answers for every family
				v.ipv6 = v.ipv6 || fam == unix.AF_INET6
				v.add(m)
			}
		}
	}
	slices.SortFunc(v.rules, compareRules)
	v.rules = slices.Compact(v.rules)
	return v, nil
}

// interfaces lists links and their addresses.
func (c *conn) interfaces() ([]Interface, error) {
	links, err := retried(c.handle.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	addrs, err := retried(func() ([]netlink.Addr, error) { return c.handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	out := make([]Interface, 0, len(links))
	at := make(map[int]int, len(links))
	for _, l := range links {
		a := l.Attrs()
		at[a.Index] = len(out)
		out = append(out, Interface{Name: a.Name, Index: a.Index, MAC: a.HardwareAddr.String(), Up: a.Flags&net.FlagUp != 0,
			PointToPoint: a.Flags&net.FlagPointToPoint != 0})
	}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		i, known := at[a.LinkIndex]
		if !ok || !known {
			continue
		}
		bits, _ := a.Mask.Size()
		out[i].Addresses = append(out[i].Addresses, netip.PrefixFrom(ip.Unmap(), bits))
	}
	slices.SortFunc(out, func(a, b Interface) int { return strings.Compare(a.Name, b.Name) })
	for _, l := range out {
		slices.SortStableFunc(l.Addresses, func(a, b netip.Prefix) int { return a.Addr().BitLen() - b.Addr().BitLen() })
	}
	return out, nil
}

// addRoute sorts one message of a route dump: ours into mine, others' into v.
func (v *view) addRoute(mine []route, m []byte, names map[uint32]string) []route {
	r, proto, ok := routeOf(m, names)
	switch {
	case !ok || r.Table != mainTable && !ourTable(r.Table):
	case proto == protocol:
		return append(mine, r)
	default:
		// The first of a key is the one the kernel uses.
		if _, known := v.foreign[r.routeKey]; !known {
			v.foreign[r.routeKey] = foreignRoute{r, proto}
		}
		if r.Dst == default4 && r.Table == mainTable && !v.gateways[r.Dev].IsValid() {
			v.gateways[r.Dev] = r.Via
		}
	}
	return mine
}

// routeOf reads a route message; ok is false for what is no route of a routing table,
// such as a cached one.
func routeOf(m []byte, names map[uint32]string) (r route, proto uint8, ok bool) {
	if len(m) < unix.SizeofRtMsg {
		return r, 0, false
	}
	h := nl.DeserializeRtMsg(m)
	if h.Flags&unix.RTM_F_CLONED != 0 {
		return r, 0, false
	}
	r.Table = uint32(h.Table)
	r.Odd = h.Tos != 0 || h.Src_len != 0
	switch h.Type {
	case unix.RTN_UNICAST:
	case unix.RTN_BLACKHOLE:
		r.Kind = blackhole
	case unix.RTN_UNREACHABLE:
		r.Kind = unreachable
	default:
		r.Kind = otherKind
	}
	dst := netip.IPv4Unspecified()
	if h.Family == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	for t, b := range attributes(m[unix.SizeofRtMsg:]) {
		switch t {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(b)
		case unix.RTA_GATEWAY:
			r.Via, _ = netip.AddrFromSlice(b)
		case unix.RTA_OIF:
			i := number(b)
			if name, known := names[i]; known {
				r.Dev = name
			} else {
				r.Dev = fmt.Sprintf("if%d", i)
			}
		case unix.RTA_TABLE:
			r.Table = number(b)
		case unix.RTA_PRIORITY:
			r.Metric = number(b)
		case unix.RTA_CACHEINFO, unix.RTA_PREF:
		default:
			r.Odd = true
		}
	}
	if r.Kind != unicast {
		r.Dev = "" // IPv6 says lo
	}
	r.Dst = netip.PrefixFrom(dst, int(h.Dst_len))
	return r, h.Protocol, r.Dst.IsValid()
}

// add sorts one message of a rule dump into v.
func (v *ruleView) add(m []byte) {
	r, proto, ok := ruleOf(m)
	switch {
	case !ok || !ours(r.Priority):
	case proto == protocol:
		v.rules = append(v.rules, r)
	default:
		v.byOthers[r] = true
	}
}

// ruleOf reads a rule message. The header is struct fib_rule_hdr, which has the layout of
// struct rtmsg; its last two fields are the action and the flags.
func ruleOf(m []byte) (r rule, proto uint8, ok bool) {
	if len(m) < unix.SizeofRtMsg {
		return r, 0, false
	}
	h := nl.DeserializeRtMsg(m)
	r.V6 = h.Family == unix.AF_INET6
	r.Table = uint32(h.Table)
	// Of the flags only FIB_RULE_INVERT (2) is a wish; the others are the kernel's remarks.
	odd := h.Type != nl.FR_ACT_TO_TBL || h.Tos != 0 || h.Flags&2 != 0
	for t, b := range attributes(m[unix.SizeofRtMsg:]) {
		switch t {
		case nl.FRA_PRIORITY:
			r.Priority = number(b)
		case nl.FRA_IIFNAME:
			r.Iif = unix.ByteSliceToString(b)
		case nl.FRA_FWMARK:
			r.Mark = number(b)
		case nl.FRA_FWMASK:
			r.Mask = number(b)
		case nl.FRA_TABLE:
			r.Table = number(b)
		case nl.FRA_PROTOCOL:
			if len(b) > 0 {
				proto = b[0]
			}
		case nl.FRA_SUPPRESS_PREFIXLEN, nl.FRA_SUPPRESS_IFGROUP:
			odd = odd || number(b) != 0xffffffff
		case nl.FRA_PAD:
		default:
			odd = true
		}
	}
	if odd {
		r.Odd = string(m)
	}
	return r, proto, true
}

// familyOf is the first byte of every message.
func familyOf(m []byte) uint8 {
	if len(m) == 0 {
		return unix.AF_UNSPEC
	}
	return m[0]
}

func number(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}
