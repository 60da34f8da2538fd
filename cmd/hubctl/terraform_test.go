package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"peerhub/hub"
)

// TestTerraformNamesEveryRoute: each wanted route once, with an import of its own, under a name that
// no other has, and a provider that is told of.
func TestTerraformNamesEveryRoute(t *testing.T) {
	var want hub.Desired
	for i, scope := range []hub.Scope{{Account: "111111111111", Region: "ap-northeast-1"}, {Account: "222222222222", Region: "us-west-2"}, {Account: "111111111111", Region: "ap-northeast-1"}} {
		for n := range 40 {
			want.Routes = append(want.Routes, hub.VPCRoute{Scope: scope, Table: hub.TableID(fmt.Sprintf("rtb-0000000%d", i)), Peering: hub.PeeringID(fmt.Sprintf("pcx-%08d", n)),
				Destination: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n), 0, 0}), 16)})
		}
	}
	text := terraform(want)
	names := map[string]bool{}
	for _, block := range strings.Split(text, "import {")[1:] {
		var name string
		for line := range strings.Lines(block) {
			if n, ok := strings.CutPrefix(strings.TrimSpace(line), "to = aws_route."); ok {
				name = n
			}
		}
		if names[name] || !strings.Contains(block, fmt.Sprintf("resource \"aws_route\" %q {", name)) {
			t.Errorf("%q is named twice, or has no resource:\n%s", name, block)
		}
		names[name] = true
	}
	for _, r := range want.Routes {
		for _, line := range []string{
			fmt.Sprintf("  id = \"%s_%s\"\n", r.Table, r.Destination),
			fmt.Sprintf("  route_table_id            = %q\n  destination_cidr_block    = %q\n  vpc_peering_connection_id = %q\n", r.Table, r.Destination, r.Peering),
			fmt.Sprintf("# account %s, region %s: provider aws.%s\n", r.Scope.Account, r.Scope.Region, alias(r.Scope)),
		} {
			if !strings.Contains(text, line) {
				t.Errorf("%s is not in the text of %s to %s", line, r.Table, r.Destination)
			}
		}
	}
	if len(names) != len(want.Routes) {
		t.Errorf("%d resources for %d routes", len(names), len(want.Routes))
	}
	if text := terraform(hub.Desired{}); !strings.HasPrefix(text, "#") {
		t.Errorf("without a route: %q", text)
	}
}
