package discovery_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"peerhub/discovery"
	"peerhub/hub"
	"peerhub/test/ec2sim"
)

var byValue = cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})

func TestSurveySeesTheHubItsPeeringsAndTheTablesOfBothSides(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	top := survey(t, c.discover(nil), hub.Policy{})
	home := hub.Scope{Account: hubAccount, Region: tokyo}
	check := true
	wantHub := hub.Hub{Name: "infra-tokyo", Scope: home, Partition: "aws", VPC: hubVPC, Prefixes: prefixes("10.100.0.0/16"),
		Interfaces: []hub.Interface{{Name: "eth0", ID: hubENI, Subnet: hubSubnet, SubnetPrefix: netip.MustParsePrefix("10.100.0.0/24"),
			Address: netip.MustParseAddr("10.100.0.10"), Addresses: []netip.Addr{netip.MustParseAddr("10.100.0.10")}, SourceDestCheck: &check}}}
	if diff := cmp.Diff(wantHub, top.Hub, byValue, cmpopts.IgnoreFields(hub.Interface{}, "MAC")); diff != "" {
		t.Errorf("hub (-want +got):\n%s", diff)
	}
	peer := func(account, region, vpc string, p ...string) hub.Peer {
		return hub.Peer{Scope: hub.Scope{Account: hub.AccountID(account), Region: hub.Region(region)}, VPC: hub.VPCID(vpc), Prefixes: prefixes(p...)}
	}
	wantPeerings := []hub.Peering{
		{ID: svcPeering, State: hub.PeeringActive, HubRequested: true, Peer: peer(svcAccount, tokyo, svcVPC, "10.110.0.0/16", "10.111.0.0/20")},
		{ID: farPeering, State: hub.PeeringActive, Peer: peer(farAccount, oregon, farVPC, "10.120.0.0/16")},
		{ID: ownPeering, State: hub.PeeringActive, Peer: peer(hubAccount, tokyo, ownVPC, "10.130.0.0/16")},
		{ID: strangerPeering, State: hub.PeeringPending, Peer: peer(strangerAccount, tokyo, strangerVPC)},
	}
	if diff := cmp.Diff(wantPeerings, top.Peerings, byValue, cmpopts.IgnoreFields(hub.Peering{}, "Message", "Expires")); diff != "" {
		t.Errorf("peerings (-want +got):\n%s", diff)
	}
	var tables, sources []string
	for _, x := range top.Tables {
		tables = append(tables, fmt.Sprintf("%s %s %s main=%v", x.ID, x.VPC, x.Scope, x.Main))
	}
	for _, s := range top.Sources {
		sources = append(sources, fmt.Sprintf("%s fresh=%v %d", s.Scope, s.Fresh, s.Survey))
	}
	if diff := cmp.Diff([]string{
		"rtb-0a000001 vpc-0a000001 111111111111/ap-northeast-1 main=true",
		"rtb-0a000002 vpc-0a000002 222222222222/ap-northeast-1 main=true",
		"rtb-0a000003 vpc-0a000003 333333333333/us-west-2 main=true",
		"rtb-0a000004 vpc-0a000004 111111111111/ap-northeast-1 main=true",
	}, tables); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"111111111111/ap-northeast-1 fresh=true 1", "222222222222/ap-northeast-1 fresh=true 1", "333333333333/us-west-2 fresh=true 1",
	}, sources); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	if n := c.calls(0, func(r ec2sim.Request) bool { return r.Mutating && r.Service == "ec2" }); n != 0 {
		t.Errorf("%d mutating calls", n)
	}
}

