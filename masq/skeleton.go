package masq

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"peerhub/hub"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// skeletonVersion grows with every change to sets, counters, chains or rules. It stands in
// the table's comment.
const skeletonVersion = 4

// shape is what the skeleton's rules are made with: what the kernel can do, and one number of
// the config. It stands in the table's comment behind the version.
type shape struct {
	maxFlows    int  // of one source address, 0: any number
	fullyRandom bool // source ports are chosen at random among the free ones
}

// note is the comment of a table of this shape. It has no comma: the mode follows one.
func (s shape) note() string {
	out := "peerhub skeleton " + strconv.Itoa(skeletonVersion)
	if s.maxFlows > 0 {
		out += fmt.Sprintf(" max-flows %d", s.maxFlows)
	}
	if !s.fullyRandom {
		out += " random"
	}
	return out
}

// shapeOf is the reverse of note. A note of another version, or of somebody else, has none.
func shapeOf(note string) (shape, bool) {
	s := shape{fullyRandom: true}
	words := strings.Fields(note)
	for i, w := range words {
		switch {
		case w == "random":
			s.fullyRandom = false
		case w == "max-flows" && i+1 < len(words):
			s.maxFlows, _ = strconv.Atoi(words[i+1]) // a bad number gives another note
		}
	}
	return s, s.note() == note
}

// The layout of marks. A conntrack mark has the class of the way out and the spoke's
// number, a packet mark only the class. On flows from a tunnel toward a spoke both marks
// are ours as a whole, so the sets compare whole marks. The bits of the class say which
// flows these are; where a conntrack mark has none of them, no mark is touched.
const (
	classMask = hub.MarkClassMask
	ourMask   = hub.MarkClassMask | hub.MarkSpokeMask
)

// dropCounters are the named counters, one per reason.
var dropCounters = []string{
	"drop_hub",      // to the hub itself, not in to_hub
	"drop_invalid",  // conntrack says invalid
	"drop_ipv6",     // IPv6 from or to a tunnel
	"drop_limit",    // a new flow of a source that has too many
	"drop_metadata", // to a link-local address, instance metadata among them
	"drop_other",    // to neither spoke nor hub
	"drop_removed",  // a flow of a spoke that is no more
	"drop_source",   // to a spoke, from a source outside pools and sites
	"drop_toward",   // opened from outside toward a tunnel
}

// rule is one rule: its nft text and the expressions that say the same to the kernel.
type rule struct {
	text  string
	steps []step
	note  string // comment
}

// chain is one chain. A base chain has a hook.
type chain struct {
	name  string
	typ   string // filter, nat; "" = not a base chain
	hook  uint32
	prio  int32
	text  string // "type ... hook ... priority ...", as nft says it
	rules []rule
}

// ports are the protocols whose source port is translated into a range.
var ports = []struct {
	name  string
	proto byte
}{{"tcp", unix.IPPROTO_TCP}, {"udp", unix.IPPROTO_UDP}}

// chains is the skeleton's code.
func chains(s shape) []chain {
	return []chain{classify(), newcomer(s), gate(), outward(), toward(), tunnelIn(), toHub(), translate(s)}
}

// classify sees every packet of the host. The first rule is all that a packet of a running
// flow of ours meets, in both directions. A flow is confirmed when its first packet has
// passed all chains: nobody else can give a new flow a mark that counts as judged.
func classify() chain {
	return chain{name: "classify", typ: "filter", hook: unix.NF_INET_PRE_ROUTING, prio: -150,
		text: "type filter hook prerouting priority mangle", rules: []rule{
			{"ct mark & 0x7f000000 != 0 ct status confirmed meta mark set ct mark & 0x7f000000 accept",
				steps(ctMark(classMask), neq(0), ctStatus(ctConfirmed), carryMark(), accept()), "judged before"},
			{"meta nfproto ipv6 iifname @tunnels " + countDrop("drop_ipv6"),
				steps(family(unix.NFPROTO_IPV6), iifname("tunnels"), drop("drop_ipv6")), "IPv6 from a tunnel"},
			{"ct state invalid,new iifname @tunnels jump newcomer",
				steps(ctState(expr.CtStateBitINVALID|expr.CtStateBitNEW), iifname("tunnels"), jump("newcomer")), ""},
			{"ct mark & 0x7f000000 != 0 meta mark set ct mark & 0x7f000000",
				steps(ctMark(classMask), neq(0), carryMark()), "first packet"},
		}}
}

