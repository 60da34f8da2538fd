package hub_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

// written lists wanted VPC routes as "table destination target", held ones in brackets.
func written(d hub.Desired, side hub.Side) []string {
	var out []string
	for _, r := range d.Routes {
		if r.Side != side {
			continue
		}
		s := fmt.Sprintf("%s %s %s", r.Table, r.Destination, r.Peering)
		if r.Hold {
			s = "[" + s + "]"
		}
		out = append(out, s)
	}
	return out
}

func TestHubTablesAreChosenAsTheConfigSays(t *testing.T) {
	tagged := func(t *hub.Topology) { t.Tables[2].Tags = map[string]string{"peerhub": "yes"} }
	mainOnly := func(t *hub.Topology) { t.Tables[1].Subnets = nil }
	for _, tt := range []struct {
		name   string
		choice hub.TableChoice
		set    func(*hub.Topology)
		want   []string
		code   hub.Code
	}{
		{"own subnet, associated", hub.TableChoice{Kind: hub.TablesOwnSubnet}, nil, []string{"rtb-hub"}, ""},
		{"own subnet, main", hub.TableChoice{Kind: hub.TablesOwnSubnet}, mainOnly, []string{"rtb-main"}, ""},
		{"nothing said is own subnet", hub.TableChoice{}, nil, []string{"rtb-hub"}, ""},
		{"own subnet, none at all", hub.TableChoice{Kind: hub.TablesOwnSubnet}, func(t *hub.Topology) { t.Tables = nil }, nil, hub.NoTable},
		{"all, but no gateway's", hub.TableChoice{Kind: hub.TablesAll}, nil, []string{"rtb-hub", "rtb-main"}, ""},
		{"by tag", hub.TableChoice{Kind: hub.TablesTag, Tag: "peerhub=yes"}, tagged, []string{"rtb-main"}, ""},
		{"by a tag that has another value", hub.TableChoice{Kind: hub.TablesTag, Tag: "peerhub=no"}, tagged, nil, hub.NoTable},
		{"listed", hub.TableChoice{Kind: hub.TablesListed, Tables: []hub.TableID{"rtb-main", "rtb-hub"}}, nil, []string{"rtb-hub", "rtb-main"}, ""},
		{"listed, one missing", hub.TableChoice{Kind: hub.TablesListed, Tables: []hub.TableID{"rtb-main", "rtb-x"}}, nil, []string{"rtb-main"}, hub.NoTable},
		{"listed, a gateway's", hub.TableChoice{Kind: hub.TablesListed, Tables: []hub.TableID{"rtb-edge"}}, nil, nil, hub.NoTable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pol, topo := policy(), topology(pcx(1, "222222222222", "10.110.0.0/16", "10.111.0.0/24"))
			pol.HubTables = tt.choice
			if tt.set != nil {
				tt.set(&topo)
			}
			var want []string
			for _, table := range tt.want {
				want = append(want, table+" 10.110.0.0/16 pcx-1", table+" 10.111.0.0/24 pcx-1")
			}
			got, problems, _ := hub.Decide(pol, topo, hub.Remembered{})
			if diff := cmp.Diff(want, written(got, hub.SideHub), values); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
			if tt.code != "" {
				wantCodes(t, problems, tt.code)
			} else {
				wantCodes(t, problems)
			}
			for _, r := range got.Routes {
				if r.Scope != hubScope || r.Unit != (hub.Unit{Kind: hub.UnitPrefix, Spoke: "vpc-1", Prefix: r.Destination}) {
					t.Errorf("route of %s belongs to %s", r.Scope, r.Unit)
				}
			}
		})
	}
}

