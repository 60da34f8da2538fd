package discovery_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"peerhub/discovery"
	"peerhub/hub"
	"peerhub/hub/awsapi"
	"peerhub/test/ec2sim"
)

// The cloud of these tests: a hub, a service beside it, one in another region, one in
// the hub's own account, and a stranger whose request is pending.
const (
	tokyo, oregon = "ap-northeast-1", "us-west-2"

	hubAccount, svcAccount, farAccount, strangerAccount = "111111111111", "222222222222", "333333333333", "999999999999"

	hubVPC, svcVPC, farVPC, ownVPC, strangerVPC = "vpc-0a000001", "vpc-0a000002", "vpc-0a000003", "vpc-0a000004", "vpc-0a000009"
	hubTable, svcTable, farTable, ownTable      = "rtb-0a000001", "rtb-0a000002", "rtb-0a000003", "rtb-0a000004"
	hubSubnet, hubENI, hubInstance              = "subnet-0a000001", "eni-0a000001", "i-0a000001"
	svcPeering, farPeering, ownPeering          = "pcx-0a000002", "pcx-0a000003", "pcx-0a000004"
	strangerPeering, foreignPeering             = "pcx-0a000009", "pcx-0a00000f"
	externalID                                  = "ph-4f1d27"
)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type cloud struct {
	*ec2sim.Sim
	t     *testing.T
	clock *clock
	url   string
	key   [2]string
	front atomic.Pointer[func(action string) string] // the document to answer an action with; "" = AWS's own
}

