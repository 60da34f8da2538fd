package hub_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"peerhub/hub"
)

var values = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

const (
	hubAccount hub.AccountID = "111111111111"
	tokyo      hub.Region    = "ap-northeast-1"
)

var hubScope = hub.Scope{Account: hubAccount, Region: tokyo}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func pfxs(ss ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range ss {
		out = append(out, pfx(s))
	}
	return out
}

// policy is a plain config: a pool, an office, two listed accounts.
func policy() hub.Policy {
	return hub.Policy{
		Mode:    hub.ModeSync,
		HubName: "infra-tokyo",
		Accounts: map[hub.AccountID]hub.Account{
			"222222222222": {Name: "billing"},
			"333333333333": {Name: "web"},
		},
		Protect:     pfxs("192.168.77.0/24"),
		HubTables:   hub.TableChoice{Kind: hub.TablesOwnSubnet},
		SpokeTables: hub.TableChoice{Kind: hub.TablesAll},
		ReturnRoute: hub.ReturnSubnet,
		VPNs: []hub.VPN{{Name: "people", Interfaces: []string{"tun0"}, Pools: pfxs("172.27.240.0/22"),
			Sites: []hub.Site{{Name: "tokyo", Client: "office", Networks: pfxs("172.168.0.0/24", "10.99.0.0/24")}}}},
		Safety: hub.Safety{RemovalsAfter: 3, MaxRemoved: 20},
	}
}

// topology is a hub VPC and the peerings given, everything fresh.
func topology(ps ...hub.Peering) hub.Topology {
	return hub.Topology{
		Hub: hub.Hub{Scope: hubScope, Partition: "aws", VPC: "vpc-hub", Prefixes: pfxs("10.100.0.0/16"), Instance: "i-1",
			Interfaces: []hub.Interface{{Name: "eth0", ID: "eni-1", MAC: "02:00:00:00:00:01", Subnet: "subnet-1",
				SubnetPrefix: pfx("10.100.1.0/24"), Address: netip.MustParseAddr("10.100.1.10")}}},
		Sources:  []hub.Source{{Scope: hubScope, Fresh: true, At: time.Unix(1000, 0).UTC(), Survey: 1}},
		Peerings: ps,
		Tables: []hub.Table{
			{ID: "rtb-edge", VPC: "vpc-hub", Scope: hubScope, Edge: true},
			{ID: "rtb-hub", VPC: "vpc-hub", Scope: hubScope, Subnets: []hub.SubnetID{"subnet-1"}},
			{ID: "rtb-main", VPC: "vpc-hub", Scope: hubScope, Main: true},
		},
	}
}

// pcx is an active peering number n with an account and its prefixes.
func pcx(n int, account hub.AccountID, prefixes ...string) hub.Peering {
	return hub.Peering{ID: hub.PeeringID(fmt.Sprintf("pcx-%d", n)), State: hub.PeeringActive,
		Peer: hub.Peer{Scope: hub.Scope{Account: account, Region: tokyo}, VPC: hub.VPCID(fmt.Sprintf("vpc-%d", n)), Prefixes: pfxs(prefixes...)}}
}

func withState(p hub.Peering, s hub.PeeringState) hub.Peering {
	p.State = s
	return p
}

// seeing adds a route table of the spoke's own VPC.
func seeing(t hub.Topology, p hub.Peering, tables ...string) hub.Topology {
	t.Sources = append(slices.Clone(t.Sources), hub.Source{Scope: p.Peer.Scope, Fresh: true, Survey: 1})
	for i, id := range tables {
		t.Tables = append(t.Tables, hub.Table{ID: hub.TableID(id), VPC: p.Peer.VPC, Scope: p.Peer.Scope, Main: i == 0})
	}
	return t
}

// survey says that the hub's source answered for the n-th time.
func survey(t hub.Topology, n uint64) hub.Topology {
	t.Sources = slices.Clone(t.Sources)
	t.Sources[0].Survey = n
	return t
}

// reached lists the prefixes wanted through spokes, held ones in brackets.
func reached(d hub.Desired) []string {
	var out []string
	for _, r := range d.Reaches {
		s := fmt.Sprintf("%s %s", r.Prefix, r.Name)
		if r.Hold {
			s = "[" + s + "]"
		}
		out = append(out, s)
	}
	return out
}

func codesOf(ps []hub.Problem) []hub.Code {
	var out []hub.Code
	for _, p := range ps {
		out = append(out, p.Code)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// spokeProblems leaves out what every spoke without visible tables has.
func spokeProblems(ps []hub.Problem) []hub.Code {
	return slices.DeleteFunc(codesOf(ps), func(c hub.Code) bool { return c == hub.OtherSide })
}

func wantCodes(t *testing.T, got []hub.Problem, want ...hub.Code) {
	t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, spokeProblems(got), values); diff != "" {
		t.Errorf("problems (-want +got):\n%s\n%v", diff, got)
	}
}

func wantReached(t *testing.T, d hub.Desired, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, reached(d), values); diff != "" {
		t.Errorf("reached (-want +got):\n%s", diff)
	}
}