func TestAPendingStrangerCausesNoCall(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	d := c.discover(nil)
	stranger := func(r ec2sim.Request) bool {
		return r.Account == strangerAccount || strings.Contains(r.Params.Get("RoleArn"), strangerAccount)
	}
	survey(t, d, hub.Policy{})
	if n := c.calls(0, stranger); n != 0 {
		t.Fatalf("%d calls into the stranger's account", n)
	}
	// Control: the same account is entered once somebody on our side has made a peering active.
	must(t)(c.AddVPC(ec2sim.VPCSpec{ID: "vpc-0a00000a", Account: strangerAccount, Region: tokyo, CIDRs: prefixes("10.191.0.0/16")}))
	must(t)(c.AddPeering(ec2sim.PeeringSpec{Requester: hubVPC, Accepter: "vpc-0a00000a"}))
	survey(t, d, hub.Policy{})
	if c.calls(0, stranger) == 0 {
		t.Fatal("no call into the account of an active peering")
	}
}

func TestWhichAccountsAreEntered(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		policy hub.Policy
		change func(*discovery.Options)
		enters []string
	}{
		{"every active peering", hub.Policy{}, nil, []string{svcAccount, farAccount}},
		{"only listed accounts", hub.Policy{ListedOnly: true, Accounts: map[hub.AccountID]hub.Account{farAccount: {}}}, nil, []string{farAccount}},
		{"a one-sided account", hub.Policy{Accounts: map[hub.AccountID]hub.Account{svcAccount: {Role: hub.RoleNone}}}, nil, []string{farAccount}},
		{"one region", hub.Policy{}, func(o *discovery.Options) { o.Regions = []hub.Region{tokyo} }, []string{svcAccount}},
		{"no default role", hub.Policy{Accounts: map[hub.AccountID]hub.Account{svcAccount: {Role: "arn:aws:iam::222222222222:role/spoke"}}},
			func(o *discovery.Options) { o.Roles.Default = "" }, []string{svcAccount}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			top := survey(t, c.discover(tc.change), tc.policy)
			var got []string
			for _, s := range top.Sources[1:] {
				if !s.Fresh {
					t.Errorf("%s: %s", s.Scope, s.Error)
				}
				got = append(got, string(s.Scope.Account))
			}
			if diff := cmp.Diff(tc.enters, got); diff != "" {
				t.Errorf("entered (-want +got):\n%s", diff)
			}
			if n := c.calls(0, func(r ec2sim.Request) bool { return r.Action == "AssumeRole" }); n != len(tc.enters) {
				t.Errorf("%d roles assumed, want %d", n, len(tc.enters))
			}
		})
	}
}

func TestCallsOnTheHubsSideDoNotGrowWithSpokes(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	d := c.discover(nil)
	hubSide := func(r ec2sim.Request) bool { return r.Account == hubAccount && r.Service == "ec2" }
	survey(t, d, hub.Policy{})
	few := c.calls(0, hubSide)
	for i := range 20 {
		id := fmt.Sprintf("vpc-0b0000%02x", i)
		must(t)(c.AddVPC(ec2sim.VPCSpec{ID: id, Account: svcAccount, Region: tokyo, CIDRs: prefixes(fmt.Sprintf("10.%d.0.0/16", 150+i))}))
		must(t)(c.AddPeering(ec2sim.PeeringSpec{Requester: hubVPC, Accepter: id}))
	}
	n := len(c.Log())
	top := survey(t, d, hub.Policy{})
	if len(top.Peerings) != 24 {
		t.Fatalf("%d peerings, want 24", len(top.Peerings))
	}
	if many := c.calls(n, hubSide); many != few {
		t.Errorf("%d calls with 24 peerings, %d with 4", many, few)
	}
	// One page set per account and region, however many VPCs.
	if got := c.calls(n, func(r ec2sim.Request) bool { return r.Account == svcAccount && r.Service == "ec2" }); got != 2 {
		t.Errorf("%d calls into the account with 21 VPCs, want 2", got)
	}
}

