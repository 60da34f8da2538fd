package vpcroute_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"peerhub/discovery"
	"peerhub/hub"
	"peerhub/hub/awsapi"
	"peerhub/hub/vpcroute"
	"peerhub/test/ec2sim"
)

// The cloud of these tests: a hub with one table, and two services in accounts and
// regions of their own. Everything between here and there is real: discovery, Decide,
// the guard, the pass, the SDK and HTTP.
const (
	tokyo, oregon                      = "ap-northeast-1", "us-west-2"
	hubAccount, svcAccount, farAccount = "111111111111", "222222222222", "333333333333"
	hubVPC, svcVPC, farVPC             = "vpc-0a000001", "vpc-0a000002", "vpc-0a000003"
	hubTable, svcTable, farTable       = "rtb-0a000001", "rtb-0a000002", "rtb-0a000003"
	hubSubnet, hubENI                  = "subnet-0a000001", "eni-0a000001"
	svcPeering, farPeering             = "pcx-0a000002", "pcx-0a000003"
)

type world struct {
	*ec2sim.Sim
	t        *testing.T
	url      string
	key      [2]string
	offset   time.Duration // of our clock; AWS's own goes on as it is
	ledger   *ledger
	instance hub.InstanceID // what the hub is, "" not known
	eni      string         // of the hub
	kept     hub.Ledger     // what the plane writes to instead of ledger, nil: that
	policy   hub.Policy
	disc     *discovery.Discovery
	plane    *vpcroute.Plane
	rec      *hub.Reconciler
	top      hub.Topology
	prev     *hub.Desired
	mem      hub.Remembered
	handler  func(http.ResponseWriter, *http.Request, http.Handler) // stands in front of the API if set
}

func (w *world) now() time.Time { return time.Now().Add(w.offset) }

func must(t *testing.T) func(string, error) string {
	return func(id string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func newWorld(t *testing.T, o ec2sim.Options) *world {
	t.Helper()
	w := &world{Sim: ec2sim.New(o), t: t, eni: hubENI, ledger: &ledger{}, policy: hub.Policy{Mode: hub.ModeSync, Safety: hub.Safety{RemovalsAfter: 3, MaxRemoved: 100}}}
	t.Cleanup(w.Close)
	api := w.APIHandler()
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.handler != nil {
			w.handler(rw, r, api)
			return
		}
		api.ServeHTTP(rw, r)
	}))
	t.Cleanup(srv.Close)
	w.url = srv.URL
	for _, a := range []string{hubAccount, svcAccount, farAccount} {
		key, secret := w.AddAccount(a, a)
		if a == hubAccount {
			w.key = [2]string{key, secret}
			continue
		}
		must(t)(w.AddRole(ec2sim.RoleSpec{Account: a, Name: "spoke", TrustedBy: []string{hubAccount}}))
	}
	w.vpc(hubVPC, hubAccount, tokyo, hubTable, "10.100.0.0/16")
	w.vpc(svcVPC, svcAccount, tokyo, svcTable, "10.110.0.0/16")
	w.vpc(farVPC, farAccount, oregon, farTable, "10.120.0.0/16")
	must(t)(w.AddSubnet(ec2sim.SubnetSpec{ID: hubSubnet, VPC: hubVPC, CIDR: prefix("10.100.0.0/24")}))
	must(t)(w.AddInstance(ec2sim.InstanceSpec{Interface: hubENI, Subnet: hubSubnet, Address: netip.MustParseAddr("10.100.0.10")}))
	must(t)(w.AddPeering(ec2sim.PeeringSpec{ID: svcPeering, Requester: hubVPC, Accepter: svcVPC}))
	must(t)(w.AddPeering(ec2sim.PeeringSpec{ID: farPeering, Requester: hubVPC, Accepter: farVPC}))
	w.start(nil)
	return w
}

func (w *world) vpc(id, account, region, table string, cidrs ...string) {
	w.t.Helper()
	spec := ec2sim.VPCSpec{ID: id, Account: account, Region: region, MainTable: table}
	for _, c := range cidrs {
		spec.CIDRs = append(spec.CIDRs, prefix(c))
	}
	must(w.t)(w.AddVPC(spec))
}

