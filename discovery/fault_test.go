package discovery_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"peerhub/discovery"
	"peerhub/hub"
	"peerhub/hub/awsapi"
	"peerhub/test/ec2sim"
)

// Every fault freezes the hub's source: what was known stays, a peering made meanwhile
// is not seen, and both heal by themselves. The control is the same without a fault.
func TestTheHubsSourceIsCompleteOrFrozen(t *testing.T) {
	t.Parallel()
	const all = "DescribeVpcPeeringConnections"
	for _, tc := range []struct {
		name   string
		faults [][2]string
		frozen bool
		code   hub.Code
	}{
		{"control: no fault", nil, false, ""},
		{"control: small pages", [][2]string{{ec2sim.FaultPageSize, "1"}}, false, ""},
		{"empty 200", [][2]string{{ec2sim.FaultEmpty200, all}}, true, hub.AnswerDoubt},
		{"a proxy's page", [][2]string{{ec2sim.FaultHTML200, "DescribeVpcs"}}, true, hub.AnswerDoubt},
		{"no request id", [][2]string{{ec2sim.FaultNoRequestID, "DescribeRouteTables"}}, true, hub.AnswerDoubt},
		{"the second page fails", [][2]string{{ec2sim.FaultPageSize, "2"}, {ec2sim.FaultPage2Fail, all}}, true, hub.SourceStale},
		{"a page token that repeats", [][2]string{{ec2sim.FaultPageSize, "2"}, {ec2sim.FaultRepeatToken, all}}, true, hub.AnswerDoubt},
		{"a body without end", [][2]string{{ec2sim.FaultEndlessBody, "DescribeSubnets"}}, true, hub.AnswerDoubt},
		{"unavailable", [][2]string{{ec2sim.FaultUnavailable, "on"}}, true, hub.SourceStale},
		{"throttled", [][2]string{{ec2sim.FaultThrottle, "empty"}}, true, hub.SourceStale},
		{"denied", [][2]string{{ec2sim.FaultDeny, all + "@" + hubAccount}}, true, hub.RoleDenied},
		{"the region is down", [][2]string{{ec2sim.FaultRegionDown, tokyo}}, true, hub.SourceStale},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			d := c.discover(func(o *discovery.Options) { o.Sessions = c.sessions(awsapi.Limits{MaxAttempts: 2, Body: 1 << 20}) })
			before := survey(t, d, hub.Policy{})
			must(t)(c.AddVPC(ec2sim.VPCSpec{ID: "vpc-0a00000b", Account: svcAccount, Region: tokyo, CIDRs: prefixes("10.140.0.0/16")}))
			must(t)(c.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0a00000b", Requester: hubVPC, Accepter: "vpc-0a00000b"}))
			for _, f := range tc.faults {
				c.fault(f[0], f[1])
			}
			c.clock.Add(10 * time.Second)
			during := survey(t, d, hub.Policy{})
			src := source(t, during, hubAccount, tokyo)
			if src.Fresh == tc.frozen || src.Code != tc.code || tc.frozen && src.Error == "" {
				t.Errorf("source %+v, want frozen %v with code %q", src, tc.frozen, tc.code)
			}
			if tc.frozen {
				was := source(t, before, hubAccount, tokyo)
				if src.Survey != was.Survey || !src.At.Equal(was.At) {
					t.Errorf("answer %d of %s, want %d of %s", src.Survey, src.At, was.Survey, was.At)
				}
				if diff := cmp.Diff(before.Peerings, during.Peerings, byValue); diff != "" {
					t.Errorf("peerings changed (-before +during):\n%s", diff)
				}
				if diff := cmp.Diff(before.Hub, during.Hub, byValue); diff != "" {
					t.Errorf("hub changed (-before +during):\n%s", diff)
				}
				for _, x := range []string{hubTable, svcTable, farTable, ownTable} {
					if !hasTable(during, x) {
						t.Errorf("table %s is gone", x)
					}
				}
			} else if !hasPeering(during, "pcx-0a00000b") {
				t.Error("the new peering is not seen")
			}
			for _, f := range tc.faults {
				c.fault(f[0], "off")
			}
			after := survey(t, d, hub.Policy{})
			if src := source(t, after, hubAccount, tokyo); !src.Fresh || !hasPeering(after, "pcx-0a00000b") {
				t.Errorf("not healed: %+v", src)
			}
		})
	}
}

