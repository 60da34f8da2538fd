package e2e

import (
	"net/netip"
	"testing"

	"peerhub/test/lab"
)

// TestRenumbered is the main job in a lab where every number and name is another one:
// prefixes, pool, names of interface and tunnel, regions, ids, accounts.
func TestRenumbered(t *testing.T) {
	t.Parallel()
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	r := start(t, "n", func(s *lab.Spec, _ *lab.Options) {
		*s = lab.Spec{
			Region: "eu-central-1", Salt: "other",
			HubAccount: "010203040506", HubName: "kern", HubVPC: p("172.20.0.0/16"), HubPublic: a("192.0.2.77"), HubInterface: "ens5",
			Tunnel: "tun7", Pool: p("10.9.8.0/24"), Aggregates: []netip.Prefix{p("10.32.0.0/12"), p("192.168.64.0/18")},
			OfficeLAN: p("10.77.3.0/25"), OfficeClient: "werk-ulm", Internet: p("198.51.100.128/25"), API: a("203.0.113.200"),
			ExternalID: "another", Services: []lab.Service{
				{Host: "billing", Account: "021212121212", VPC: p("10.40.0.0/16"), Peering: lab.PeeringActive},
				{Host: "search", Account: "343434343434", Region: "eu-west-1", VPC: p("192.168.64.0/20"), Peering: lab.PeeringActive},
				{Host: "lonely", Account: "565656565656", VPC: p("10.41.0.0/16"), Peering: lab.PeeringNone},
			},
			More: 1, MorePrefix: p("10.33.0.0/20"),
		}
	})
	r.reaches(everybody, []string{"billing", "search", "spoke1"})
	r.reaches(everybody, []string{lab.HostInfra}) // the hub's own VPC, like a spoke
	before := r.guard()["drop_other"]
	for _, from := range everybody {
		r.refused(from, "lonely")
	}
	if now := r.guard()["drop_other"]; now < before+3 {
		t.Errorf("drop_other rose from %d to %d; want 3 more: the unpeered VPC is refused by the hub", before, now)
	}
	for _, c := range r.sync() {
		t.Errorf("a second pass changes %v", c)
	}
}