func (w *world) sessions() *awsapi.Sessions {
	w.t.Helper()
	s, err := awsapi.New(w.t.Context(), awsapi.Options{Endpoint: w.url, AllowInsecure: true,
		Limits:      awsapi.Limits{MaxAttempts: 2, MaxBackoff: time.Millisecond},
		Credentials: credentials.NewStaticCredentialsProvider(w.key[0], w.key[1], "")})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// start is a start of the daemon: everything in memory is new, the ledger and what the
// state directory holds stay.
func (w *world) start(last *hub.Topology) {
	w.t.Helper()
	if w.disc != nil {
		w.disc.Close()
	}
	w.disc = discovery.New(discovery.Options{
		Sessions: w.sessions(), Roles: awsapi.Roles{Default: "arn:aws:iam::{account}:role/spoke"},
		Hub:    discovery.HubFacts{Region: tokyo, Instance: w.instance, Interfaces: []discovery.InterfaceFact{{Name: "eth0", ENI: hub.InterfaceID(w.eni)}}},
		Ledger: w.ledger, Patience: time.Minute, Now: w.now,
	})
	w.t.Cleanup(w.disc.Close)
	kept := w.kept
	if kept == nil {
		kept = w.ledger
	}
	w.plane = vpcroute.New(vpcroute.Options{
		Open:   func(ctx context.Context, s hub.Scope) (vpcroute.RouteAPI, error) { return w.disc.EC2(ctx, s) },
		Ledger: kept, Topology: func() hub.Topology { return w.top }, Now: w.now, LastGood: last,
	})
	w.rec = hub.NewReconciler(w.plane)
}

// survey reads all sources anew.
func (w *world) survey() {
	w.t.Helper()
	w.disc.Force()
	top, err := w.disc.Survey(w.t.Context(), w.policy)
	if err != nil {
		w.t.Fatal(err)
	}
	w.top = top
}

// pass surveys and makes a pass.
func (w *world) pass() hub.Report {
	w.t.Helper()
	w.survey()
	return w.passOnly()
}

// passOnly makes a pass on what the last survey said.
func (w *world) passOnly() hub.Report {
	w.t.Helper()
	rep, mem := w.rec.Pass(w.t.Context(), hub.Input{At: w.now(), Policy: w.policy, Topology: w.top, Prev: w.prev, Remembered: w.mem})
	w.prev, w.mem = &rep.Desired, mem
	return rep
}

func (w *world) client(account, region string) *ec2.Client {
	w.t.Helper()
	role := awsapi.Role{}
	if account != hubAccount {
		role = awsapi.Role{ARN: "arn:aws:iam::" + account + ":role/spoke", Home: tokyo}
	}
	c, err := w.sessions().EC2(w.t.Context(), hub.Scope{Account: hub.AccountID(account), Region: hub.Region(region)}, role)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) deletePeering(id string) {
	w.t.Helper()
	if _, err := w.client(hubAccount, tokyo).DeleteVpcPeeringConnection(w.t.Context(), &ec2.DeleteVpcPeeringConnectionInput{VpcPeeringConnectionId: &id}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) deleteRoute(account, region, table, dest string) {
	w.t.Helper()
	if _, err := w.client(account, region).DeleteRoute(w.t.Context(), &ec2.DeleteRouteInput{RouteTableId: &table, DestinationCidrBlock: &dest}); err != nil {
		w.t.Fatal(err)
	}
}

// routes are the static routes of a table as AWS has them: "10.110.0.0/16 pcx-...".
func (w *world) routes(account, region, table string) []string {
	w.t.Helper()
	out, err := w.client(account, region).DescribeRouteTables(w.t.Context(), &ec2.DescribeRouteTablesInput{RouteTableIds: []string{table}})
	if err != nil {
		w.t.Fatal(err)
	}
	var list []string
	for _, r := range out.RouteTables[0].Routes {
		if r.Origin != "CreateRoute" {
			continue
		}
		target := ""
		for _, s := range []*string{r.VpcPeeringConnectionId, r.GatewayId, r.NatGatewayId, r.TransitGatewayId, r.NetworkInterfaceId} {
			if s != nil {
				target = *s
			}
		}
		line := *r.DestinationCidrBlock + " " + target
		if r.State == "blackhole" {
			line += " blackhole"
		}
		list = append(list, line)
	}
	slices.Sort(list)
	return list
}

// mutations are the mutating requests since the log had n entries, as "account Action
// destination code".
func (w *world) mutations(n int) []string {
	var out []string
	for _, r := range w.Log()[n:] {
		if r.Mutating && r.Service == "ec2" {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", r.Account, r.Action, r.Params.Get("DestinationCidrBlock"), r.Code)))
		}
	}
	slices.Sort(out)
	return out
}

func (w *world) fault(name, value string) {
	w.t.Helper()
	if err := w.SetFault(name, value); err != nil {
		w.t.Fatal(err)
	}
}

func codes(rep hub.Report) []string {
	var out []string
	for _, p := range rep.Problems {
		out = append(out, string(p.Code)+" "+p.Subject)
	}
	return out
}

func has(rep hub.Report, code hub.Code) bool {
	return slices.ContainsFunc(rep.Problems, func(p hub.Problem) bool { return p.Code == code })
}

// ledger is a hub.Ledger in memory that can be told to fail.
type ledger struct {
	mu      sync.Mutex
	entries []hub.LedgerEntry
	fail    error
}

func (l *ledger) Entries(context.Context) ([]hub.LedgerEntry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries), l.fail
}

func (l *ledger) at(k hub.LedgerKey) int {
	return slices.IndexFunc(l.entries, func(e hub.LedgerEntry) bool { return e.LedgerKey == k })
}

func (l *ledger) Intend(_ context.Context, e hub.LedgerEntry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	if i := l.at(e.LedgerKey); i < 0 {
		l.entries = append(l.entries, e)
	}
	return nil
}

func (l *ledger) Confirm(_ context.Context, k hub.LedgerKey) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := l.at(k); i >= 0 {
		l.entries[i].Confirmed = true
	}
	return l.fail
}

func (l *ledger) Forget(_ context.Context, k hub.LedgerKey) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = slices.DeleteFunc(l.entries, func(e hub.LedgerEntry) bool { return e.LedgerKey == k })
	return l.fail
}

// lines are the entries as "table destination peering side", with " intent" if unconfirmed.
func (l *ledger) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, e := range l.entries {
		s := fmt.Sprintf("%s %s %s %s", e.Table, e.Destination, e.Peering, e.Side)
		if !e.Confirmed {
			s += " intent"
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}