func TestSpokesAreReadOnTimersOfTheirOwn(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	d := c.discover(func(o *discovery.Options) { o.Interval = 30 * time.Second })
	spokeSide := func(r ec2sim.Request) bool { return r.Account == svcAccount }
	survey(t, d, hub.Policy{})
	for _, tc := range []struct {
		name  string
		pass  time.Duration
		force bool
		reads bool
	}{
		{"not due", time.Second, false, false},
		{"forced", time.Second, true, true},
		{"not due again", 10 * time.Second, false, false},
		{"due", 25 * time.Second, false, true},
	} {
		c.clock.Add(tc.pass)
		if tc.force {
			d.Force()
		}
		n := len(c.Log())
		top := survey(t, d, hub.Policy{})
		if got := c.calls(n, spokeSide) > 0; got != tc.reads {
			t.Errorf("%s: read %v", tc.name, got)
		}
		if !source(t, top, svcAccount, tokyo).Fresh {
			t.Errorf("%s: not fresh", tc.name)
		}
	}
}

func TestIdentityFromIMDS(t *testing.T) {
	c := newCloud(t)
	must(t)(c.AddRole(ec2sim.RoleSpec{Account: hubAccount, Name: "hub", TrustedBy: []string{"ec2.amazonaws.com"}}))
	imds := httptest.NewServer(c.IMDSHandler(func(*http.Request) string { return hubInstance }))
	t.Cleanup(imds.Close)
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.URL)
	d := c.discover(func(o *discovery.Options) {
		o.Hub = discovery.HubFacts{}
		o.Kernel = func() ([]discovery.KernelInterface, error) {
			return []discovery.KernelInterface{{Name: "lo"}, {Name: "ens5", MAC: "02:00:00:00:00:01", Addresses: []netip.Addr{netip.MustParseAddr("10.100.0.10")}}}, nil
		}
	})
	top := survey(t, d, hub.Policy{})
	want := hub.Hub{Name: "infra", Scope: hub.Scope{Account: hubAccount, Region: tokyo}, Partition: "aws", VPC: hubVPC, Instance: hubInstance, Prefixes: prefixes("10.100.0.0/16")}
	if diff := cmp.Diff(want, top.Hub, byValue, cmpopts.IgnoreFields(hub.Hub{}, "Interfaces")); diff != "" {
		t.Errorf("hub (-want +got):\n%s", diff)
	}
	if len(top.Hub.Interfaces) != 1 || top.Hub.Interfaces[0].Name != "ens5" {
		t.Errorf("interfaces %+v", top.Hub.Interfaces)
	}
}

func TestCredentialsOfAnotherAccountAreRefused(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for account, refused := range map[hub.AccountID]bool{hubAccount: false, svcAccount: true} {
		d := c.discover(func(o *discovery.Options) { o.Hub.Account = account })
		_, err := d.Survey(t.Context(), hub.Policy{})
		if refused != (err != nil) || refused && !strings.Contains(err.Error(), "credentials") {
			t.Errorf("hub.account %s: %v", account, err)
		}
	}
}

// Tables that still hold routes of ours are read after the peering is gone, so that the
// routes can be taken back; without such routes the account is left alone.
func TestAnAccountIsEnteredWhileRoutesOfOursAreLeftInIt(t *testing.T) {
	t.Parallel()
	for _, left := range []bool{true, false} {
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			l := &ledger{}
			if left {
				l.entries = []hub.LedgerEntry{{LedgerKey: hub.LedgerKey{Table: farTable, Destination: prefixes("10.100.0.0/24")[0], Peering: farPeering},
					Scope: hub.Scope{Account: farAccount, Region: oregon}, Spoke: farVPC, Side: hub.SideSpoke, Confirmed: true}}
			}
			d := c.discover(func(o *discovery.Options) { o.Ledger = l })
			survey(t, d, hub.Policy{})
			c.deletePeering(farPeering)
			c.clock.Add(time.Minute)
			n := len(c.Log())
			top := survey(t, d, hub.Policy{})
			entered := c.calls(n, func(r ec2sim.Request) bool { return r.Account == farAccount }) > 0
			if entered != left || hasTable(top, farTable) != left {
				t.Errorf("entered %v, table seen %v", entered, hasTable(top, farTable))
			}
		})
	}
}
