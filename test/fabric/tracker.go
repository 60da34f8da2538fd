package fabric

import (
	"net/netip"
	"sync"
	"time"
)

// How long a flow is remembered without packets, as AWS documents for connection
// tracking of security groups (EC2 user guide, idle connection timeout).
const (
	idleTCP       = 5 * 24 * time.Hour
	idleTCPOpen   = 120 * time.Second // no answer yet
	idleTCPClosed = 30 * time.Second  // after a reset, or FIN from both sides
	idleUDP       = 30 * time.Second
	idleUDPStream = 180 * time.Second
	idleICMP      = 30 * time.Second
	idleOther     = 10 * time.Minute
)

// tuple names a flow as its interface sees it.
type tuple struct {
	proto                 uint8
	local, remote         netip.Addr
	localPort, remotePort uint16
}

// Marks in remotePort of an ICMP tuple, whose localPort is the echo id: who asks.
const (
	echoFromHere  = 0
	echoFromThere = 1
	icmpOther     = 2
)

// tupleOf names the flow of a packet that leaves (out) or reaches an interface.
func tupleOf(h *header, out bool) tuple {
	t := tuple{proto: h.proto, local: h.dst, remote: h.src, localPort: h.dstPort, remotePort: h.srcPort}
	if out {
		t.local, t.remote, t.localPort, t.remotePort = h.src, h.dst, h.srcPort, h.dstPort
	}
	if h.isICMP() {
		t.localPort, t.remotePort = h.id, echoFromThere
		switch {
		case !h.isEcho():
			t.localPort, t.remotePort = uint16(h.kind)<<8|uint16(h.code), icmpOther
		case h.isEchoRequest() == out:
			t.remotePort = echoFromHere
		}
	}
	return t
}

type flow struct {
	expires time.Duration // on the fabric's clock
	out     bool          // opened from the interface
	replied bool
	fin     [2]bool // seen from outside, from the interface
	reset   bool
}

// tracker remembers the flows that the security groups of one interface admitted.
type tracker struct {
	mu      sync.Mutex
	flows   map[tuple]*flow
	sweepAt int // sweep when this many flows are there
}

const sweepMin = 1024

func newTracker() *tracker { return &tracker{flows: make(map[tuple]*flow), sweepAt: sweepMin} }

// admits passes a packet of a tracked flow, an ICMP error about one, and what
// the rules allow, which it then tracks.
func (t *tracker) admits(pk *packet, out bool, rules []groupRule, now time.Duration) bool {
	remote := pk.src
	if out {
		remote = pk.dst
	}
	if pk.isICMPError() {
		return t.related(pk, out, now) || allowed(rules, &pk.header, remote)
	}
	key := tupleOf(&pk.header, out)
	flags := tcpFlags(pk)
	t.mu.Lock()
	defer t.mu.Unlock()
	if fl := t.flows[key]; fl != nil && fl.expires > now && !(fl.closed() && flags&(flagSYN|flagACK) == flagSYN) {
		fl.touch(pk.proto, flags, out, now)
		return true
	}
	if !allowed(rules, &pk.header, remote) {
		return false
	}
	if len(t.flows) >= t.sweepAt {
		t.sweep(now)
	}
	fl := &flow{out: out}
	fl.touch(pk.proto, flags, out, now)
	t.flows[key] = fl
	return true
}

// related tells whether an ICMP error quotes a packet of a tracked flow. The
// quoted packet travelled the other way.
func (t *tracker) related(pk *packet, out bool, now time.Duration) bool {
	var quoted header
	if err := quoted.parse(pk.payload()[8:]); err != nil || !quoted.known {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	fl := t.flows[tupleOf(&quoted, !out)]
	return fl != nil && fl.expires > now
}

func (t *tracker) sweep(now time.Duration) {
	for key, fl := range t.flows {
		if fl.expires <= now {
			delete(t.flows, key)
		}
	}
	t.sweepAt = max(sweepMin, 2*len(t.flows))
}

const (
	flagFIN = 1
	flagSYN = 2
	flagRST = 4
	flagACK = 16
)

// tcpFlags is zero for anything but TCP.
func tcpFlags(pk *packet) uint8 {
	if pk.proto != protoTCP || !pk.first || len(pk.payload()) < 14 {
		return 0
	}
	return pk.payload()[13]
}

// touch notes a packet of the flow and moves its end.
func (fl *flow) touch(proto, flags uint8, out bool, now time.Duration) {
	if out != fl.out {
		fl.replied = true
	}
	if flags&flagRST != 0 {
		fl.reset = true
	}
	if flags&flagFIN != 0 {
		fl.fin[side(out)] = true
	}
	fl.expires = now + fl.idle(proto)
}

// closed tells a TCP flow that is over: the same ports may be opened anew.
func (fl *flow) closed() bool { return fl.reset || fl.fin[0] && fl.fin[1] }

func side(out bool) int {
	if out {
		return 1
	}
	return 0
}

func (fl *flow) idle(proto uint8) time.Duration {
	switch proto {
	case protoTCP:
		switch {
		case fl.closed():
			return idleTCPClosed
		case !fl.replied:
			return idleTCPOpen
		}
		return idleTCP
	case protoUDP:
		if fl.replied {
			return idleUDPStream
		}
		return idleUDP
	case protoICMP, protoICMPv6:
		return idleICMP
	}
	return idleOther
}
