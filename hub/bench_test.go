package hub_test

import (
	"context"
	"fmt"
	"testing"

	"peerhub/hub"
)

// many is 125 spokes of 50 prefixes each, as many as AWS lets one VPC peer with, of which
// each spoke shares one prefix with another.
func many() (hub.Policy, hub.Topology) {
	var ps []hub.Peering
	for s := range 125 {
		p := pcx(s+1, hub.AccountID(fmt.Sprintf("%012d", 700000000000+s)))
		for n := range 49 {
			i := s*49 + n
			p.Peer.Prefixes = append(p.Peer.Prefixes, pfx(fmt.Sprintf("10.%d.%d.0/24", 101+i/256, i%256)))
		}
		p.Peer.Prefixes = append(p.Peer.Prefixes, pfx(fmt.Sprintf("10.101.%d.128/25", (s*49+60)%256)))
		ps = append(ps, p)
	}
	return policy(), topology(ps...)
}

func BenchmarkDecide6250(b *testing.B) {
	pol, topo := many()
	_, _, mem := hub.Decide(pol, topo, hub.Remembered{})
	b.ReportAllocs()
	for b.Loop() {
		hub.Decide(pol, topo, mem)
	}
}

// BenchmarkIdlePass6250 is Decide, Guard and the comparison with what was saved; the fake
// planes have nothing to read.
func BenchmarkIdlePass6250(b *testing.B) {
	pol, topo := many()
	rec := hub.NewReconciler()
	in := hub.Input{Policy: pol, Topology: topo, Save: func(context.Context, hub.Remembered, hub.Desired) error { return nil }}
	rep, mem := rec.Pass(context.Background(), in)
	in.Prev, in.Remembered = &rep.Desired, mem
	in.Save = func(context.Context, hub.Remembered, hub.Desired) error { b.Error("an idle pass saves"); return nil }
	b.ReportAllocs()
	for b.Loop() {
		rec.Pass(context.Background(), in)
	}
}

func BenchmarkDiff6250(b *testing.B) {
	pol, topo := many()
	want, _, _ := hub.Decide(pol, topo, hub.Remembered{})
	list := objects(hub.PlaneMasq, want)
	b.ReportAllocs()
	for b.Loop() {
		hub.Diff(list, list)
	}
}