func TestTheWayBackIsAsWideAsTheConfigSays(t *testing.T) {
	for _, tt := range []struct {
		width hub.ReturnRoute
		want  []string
	}{
		{hub.ReturnAddress, []string{"10.100.1.10/32"}},
		{hub.ReturnSubnet, []string{"10.100.1.0/24"}},
		{"", []string{"10.100.1.0/24"}},
		{hub.ReturnVPC, []string{"10.100.0.0/16", "10.102.0.0/16"}},
	} {
		t.Run(string(tt.width), func(t *testing.T) {
			p := pcx(1, "222222222222", "10.110.0.0/16")
			p.Peer.Scope.Region = "us-west-2" // another region is no other matter
			topo := seeing(topology(p), p, "rtb-a", "rtb-b")
			topo.Hub.Prefixes = pfxs("10.102.0.0/16", "10.100.0.0/16")
			pol := policy()
			pol.ReturnRoute = tt.width
			var want []string
			for _, table := range []string{"rtb-a", "rtb-b"} {
				for _, dest := range tt.want {
					want = append(want, table+" "+dest+" pcx-1")
				}
			}
			got, problems, _ := hub.Decide(pol, topo, hub.Remembered{})
			if diff := cmp.Diff(want, written(got, hub.SideSpoke), values); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
			if codes := codesOf(problems); len(codes) != 0 {
				t.Errorf("problems: %v", problems)
			}
			for _, r := range got.Routes {
				if r.Side == hub.SideSpoke && (r.Scope != p.Peer.Scope || r.Unit != (hub.Unit{Kind: hub.UnitSpoke, Spoke: "vpc-1"})) {
					t.Errorf("route of %s belongs to %s", r.Scope, r.Unit)
				}
			}
		})
	}
}

func TestTheSpokesTablesAreTheAccountsChoiceBeforeTheGeneralOne(t *testing.T) {
	p := pcx(1, "222222222222", "10.110.0.0/16")
	topo := seeing(topology(p), p, "rtb-a", "rtb-b")
	pol := policy()
	pol.SpokeTables = hub.TableChoice{Kind: hub.TablesListed, Tables: []hub.TableID{"rtb-a"}}
	got, _, _ := hub.Decide(pol, topo, hub.Remembered{})
	if diff := cmp.Diff([]string{"rtb-a 10.100.1.0/24 pcx-1"}, written(got, hub.SideSpoke)); diff != "" {
		t.Errorf("general (-want +got):\n%s", diff)
	}
	pol.Accounts["222222222222"] = hub.Account{Name: "billing", SpokeTables: hub.TableChoice{Kind: hub.TablesListed, Tables: []hub.TableID{"rtb-b"}}}
	got, _, _ = hub.Decide(pol, topo, hub.Remembered{})
	if diff := cmp.Diff([]string{"rtb-b 10.100.1.0/24 pcx-1"}, written(got, hub.SideSpoke)); diff != "" {
		t.Errorf("the account's (-want +got):\n%s", diff)
	}
}

func TestAOneSidedSpokeIsReachedAndItsOtherSideToldNotHeld(t *testing.T) {
	p := pcx(1, "555555555555", "10.110.0.0/16")
	pol := policy()
	pol.Accounts["555555555555"] = hub.Account{Name: "vendor", Role: hub.RoleNone}
	for name, topo := range map[string]hub.Topology{
		"nobody may see":                       topology(p),
		"role none, though somebody might see": seeing(topology(p), p, "rtb-a"),
	} {
		t.Run(name, func(t *testing.T) {
			want, problems, _ := hub.Decide(pol, topo, hub.Remembered{})
			wantReached(t, want, self, "10.110.0.0/16 vendor")
			if len(written(want, hub.SideSpoke)) != 0 {
				t.Errorf("routes in tables that are not ours: %v", written(want, hub.SideSpoke))
			}
			i := slices.IndexFunc(problems, func(p hub.Problem) bool { return p.Code == hub.OtherSide })
			if i < 0 || !strings.Contains(problems[i].Mend, "10.100.1.0/24 -> pcx-1 in the tables of vpc-1") {
				t.Errorf("problems: %v", problems)
			}
		})
	}
}