// Answers of AWS's own form, with a request id, that cannot be true.
func TestAnAnswerThatCannotBeTrueIsNoAnswer(t *testing.T) {
	t.Parallel()
	const table = "<item><routeTableId>rtb-0a000001</routeTableId><vpcId>" + hubVPC + "</vpcId><associationSet><item><main>true</main></item></associationSet></item>"
	vpc := func(id, owner string) string {
		return "<vpcSet><item><vpcId>" + ownVPC + "</vpcId></item><item><vpcId>" + id + "</vpcId><ownerId>" + owner + "</ownerId></item></vpcSet>"
	}
	for _, tc := range []struct{ name, action, set string }{
		{"no VPC", "DescribeVpcs", "<vpcSet/>"},
		{"another VPC", "DescribeVpcs", vpc("vpc-0a0000ff", hubAccount)},
		{"the VPC of another account", "DescribeVpcs", vpc(hubVPC, strangerAccount)},
		{"no table", "DescribeRouteTables", "<routeTableSet/>"},
		{"a table twice", "DescribeRouteTables", "<routeTableSet>" + table + table + strings.ReplaceAll(strings.ReplaceAll(table, hubVPC, ownVPC), "rtb-0a000001", ownTable) + "</routeTableSet>"},
		{"no interface", "DescribeNetworkInterfaces", "<networkInterfaceSet/>"},
		{"no subnet", "DescribeSubnets", "<subnetSet/>"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			d := c.discover(nil)
			before := survey(t, d, hub.Policy{})
			front := func(action string) string {
				if action != tc.action {
					return ""
				}
				return "<" + action + "Response><requestId>r</requestId>" + tc.set + "</" + action + "Response>"
			}
			c.front.Store(&front)
			top := survey(t, d, hub.Policy{})
			if s := source(t, top, hubAccount, tokyo); s.Fresh || s.Code != hub.AnswerDoubt {
				t.Errorf("believed: %+v", s)
			}
			if diff := cmp.Diff(before.Tables, top.Tables, byValue); diff != "" {
				t.Errorf("tables changed:\n%s", diff)
			}
			c.front.Store(nil)
			if s := source(t, survey(t, d, hub.Policy{}), hubAccount, tokyo); !s.Fresh {
				t.Errorf("control: %+v", s)
			}
		})
	}
}

func TestOneSpokesFaultFreezesOnlyItsSource(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		begin func(*cloud)
		code  hub.Code
	}{
		{"denied", func(c *cloud) { c.fault(ec2sim.FaultDeny, "DescribeRouteTables@"+farAccount) }, hub.RoleDenied},
		{"the role is gone", func(c *cloud) { c.RemoveRole("arn:aws:iam::" + farAccount + ":role/spoke") }, hub.RoleDenied},
		{"the region is down", func(c *cloud) { c.fault(ec2sim.FaultRegionDown, oregon) }, hub.SourceStale},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			d := c.discover(func(o *discovery.Options) { o.Sessions = c.sessions(awsapi.Limits{MaxAttempts: 1}) })
			survey(t, d, hub.Policy{})
			must(t)(c.AddRouteTable(ec2sim.TableSpec{ID: "rtb-0a0000a2", VPC: svcVPC}))
			must(t)(c.AddRouteTable(ec2sim.TableSpec{ID: "rtb-0a0000a3", VPC: farVPC}))
			tc.begin(c)
			d.Force()
			top := survey(t, d, hub.Policy{})
			far, svc := source(t, top, farAccount, oregon), source(t, top, svcAccount, tokyo)
			if far.Fresh || far.Code != tc.code || far.Survey != 1 {
				t.Errorf("far: %+v, want frozen with %s", far, tc.code)
			}
			if !hasTable(top, farTable) || hasTable(top, "rtb-0a0000a3") {
				t.Error("far: its tables are not those of the last good answer")
			}
			if !svc.Fresh || svc.Survey != 2 || !hasTable(top, "rtb-0a0000a2") {
				t.Errorf("control: the other spoke's new table is not seen: %+v", svc)
			}
		})
	}
}

