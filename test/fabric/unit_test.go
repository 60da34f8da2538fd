package fabric

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"peerhub/test/ec2sim"
)

// built is a frame around an IPv4 packet with right checksums.
func built(proto uint8, src, dst string, transport []byte) []byte {
	frame := make([]byte, ethLen+20+len(transport))
	binary.BigEndian.PutUint16(frame[12:], etherIPv4)
	ip := frame[ethLen:]
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	ip[8], ip[9] = 64, proto
	copy(ip[12:], netip.MustParseAddr(src).AsSlice())
	copy(ip[16:], netip.MustParseAddr(dst).AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:20], 0))
	copy(ip[20:], transport)
	return frame
}

// segment is a transport header with ports and payload, its checksum set.
func segment(proto uint8, src, dst string, from, to uint16, flags byte, payload string) []byte {
	size, at := 8, 6
	if proto == protoTCP {
		size, at = 20, 16
	}
	b := append(make([]byte, size), payload...)
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	if proto == protoTCP {
		b[12], b[13] = 5<<4, flags
	} else {
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	}
	binary.BigEndian.PutUint16(b[at:], checksum(b, pseudo(proto, src, dst, len(b))))
	return b
}

func pseudo(proto uint8, src, dst string, length int) uint32 {
	sum := uint32(proto) + uint32(length)
	for _, a := range []string{src, dst} {
		b := netip.MustParseAddr(a).As4()
		sum += uint32(binary.BigEndian.Uint16(b[:])) + uint32(binary.BigEndian.Uint16(b[2:]))
	}
	return sum
}

func icmpError(kind, code byte, quoted []byte) []byte {
	b := append([]byte{kind, code, 0, 0, 0, 0, 0, 0}, quoted...)
	binary.BigEndian.PutUint16(b[2:], checksum(b, 0))
	return b
}

func parsed(t *testing.T, frame []byte) *packet {
	t.Helper()
	pk := &packet{}
	if err := pk.parseFrame(frame); err != nil {
		t.Fatal(err)
	}
	return pk
}

func TestRewritingKeepsChecksumsRight(t *testing.T) {
	t.Parallel()
	const private, public, peer = "10.100.0.10", "203.0.113.10", "192.0.2.7"
	for _, proto := range []uint8{protoTCP, protoUDP} {
		for _, payload := range []string{"", "x", "xy", "hello world"} {
			out := parsed(t, built(proto, private, peer, segment(proto, private, peer, 1234, 80, 0, payload)))
			out.rewriteSource(netip.MustParseAddr(public))
			if sum := checksum(out.ip[:20], 0); sum != 0 {
				t.Errorf("proto %d %q: header checksum is off by %#x", proto, payload, sum)
			}
			if sum := checksum(out.payload(), pseudo(proto, public, peer, len(out.payload()))); sum != 0 {
				t.Errorf("proto %d %q: transport checksum is off by %#x", proto, payload, sum)
			}

			// The peer complains about that packet; the complaint comes home.
			complaint := parsed(t, built(protoICMP, peer, public, icmpError(3, 3, out.ip)))
			complaint.rewriteDest(netip.MustParseAddr(private))
			quoted := complaint.payload()[8:]
			if sum := checksum(complaint.payload(), 0); sum != 0 {
				t.Errorf("proto %d %q: ICMP checksum is off by %#x", proto, payload, sum)
			}
			if got, _ := netip.AddrFromSlice(quoted[12:16]); got.String() != private {
				t.Errorf("proto %d: the quoted source is %s, want %s", proto, got, private)
			}
			if sum := checksum(quoted[:20], 0); sum != 0 {
				t.Errorf("proto %d %q: quoted header checksum is off by %#x", proto, payload, sum)
			}
			if sum := checksum(quoted[20:], pseudo(proto, private, peer, len(quoted)-20)); sum != 0 {
				t.Errorf("proto %d %q: quoted transport checksum is off by %#x", proto, payload, sum)
			}
		}
	}
}