func must(t *testing.T) func(string, error) string {
	return func(id string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	ck := &clock{now: time.Now()}
	c := &cloud{Sim: ec2sim.New(ec2sim.Options{Clock: ck.Now}), t: t, clock: ck}
	t.Cleanup(c.Close)
	api := c.APIHandler()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := c.front.Load(); f != nil {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			form, err := url.ParseQuery(string(body))
			if err != nil {
				return
			}
			if doc := (*f)(form.Get("Action")); doc != "" {
				w.Header().Set("x-amzn-RequestId", "r")
				fmt.Fprint(w, doc)
				return
			}
			r.Body = io.NopCloser(strings.NewReader(string(body)))
		}
		api.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	c.url = srv.URL
	for _, a := range []string{hubAccount, svcAccount, farAccount, strangerAccount} {
		key, secret := c.AddAccount(a, a)
		if a == hubAccount {
			c.key = [2]string{key, secret}
			continue
		}
		must(t)(c.AddRole(ec2sim.RoleSpec{Account: a, Name: "spoke", TrustedBy: []string{hubAccount}, ExternalID: externalID}))
	}
	must(t)(c.AddVPC(ec2sim.VPCSpec{ID: hubVPC, Account: hubAccount, Region: tokyo, Name: "infra", CIDRs: prefixes("10.100.0.0/16"), MainTable: hubTable}))
	must(t)(c.AddVPC(ec2sim.VPCSpec{ID: svcVPC, Account: svcAccount, Region: tokyo, Name: "svc", CIDRs: prefixes("10.110.0.0/16", "10.111.0.0/20"), MainTable: svcTable}))
	must(t)(c.AddVPC(ec2sim.VPCSpec{ID: farVPC, Account: farAccount, Region: oregon, CIDRs: prefixes("10.120.0.0/16"), MainTable: farTable}))
	must(t)(c.AddVPC(ec2sim.VPCSpec{ID: ownVPC, Account: hubAccount, Region: tokyo, CIDRs: prefixes("10.130.0.0/16"), MainTable: ownTable}))
	must(t)(c.AddVPC(ec2sim.VPCSpec{ID: strangerVPC, Account: strangerAccount, Region: tokyo, CIDRs: prefixes("10.190.0.0/16")}))
	must(t)(c.AddSubnet(ec2sim.SubnetSpec{ID: hubSubnet, VPC: hubVPC, CIDR: netip.MustParsePrefix("10.100.0.0/24")}))
	must(t)(c.AddInstance(ec2sim.InstanceSpec{ID: hubInstance, Interface: hubENI, Subnet: hubSubnet, Address: netip.MustParseAddr("10.100.0.10")}))
	must(t)(c.AddPeering(ec2sim.PeeringSpec{ID: svcPeering, Requester: hubVPC, Accepter: svcVPC}))
	must(t)(c.AddPeering(ec2sim.PeeringSpec{ID: farPeering, Requester: farVPC, Accepter: hubVPC}))
	must(t)(c.AddPeering(ec2sim.PeeringSpec{ID: ownPeering, Requester: ownVPC, Accepter: hubVPC}))
	must(t)(c.AddPeering(ec2sim.PeeringSpec{ID: foreignPeering, Requester: ownVPC, Accepter: svcVPC})) // not of the hub VPC
	must(t)(c.AddPeering(ec2sim.PeeringSpec{ID: strangerPeering, Requester: strangerVPC, Accepter: hubVPC, Pending: true}))
	return c
}

func (c *cloud) sessions(l awsapi.Limits) *awsapi.Sessions {
	c.t.Helper()
	if l.MaxBackoff == 0 {
		l.MaxBackoff = time.Millisecond
	}
	s, err := awsapi.New(c.t.Context(), awsapi.Options{Endpoint: c.url, AllowInsecure: true, Limits: l,
		Credentials: credentials.NewStaticCredentialsProvider(c.key[0], c.key[1], "")})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// discover makes a Discovery of the cloud; change may be nil.
func (c *cloud) discover(change func(*discovery.Options)) *discovery.Discovery {
	c.t.Helper()
	o := discovery.Options{
		Sessions: c.sessions(awsapi.Limits{}),
		Roles:    awsapi.Roles{Default: "arn:aws:iam::{account}:role/spoke", ExternalID: externalID},
		Hub:      discovery.HubFacts{Name: "infra-tokyo", Region: tokyo, Interfaces: []discovery.InterfaceFact{{Name: "eth0", ENI: hubENI}}},
		Patience: time.Minute, Now: c.clock.Now, Jitter: func() float64 { return 0.5 },
	}
	if change != nil {
		change(&o)
	}
	d := discovery.New(o)
	c.t.Cleanup(d.Close)
	return d
}

// calls counts the requests since the log had n entries that pick chooses.
func (c *cloud) calls(n int, pick func(ec2sim.Request) bool) int {
	count := 0
	for _, r := range c.Log()[n:] {
		if pick(r) {
			count++
		}
	}
	return count
}

func (c *cloud) fault(name, value string) {
	c.t.Helper()
	if err := c.SetFault(name, value); err != nil {
		c.t.Fatal(err)
	}
}

func survey(t *testing.T, d *discovery.Discovery, p hub.Policy) hub.Topology {
	t.Helper()
	top, err := d.Survey(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return top
}

func source(t *testing.T, top hub.Topology, account, region string) hub.Source {
	t.Helper()
	i := slices.IndexFunc(top.Sources, func(s hub.Source) bool {
		return s.Scope == hub.Scope{Account: hub.AccountID(account), Region: hub.Region(region)}
	})
	if i < 0 {
		t.Fatalf("no source %s/%s in %v", account, region, top.Sources)
	}
	return top.Sources[i]
}

func hasPeering(top hub.Topology, id string) bool {
	return slices.ContainsFunc(top.Peerings, func(p hub.Peering) bool { return p.ID == hub.PeeringID(id) })
}

func hasTable(top hub.Topology, id string) bool {
	return slices.ContainsFunc(top.Tables, func(x hub.Table) bool { return x.ID == hub.TableID(id) })
}

// ledger is a hub.Ledger of fixed entries.
type ledger struct{ entries []hub.LedgerEntry }

func (l *ledger) Entries(context.Context) ([]hub.LedgerEntry, error) { return l.entries, nil }
func (l *ledger) Intend(context.Context, hub.LedgerEntry) error      { return nil }
func (l *ledger) Confirm(context.Context, hub.LedgerKey) error       { return nil }
func (l *ledger) Forget(context.Context, hub.LedgerKey) error        { return nil }

// deletePeering deletes a peering with the hub's credentials.
func (c *cloud) deletePeering(id string) {
	c.t.Helper()
	api, err := c.sessions(awsapi.Limits{}).EC2(c.t.Context(), hub.Scope{Account: hubAccount, Region: tokyo}, awsapi.Role{})
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := api.DeleteVpcPeeringConnection(c.t.Context(), &ec2.DeleteVpcPeeringConnectionInput{VpcPeeringConnectionId: &id}); err != nil {
		c.t.Fatal(err)
	}
}