// The hub's source that fails is asked more and more rarely, and when somebody asks: at once.
// The control is a source that answers.
func TestTheHubsSourceIsAskedMoreRarely(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	d := c.discover(func(o *discovery.Options) {
		o.Sessions, o.Interval = c.sessions(awsapi.Limits{MaxAttempts: 1}), time.Second
	})
	survey(t, d, hub.Policy{})
	asked := func() []bool { // in each of 16 surveys, a second apart
		var out []bool
		for range 16 {
			n := len(c.Log())
			c.clock.Add(time.Second)
			survey(t, d, hub.Policy{})
			out = append(out, c.calls(n, func(r ec2sim.Request) bool { return r.Account == hubAccount && strings.HasPrefix(r.Action, "Describe") }) > 0)
		}
		return out
	}
	if slices.Contains(asked(), false) {
		t.Error("control: a source that answers was not asked each time")
	}
	c.fault(ec2sim.FaultThrottle, "empty")
	var at []int
	for i, yes := range asked() {
		if yes {
			at = append(at, i)
		}
	}
	if diff := cmp.Diff([]int{0, 1, 3, 7, 15}, at); diff != "" {
		t.Errorf("asked in surveys (-want +got):\n%s", diff)
	}
	c.fault(ec2sim.FaultThrottle, "off")
	if source(t, survey(t, d, hub.Policy{}), hubAccount, tokyo).Fresh {
		t.Error("asked before its time")
	}
	d.Force()
	if !source(t, survey(t, d, hub.Policy{}), hubAccount, tokyo).Fresh {
		t.Error("not asked when forced")
	}
}

// Credentials that AWS calls expired, whatever our own clock says, are replaced.
func TestExpiredCredentialsAreRenewed(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	d := c.discover(nil)
	survey(t, d, hub.Policy{})
	c.clock.Add(2 * time.Hour) // AWS's clock only
	if s := source(t, survey(t, d, hub.Policy{}), svcAccount, tokyo); s.Fresh {
		t.Fatal("control: the old credentials still work")
	}
	d.Force()
	if s := source(t, survey(t, d, hub.Policy{}), svcAccount, tokyo); !s.Fresh || s.Survey != 2 {
		t.Fatalf("not renewed: %+v", s)
	}
}

// A spoke account that does not answer delays neither the survey nor the others, and
// its answer is told of when it comes.
func TestASlowSpokeDelaysNobody(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	release, arrived := make(chan struct{}), make(chan struct{}, 1)
	api := c.APIHandler()
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Authorization"), "/us-west-2/ec2/") {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		api.ServeHTTP(w, r)
	}))
	t.Cleanup(slow.Close)
	c.url = slow.URL
	d := c.discover(func(o *discovery.Options) {
		o.Patience = 500 * time.Millisecond
		o.Arrived = func() { arrived <- struct{}{} }
	})
	top := survey(t, d, hub.Policy{})
	if s := source(t, top, farAccount, oregon); s.Fresh || !s.At.IsZero() {
		t.Errorf("the slow source: %+v", s)
	}
	if s := source(t, top, hubAccount, tokyo); !s.Fresh || !hasTable(top, hubTable) {
		t.Errorf("the hub's source: %+v", s)
	}
	close(release)
	<-arrived
	if s := source(t, survey(t, d, hub.Policy{}), farAccount, oregon); !s.Fresh {
		t.Errorf("the slow source after its answer: %+v", s)
	}
}

func TestAfterARestartWithoutAWSTheLastGoodTopologyStands(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	last := survey(t, c.discover(nil), hub.Policy{})
	c.fault(ec2sim.FaultUnavailable, "on")
	impatient := func(o *discovery.Options) { o.Sessions = c.sessions(awsapi.Limits{MaxAttempts: 1}) }
	if _, err := c.discover(impatient).Survey(t.Context(), hub.Policy{}); err == nil {
		t.Fatal("control: a topology from nowhere")
	}
	d := c.discover(func(o *discovery.Options) { impatient(o); o.LastGood = &last })
	top := survey(t, d, hub.Policy{})
	ignore := cmpopts.IgnoreFields(hub.Source{}, "Fresh", "Code", "Error")
	if diff := cmp.Diff(last, top, byValue, ignore); diff != "" {
		t.Errorf("(-last good +got):\n%s", diff)
	}
	for _, s := range top.Sources {
		if s.Fresh || s.Code == "" {
			t.Errorf("%+v passes for fresh", s)
		}
	}
	c.fault(ec2sim.FaultUnavailable, "off")
	c.clock.Add(time.Minute)
	if s := source(t, survey(t, d, hub.Policy{}), hubAccount, tokyo); !s.Fresh || s.Survey != 2 {
		t.Errorf("not healed: %+v", s)
	}
	moved := c.discover(func(o *discovery.Options) { o.LastGood = &last; o.Hub.VPC = "vpc-0a0000ff" })
	if _, err := moved.Survey(t.Context(), hub.Policy{}); err == nil {
		t.Error("the last good topology of another VPC was taken")
	}
}