// carryMark gives a packet the class of its flow.
func carryMark() []step { return append(ctMark(classMask), setMark) }

// newcomer judges the first packet of a flow from a tunnel. A refused flow is never
// confirmed, so each of its packets comes here. A flow without an answer is new to
// conntrack for as long as it lasts, and confirmed after its first packet: it was judged.
//
// The flows of a source are counted last, so that only those count that go on. Counting costs
// the first packet of a flow alone.
func newcomer(s shape) chain {
	c := chain{name: "newcomer", rules: []rule{
		{"ct state invalid " + countDrop("drop_invalid"),
			steps(ctState(expr.CtStateBitINVALID), drop("drop_invalid")), "conntrack cannot place it"},
		{"ct status confirmed return", steps(ctStatus(ctConfirmed), back()), "judged before"},
		{"ip daddr 169.254.0.0/16 " + countDrop("drop_metadata"),
			steps(linkLocal(), drop("drop_metadata")), "instance metadata and its neighbours"},
		{"ct mark & 0x7f000000 != 0 ct mark set ct mark & 0x80ffffff",
			steps(ctMark(classMask), neq(0), ctMark(^uint32(classMask)), []step{setCtMark}), "only we give a class"},
		{"ct mark set ip daddr map @spokes4", steps(address(daddr), mapped("spokes4"), []step{setCtMark}), ""},
		{"ip saddr != @origins4 ct mark & 0x7f000000 != 0 " + countDrop("drop_source"),
			steps(address(saddr), notIn("origins4"), ctMark(classMask), neq(0), drop("drop_source")), "neither pool nor site"},
		{"ct mark & 0x7f000000 == 0 iifname != @leave fib daddr type != local " + countDrop("drop_other"),
			steps(ctMark(classMask), eq(0), meta(expr.MetaKeyIIFNAME), notIn("leave"), notLocal(), drop("drop_other")), "neither spoke nor hub"},
	}}
	if s.maxFlows > 0 {
		c.rules = append(c.rules, rule{
			fmt.Sprintf("ct mark & 0x7f000000 != 0 add @flows { ip saddr ct count over %d } %s", s.maxFlows, countDrop("drop_limit")),
			steps(ctMark(classMask), neq(0), address(saddr), countOver("flows", s.maxFlows), drop("drop_limit")), "too many flows of one source"})
	}
	return c
}

// gate also clamps the MSS: a base chain for that costs every packet more than a rule, which
// ends at its first comparisons for all but SYN.
func gate() chain {
	return chain{name: "gate", typ: "filter", hook: unix.NF_INET_FORWARD, prio: 0,
		text: "type filter hook forward priority filter", rules: []rule{
			{"tcp flags & (syn | rst) == syn ct mark & 0x7f000000 != 0 tcp option maxseg size set rt mtu",
				steps(proto(unix.IPPROTO_TCP), load(expr.PayloadBaseTransportHeader, 13, 1), []step{
					lib(&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 1, Mask: []byte{0x06}, Xor: []byte{0}}),
					compare(expr.CmpOpEq, []byte{0x02}),
				}, ctMark(classMask), neq(0), []step{
					lib(&expr.Rt{Key: expr.RtTCPMSS, Register: reg1}),
					lib(&expr.Byteorder{SourceRegister: reg1, DestRegister: reg1, Op: expr.ByteorderHton, Len: 2, Size: 2}),
					lib(&expr.Exthdr{Op: expr.ExthdrOpTcpopt, Type: 2, Offset: 2, Len: 2, SourceRegister: reg1}),
				}), ""},
			{"ct direction original ct mark @out accept",
				steps(ctDirection(0), wholeCtMark(), in("out"), accept()), ""},
			{"ct direction reply ct mark @back accept",
				steps(ctDirection(1), wholeCtMark(), in("back"), accept()), ""},
			{"iifname @tunnels jump outward", steps(iifname("tunnels"), jump("outward")), ""},
			{"oifname @tunnels jump toward", steps(oifname("tunnels"), jump("toward")), ""},
		}}
}

// outward judges what comes out of a tunnel without a live mark.
func outward() chain {
	return chain{name: "outward", rules: []rule{
		{"ct mark & 0x7f000000 != 0 " + countDrop("drop_removed"),
			steps(ctMark(classMask), neq(0), drop("drop_removed")), "its spoke is no more"},
		{"ip daddr 169.254.0.0/16 " + countDrop("drop_metadata"),
			steps(linkLocal(), drop("drop_metadata")), "instance metadata and its neighbours"},
		{"iifname != @leave " + countDrop("drop_other"),
			steps(meta(expr.MetaKeyIIFNAME), notIn("leave"), drop("drop_other")), "neither spoke nor hub"},
	}}
}

