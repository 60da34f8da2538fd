package vpcroute_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"peerhub/hub"
	"peerhub/hub/vpcroute"
)

// standing is a hub with n spokes of four prefixes each, every route of which is there.
func standing(n int) (hub.Topology, hub.Desired, *ledger) {
	home := hub.Scope{Account: hubAccount, Region: tokyo}
	top := hub.Topology{Hub: hub.Hub{Scope: home, VPC: hubVPC, Prefixes: []netip.Prefix{prefix("10.0.0.0/16")}},
		Sources: []hub.Source{{Scope: home, Fresh: true, Survey: 1}}}
	table := hub.Table{ID: hubTable, VPC: hubVPC, Scope: home, Main: true}
	var want hub.Desired
	l := &ledger{}
	for i := range n {
		spoke, pcx := hub.SpokeID(fmt.Sprintf("vpc-%08x", i)), hub.PeeringID(fmt.Sprintf("pcx-%08x", i))
		top.Peerings = append(top.Peerings, hub.Peering{ID: pcx, State: hub.PeeringActive, Peer: hub.Peer{VPC: hub.VPCID(spoke)}})
		want.Spokes = append(want.Spokes, hub.Spoke{ID: spoke, Name: string(spoke), Peering: pcx})
		for j := range 4 {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(1 + (i*4+j)/256), byte(i*4 + j), 0}), 24)
			table.Routes = append(table.Routes, hub.Route{Destination: p, Target: string(pcx), Static: true})
			u := hub.Unit{Kind: hub.UnitPrefix, Spoke: spoke, Prefix: p}
			want.Reaches = append(want.Reaches, hub.Reach{Spoke: spoke, Prefix: p, Real: p})
			want.Routes = append(want.Routes, hub.VPCRoute{Scope: home, Table: hubTable, Destination: p, Peering: pcx, Side: hub.SideHub, Spoke: spoke, Unit: u})
			l.entries = append(l.entries, hub.LedgerEntry{LedgerKey: hub.LedgerKey{Table: hubTable, Destination: p, Peering: pcx}, Scope: home, Spoke: spoke, Side: hub.SideHub, Confirmed: true})
		}
	}
	top.Tables = []hub.Table{table}
	return top, want, l
}

// BenchmarkIdlePass is this plane's part of a pass in which nothing is to do: as AWS's
// largest hub has it, 125 spokes, with a new survey each time.
func BenchmarkIdlePass(b *testing.B) {
	top, want, l := standing(125)
	p := vpcroute.New(vpcroute.Options{Ledger: l, Topology: func() hub.Topology { return top }, Now: time.Now})
	ctx := context.Background()
	for b.Loop() {
		top.Sources[0].Survey++
		view, err := p.Observe(ctx)
		if err != nil {
			b.Fatal(err)
		}
		for range 4 {
			if c := view.Plan(want); len(c) > 0 {
				b.Fatal(c)
			}
		}
		if u := view.(hub.Lacking).Lacks(want); len(u) > 0 {
			b.Fatal(u)
		}
		if ps := view.(hub.Troubled).Problems(want); len(ps) > 0 {
			b.Fatal(ps)
		}
	}
}
