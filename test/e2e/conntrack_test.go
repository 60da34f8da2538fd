package e2e

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// fillConntrack puts established connections of nobody into the hub's connection table until
// that share of net.netfilter.nf_conntrack_max is in use, less leave. They count as any other
// and are never given up for a new one. The table's size is the machine's and not to be changed.
func (s *scene) fillConntrack(percent, leave int) {
	s.t.Helper()
	var have, most int
	s.must(scan(s.sh(lab.HostHub, "sysctl -n net.netfilter.nf_conntrack_count"), &have))
	s.must(scan(s.sh(lab.HostHub, "sysctl -n net.netfilter.nf_conntrack_max"), &most))
	n := most*percent/100 - leave - have
	s.must(fabric.InNS(s.ns(lab.HostHub), func() error { return addFlows(n, have) }))
	var now int
	s.must(scan(s.sh(lab.HostHub, "sysctl -n net.netfilter.nf_conntrack_count"), &now))
	if now < have+n*9/10 {
		s.t.Fatalf("the connection table has %d of %d entries, want %d more than %d", now, most, n, have)
	}
}

// Numbers of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctNew                                                                    = unix.NFNL_SUBSYS_CTNETLINK << 8
	ctaOrig, ctaReply, ctaStatus, ctaTimeout                                 = 1, 2, 3, 7
	ctaIP, ctaProto, ctaSource, ctaTarget, ctaNumber, ctaFromPort, ctaToPort = 1, 2, 1, 2, 1, 2, 3
	seenReply, assured, confirmed                                            = 1 << 1, 1 << 2, 1 << 3
)

// addFlows adds n UDP flows that nobody has, numbered from first, for ten minutes.
func addFlows(n, first int) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open a netfilter socket: %w", err)
	}
	defer unix.Close(fd)
	const each = 200 // messages of one send
	for i := 0; i < n; i += each {
		var b []byte
		for k := i; k < min(i+each, n); k++ {
			b = append(b, flowMessage(uint32(first+k))...)
		}
		if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return fmt.Errorf("add flows: %w", err)
		}
	}
	return nil
}

// flowMessage makes flow number k: from 198.18.x.y to 198.19.0.1.
func flowMessage(k uint32) []byte {
	attr := func(typ uint16, data ...byte) []byte {
		b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
		b = append(binary.NativeEndian.AppendUint16(b, typ), data...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
		return b
	}
	nest := func(typ uint16, parts ...[]byte) []byte {
		var all []byte
		for _, p := range parts {
			all = append(all, p...)
		}
		return attr(typ|unix.NLA_F_NESTED, all...)
	}
	port := func(p uint32) []byte { return binary.BigEndian.AppendUint16(nil, uint16(p)) }
	number := func(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
	from, to := []byte{198, 18, byte(k >> 20), byte(k >> 12)}, []byte{198, 19, 0, 1}
	tuple := func(typ uint16, src, dst []byte, sport, dport uint32) []byte {
		return nest(typ, nest(ctaIP, attr(ctaSource, src...), attr(ctaTarget, dst...)),
			nest(ctaProto, attr(ctaNumber, unix.IPPROTO_UDP), attr(ctaFromPort, port(sport)...), attr(ctaToPort, port(dport)...)))
	}
	sport := 1024 + k%4096
	body := []byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}
	for _, a := range [][]byte{
		tuple(ctaOrig, from, to, sport, 9), tuple(ctaReply, to, from, 9, sport),
		attr(ctaStatus, number(seenReply|assured|confirmed)...), attr(ctaTimeout, number(600)...),
	} {
		body = append(body, a...)
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
	b = binary.NativeEndian.AppendUint16(b, ctNew)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_CREATE)
	b = binary.NativeEndian.AppendUint32(b, k)
	b = binary.NativeEndian.AppendUint32(b, 0)
	return append(b, body...)
}