// toward judges what goes into a tunnel without a live mark. The conntrack mark of a flow
// whose first packet is dropped goes with it; it serves to ask whether a spoke sent it.
func toward() chain {
	return chain{name: "toward", rules: []rule{
		{"ct mark & 0x7f000000 != 0 " + countDrop("drop_removed"),
			steps(ctMark(classMask), neq(0), drop("drop_removed")), "its spoke is no more"},
		{"meta nfproto ipv6 " + countDrop("drop_ipv6"),
			steps(family(unix.NFPROTO_IPV6), drop("drop_ipv6")), "IPv6 to a tunnel"},
		{"oifname != @leave " + countDrop("drop_toward"),
			steps(meta(expr.MetaKeyOIFNAME), notIn("leave"), drop("drop_toward")), "no reply to a marked flow"},
		{"ct state new ct mark set ip saddr map @spokes4",
			steps(ctState(expr.CtStateBitNEW), address(saddr), mapped("spokes4"), []step{setCtMark}), ""},
		{"ct state new ct mark & 0x7f000000 != 0 " + countDrop("drop_toward"),
			steps(ctState(expr.CtStateBitNEW), ctMark(classMask), neq(0), drop("drop_toward")), "opened by a spoke"},
	}}
}

func tunnelIn() chain {
	return chain{name: "tunnel_in", typ: "filter", hook: unix.NF_INET_LOCAL_IN, prio: 0,
		text: "type filter hook input priority filter", rules: []rule{
			{"iifname @tunnels jump to_hub", steps(iifname("tunnels"), jump("to_hub")), ""},
		}}
}

func toHub() chain {
	return chain{name: "to_hub", rules: []rule{
		{"ip daddr 169.254.0.0/16 " + countDrop("drop_metadata"),
			steps(linkLocal(), drop("drop_metadata")), "instance metadata and its neighbours"},
		{"ct state established ct direction reply accept",
			steps(ctState(expr.CtStateBitESTABLISHED), ctDirection(1), accept()), "the hub asked"},
		{"ct state related meta l4proto icmp accept",
			steps(ctState(expr.CtStateBitRELATED), proto(unix.IPPROTO_ICMP), accept()), "ICMP error of a known flow"},
		{"iifname @hub_echo icmp type echo-request accept",
			steps(iifname("hub_echo"), family(unix.NFPROTO_IPV4), proto(unix.IPPROTO_ICMP),
				load(expr.PayloadBaseTransportHeader, 0, 1), []step{compare(expr.CmpOpEq, []byte{8})}, accept()), ""},
		{"iifname . meta l4proto . th dport @hub_ports accept",
			steps(meta(expr.MetaKeyIIFNAME), []step{
				lib(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg2}),
				lib(&expr.Payload{DestRegister: reg32b, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}),
			}, in("hub_ports"), accept()), ""},
		{countDrop("drop_hub"), drop("drop_hub"), "not in to_hub"},
	}}
}

func translate(s shape) chain {
	c := chain{name: "translate", typ: "nat", hook: unix.NF_INET_POST_ROUTING, prio: 100,
		text: "type nat hook postrouting priority srcnat"}
	const marked = "iifname @tunnels ct mark & 0x7f000000 != 0 "
	random, word := uint32(natFullyRandom), "fully-random"
	if !s.fullyRandom {
		random, word = natRandom, "random"
	}
	isMarked := steps(iifname("tunnels"), ctMark(classMask), neq(0))
	add := func(text string, s ...[]step) {
		c.rules = append(c.rules, rule{text: marked + text, steps: steps(slices.Insert(s, 0, isMarked)...)})
	}
	for _, p := range ports {
		add("meta l4proto "+p.name+" snat ip to oifname map @address4 : 2048-65535 "+word,
			proto(p.proto), snat("address4", true, random))
	}
	add("snat ip to oifname map @address4 "+word, snat("address4", false, random))
	for _, p := range ports {
		add("meta l4proto "+p.name+" masquerade to :2048-65535 "+word, proto(p.proto), masquerade(true, random))
	}
	add("meta nfproto ipv4 masquerade "+word, family(unix.NFPROTO_IPV4), masquerade(false, random))
	return c
}

func countDrop(counter string) string { return `counter name "` + counter + `" drop` }
