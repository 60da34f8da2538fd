package fabric_test

import (
	"net"
	"testing"

	"peerhub/test/fabric"
)

// BenchmarkForward sends small datagrams from the hub over a peering; an
// operation is one packet through source check, groups, ACLs, routes, peering.
func BenchmarkForward(b *testing.B) {
	r := newRig(b, nil, "eni-hub", "eni-svc")
	var sink net.PacketConn
	if err := fabric.InNS(r.ns["eni-svc"], func() (err error) {
		sink, err = net.ListenPacket("udp4", ":7")
		return err
	}); err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	credit := make(chan struct{}, 1<<20)
	go func() {
		buf := make([]byte, 2048)
		for {
			if _, _, err := sink.ReadFrom(buf); err != nil {
				return
			}
			credit <- struct{}{}
		}
	}()
	conn := r.dialUDP("eni-hub", "", "10.110.0.10:7")
	const window = 64
	payload := make([]byte, 64)
	for i := range b.N {
		if i >= window {
			<-credit
		}
		if _, err := conn.Write(payload); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
}