func TestTrackedFlowsEnd(t *testing.T) {
	t.Parallel()
	const here, there = "10.0.0.1", "10.1.0.1"
	open := []groupRule{{NetRule: ec2sim.NetRule{Protocol: -1, Prefix: netip.MustParsePrefix("0.0.0.0/0")}}}
	tcpOut := func(flags byte) []byte {
		return built(protoTCP, here, there, segment(protoTCP, here, there, 1000, 80, flags, ""))
	}
	tcpIn := func(flags byte) []byte {
		return built(protoTCP, there, here, segment(protoTCP, there, here, 80, 1000, flags, ""))
	}
	udpOut := built(protoUDP, here, there, segment(protoUDP, here, there, 1000, 53, 0, ""))
	udpIn := built(protoUDP, there, here, segment(protoUDP, there, here, 53, 1000, 0, ""))
	echo := func(kind byte, src, dst string) []byte {
		return built(protoICMP, src, dst, []byte{kind, 0, 0, 0, 0x12, 0x34, 0, 1})
	}
	type step struct {
		after time.Duration
		frame []byte
		out   bool
		want  bool
	}
	for name, steps := range map[string][]step{
		"UDP without an answer": {{0, udpOut, true, true}, {idleUDP, udpIn, false, false}},
		"UDP stream":            {{0, udpOut, true, true}, {idleUDP - 1, udpIn, false, true}, {idleUDPStream - 1, udpIn, false, true}, {idleUDPStream, udpIn, false, false}},
		"TCP without an answer": {{0, tcpOut(flagSYN), true, true}, {idleTCPOpen, tcpIn(flagSYN | flagACK), false, false}},
		"TCP idle":              {{0, tcpOut(flagSYN), true, true}, {0, tcpIn(flagSYN | flagACK), false, true}, {idleTCP - 1, tcpIn(flagACK), false, true}},
		"TCP reset":             {{0, tcpOut(flagSYN), true, true}, {0, tcpIn(flagRST), false, true}, {idleTCPClosed, tcpIn(flagACK), false, false}},
		"TCP closed by one side": {{0, tcpOut(flagSYN), true, true}, {0, tcpIn(flagSYN | flagACK), false, true},
			{0, tcpOut(flagFIN | flagACK), true, true}, {time.Hour, tcpIn(flagACK), false, true}},
		"TCP closed by both sides": {{0, tcpOut(flagSYN), true, true}, {0, tcpOut(flagFIN | flagACK), true, true},
			{0, tcpIn(flagFIN | flagACK), false, true}, {idleTCPClosed, tcpIn(flagACK), false, false}},
		"a closed TCP flow is no door for a new one": {{0, tcpOut(flagSYN), true, true}, {0, tcpIn(flagRST), false, true}, {0, tcpIn(flagSYN), false, false}},
		"echo answered":                    {{0, echo(8, here, there), true, true}, {0, echo(0, there, here), false, true}},
		"echo asked back":                  {{0, echo(8, here, there), true, true}, {0, echo(8, there, here), false, false}},
		"error about a flow":               {{0, udpOut, true, true}, {0, built(protoICMP, "10.9.9.9", here, icmpError(11, 0, udpOut[ethLen:])), false, true}},
		"error about nothing":              {{0, built(protoICMP, there, here, icmpError(3, 4, udpOut[ethLen:])), false, false}},
		"error about a flow that is over":  {{0, udpOut, true, true}, {idleUDP, built(protoICMP, there, here, icmpError(3, 4, udpOut[ethLen:])), false, false}},
		"error that quotes something else": {{0, udpOut, true, true}, {0, built(protoICMP, there, here, icmpError(3, 4, udpIn[ethLen:])), false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTracker()
			var now time.Duration
			for i, s := range steps {
				now += s.after
				rules := open // everything may leave, nothing may come in
				if !s.out {
					rules = nil
				}
				if got := tr.admits(parsed(t, s.frame), s.out, rules, now); got != s.want {
					t.Fatalf("step %d: admitted %v, want %v", i, got, s.want)
				}
			}
		})
	}
}

