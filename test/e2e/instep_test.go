package e2e

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"peerhub/test/fabric"
)

// inStep sends datagrams from several namespaces to one destination: number k of each in the
// same moment and from the same source port, each sender on a thread of its own. It is the
// worst that can happen to the choice of a port. The first error ends all.
func inStep(from map[string]netip.Addr, to netip.AddrPort, flows int) error {
	turns := make([]atomic.Int64, len(from))
	errs := make([]error, len(from))
	var wg sync.WaitGroup
	i := 0
	for ns, source := range from {
		me := i
		i++
		wg.Go(func() {
			errs[me] = fabric.InNS(ns, func() error { return sendInStep(turns, me, source, to, flows) })
			turns[me].Store(1 << 40) // nobody waits for who has ended
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// firstInStep is the first source port of inStep.
const firstInStep = 2048

func sendInStep(turns []atomic.Int64, me int, source netip.Addr, to netip.AddrPort, flows int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return fmt.Errorf("open a raw socket: %w", err)
	}
	defer unix.Close(fd)
	for k := range flows {
		packet := datagram(netip.AddrPortFrom(source, uint16(firstInStep+k)), to)
		turns[me].Store(int64(k + 1))
		for other := range turns {
			for turns[other].Load() < int64(k+1) {
				runtime.Gosched()
			}
		}
		if err := unix.Sendto(fd, packet, 0, &unix.SockaddrInet4{Addr: to.Addr().As4()}); err != nil {
			return fmt.Errorf("send datagram %d: %w", k, err)
		}
	}
	return nil
}

// datagram is an IPv4 packet with an empty UDP datagram without a checksum.
func datagram(from, to netip.AddrPort) []byte {
	b := make([]byte, 28)
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], from.Addr().AsSlice())
	copy(b[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[20:], from.Port())
	binary.BigEndian.PutUint16(b[22:], to.Port())
	binary.BigEndian.PutUint16(b[24:], 8)
	return b
}