func TestTheTrackerForgetsWhatIsOver(t *testing.T) {
	t.Parallel()
	tr := newTracker()
	all := []groupRule{{NetRule: ec2sim.NetRule{Protocol: -1, Prefix: netip.MustParsePrefix("0.0.0.0/0")}}}
	for i := range 20 * sweepMin {
		pk := parsed(t, built(protoUDP, "10.0.0.1", "10.1.0.1", segment(protoUDP, "10.0.0.1", "10.1.0.1", uint16(i), 53, 0, "")))
		tr.admits(pk, true, all, time.Duration(i)*time.Second)
	}
	if n := len(tr.flows); n > sweepMin {
		t.Errorf("%d flows are remembered, want at most %d", n, sweepMin)
	}
}

// TestNoPacketBreaksTheRouter feeds mutilated packets to everything that reads them.
func TestNoPacketBreaksTheRouter(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	udp := built(protoUDP, "10.0.0.1", "10.1.0.1", segment(protoUDP, "10.0.0.1", "10.1.0.1", 1, 2, 0, "payload"))
	six := icmp6Frame(ndNeighbourSolicit, 0, routerLinkLocal, allNodes, 255, make([]byte, 28))
	seeds := [][]byte{udp, built(protoICMP, "10.1.0.1", "10.0.0.1", icmpError(3, 4, udp[ethLen:])), six}
	f := New(Options{})
	p := &port{kind: portENI, eni: "eni-x"}
	to := netip.MustParseAddr("203.0.113.1")
	read := 0
	for range 200_000 {
		frame := append([]byte(nil), seeds[rnd.IntN(len(seeds))]...)
		for range rnd.IntN(6) {
			frame[ethLen+rnd.IntN(len(frame)-ethLen)] = byte(rnd.Uint32())
		}
		if rnd.IntN(2) == 0 {
			frame = frame[:ethLen+rnd.IntN(len(frame)-ethLen+1)]
		}
		f.receive(p, frame)
		var pk packet
		if pk.parseFrame(frame) != nil {
			continue
		}
		read++
		newTracker().admits(&pk, true, nil, 0)
		if !pk.v6 {
			pk.rewriteSource(to)
			pk.rewriteDest(to)
			pk.setTTL(1)
		}
		_ = pk.String()
	}
	if read < 10_000 {
		t.Errorf("only %d of the packets could be read", read)
	}
}

// TestStaticBeatsPropagated: of two routes to one prefix the static one is taken, whichever
// came first; alone, the propagated one is.
func TestStaticBeatsPropagated(t *testing.T) {
	dst := netip.MustParsePrefix("10.110.0.0/16")
	propagated := ec2sim.NetRoute{Destination: dst, Kind: ec2sim.TargetOther, Target: "vgw-1", Propagated: true}
	static := ec2sim.NetRoute{Destination: dst, Kind: ec2sim.TargetPeering, Target: "pcx-1"}
	gone := static
	gone.Blackhole = true
	for _, tt := range []struct {
		name   string
		routes []ec2sim.NetRoute
		want   string
	}{
		{"propagated first", []ec2sim.NetRoute{propagated, static}, "pcx-1"},
		{"static first", []ec2sim.NetRoute{static, propagated}, "pcx-1"},
		{"propagated alone", []ec2sim.NetRoute{propagated}, "vgw-1"},
		{"static that leads nowhere", []ec2sim.NetRoute{gone, propagated}, "vgw-1"},
	} {
		r, ok := compileTable(ec2sim.NetTable{ID: "rtb-1", Routes: tt.routes}, &vpc{}).lookup(netip.MustParseAddr("10.110.0.10"))
		if !ok || r.Target != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, r.Target, tt.want)
		}
	}
}
