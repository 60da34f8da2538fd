package peering_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
	"peerhub/hub/awsapi"
	"peerhub/hub/peering"
	"peerhub/test/ec2sim"
)

const (
	tokyo, oregon                                       = "ap-northeast-1", "us-west-2"
	hubAccount, svcAccount, farAccount, strangerAccount = "111111111111", "222222222222", "333333333333", "999999999999"
	hubVPC, svcVPC, farVPC, clashVPC, poolVPC           = "vpc-0a000001", "vpc-0a000002", "vpc-0a000003", "vpc-0a000004", "vpc-0a000005"
)

type cloud struct {
	*ec2sim.Sim
	t        *testing.T
	sessions *awsapi.Sessions
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

func newCloud(t *testing.T) *cloud {
	t.Helper()
	quick := ec2sim.Delays{Pending: 5 * time.Millisecond, Active: 5 * time.Millisecond, Deleted: ec2sim.Immediate}
	c := &cloud{Sim: ec2sim.New(ec2sim.Options{Delays: quick}), t: t}
	t.Cleanup(c.Close)
	srv := httptest.NewServer(c.APIHandler())
	t.Cleanup(srv.Close)
	var key [2]string
	for _, a := range []string{hubAccount, svcAccount, farAccount, strangerAccount} {
		id, secret := c.AddAccount(a, a)
		if a == hubAccount {
			key = [2]string{id, secret}
		} else {
			must(t)(c.AddRole(ec2sim.RoleSpec{Account: a, Name: "spoke", TrustedBy: []string{hubAccount}, ExternalID: "x"}))
		}
	}
	for _, v := range [][4]string{{hubVPC, hubAccount, tokyo, "10.100.0.0/16"}, {svcVPC, svcAccount, tokyo, "10.110.0.0/16"},
		{farVPC, farAccount, oregon, "10.120.0.0/16"}, {clashVPC, svcAccount, tokyo, "10.100.128.0/17"}, {poolVPC, svcAccount, tokyo, "172.27.240.0/22"}} {
		must(t)(c.AddVPC(ec2sim.VPCSpec{ID: v[0], Account: v[1], Region: v[2], CIDRs: []netip.Prefix{netip.MustParsePrefix(v[3])}}))
	}
	var err error
	c.sessions, err = awsapi.New(t.Context(), awsapi.Options{Endpoint: srv.URL, AllowInsecure: true,
		Limits: awsapi.Limits{MaxAttempts: 1}, Credentials: credentials.NewStaticCredentialsProvider(key[0], key[1], "")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cloud) open(scope hub.Scope, externalID string) func(context.Context) (peering.API, error) {
	return func(ctx context.Context) (peering.API, error) {
		role := awsapi.Role{}
		if scope.Account != hubAccount {
			role = awsapi.Role{ARN: "arn:aws:iam::" + string(scope.Account) + ":role/spoke", ExternalID: externalID, Home: tokyo}
		}
		return c.sessions.EC2(ctx, scope, role)
	}
}

var hubScope = hub.Scope{Account: hubAccount, Region: tokyo}

func request(account, region, vpc string) peering.Request {
	return peering.Request{Hub: hubScope, HubVPC: hubVPC, Spoke: hub.Scope{Account: hub.AccountID(account), Region: hub.Region(region)}, SpokeVPC: hub.VPCID(vpc), Name: "billing"}
}

// run runs a request and returns the steps that were told, as "step state".
func (c *cloud) run(req peering.Request, change func(*peering.Options)) (peering.Result, []string, error) {
	c.t.Helper()
	var steps []string
	o := peering.Options{
		OpenHub: c.open(req.Hub, ""), OpenSpoke: c.open(req.Spoke, "x"), Every: time.Millisecond, Within: 30 * time.Second,
		Tell: func(e peering.Event) {
			if s := fmt.Sprintf("%s %s", e.Step, e.State); len(steps) == 0 || steps[len(steps)-1] != s {
				steps = append(steps, s)
			}
		},
	}
	if change != nil {
		change(&o)
	}
	res, err := peering.Run(c.t.Context(), req, o)
	return res, steps, err
}

func (c *cloud) mutations(n int) []string {
	var out []string
	for _, r := range c.Log()[n:] {
		if r.Mutating && r.Service == "ec2" {
			out = append(out, r.Account+" "+r.Action)
		}
	}
	return out
}

func (c *cloud) wants(what string, got, want []string) {
	c.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		c.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestAPeeringIsRequestedAcceptedAndBecomesActive(t *testing.T) {
	t.Parallel()
	for _, req := range []peering.Request{request(svcAccount, tokyo, svcVPC), request(farAccount, oregon, farVPC)} {
		t.Run(string(req.Spoke.Region), func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			_, steps, err := c.run(req, func(o *peering.Options) { o.DryRun = true })
			if err != nil {
				t.Fatal(err)
			}
			c.wants("dry run", steps, []string{"look doing", "look done", "request todo", "accept todo"})
			c.wants("calls of the dry run", c.mutations(0), nil)

			res, steps, err := c.run(req, nil)
			if err != nil || res.State != hub.PeeringActive || len(res.Prefixes) != 1 {
				t.Fatalf("%+v, %v", res, err)
			}
			c.wants("steps", slices.Compact(steps), []string{"look doing", "look done", "request doing", "request done", "active doing",
				"accept doing", "accept done", "active doing", "active done"})
			c.wants("calls", c.mutations(0), []string{hubAccount + " CreateVpcPeeringConnection", string(req.Spoke.Account) + " AcceptVpcPeeringConnection"})

			n := len(c.Log())
			again, _, err := c.run(req, nil)
			if err != nil || again.Peering != res.Peering {
				t.Errorf("again: %+v, %v", again, err)
			}
			c.wants("calls when run again", c.mutations(n), nil)
		})
	}
}

func TestARunGoesOnFromWhereverItStands(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		setup func(*cloud)
		calls []string
	}{
		{"the hub's request is pending", func(c *cloud) {
			must(c.t)(c.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0a000001", Requester: hubVPC, Accepter: svcVPC, Pending: true}))
		}, []string{svcAccount + " AcceptVpcPeeringConnection", hubAccount + " CreateTags"}},
		{"the spoke's request is pending", func(c *cloud) {
			must(c.t)(c.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0a000001", Requester: svcVPC, Accepter: hubVPC, Pending: true}))
		}, []string{hubAccount + " AcceptVpcPeeringConnection", hubAccount + " CreateTags"}},
		{"it is active", func(c *cloud) {
			must(c.t)(c.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0a000001", Requester: hubVPC, Accepter: svcVPC}))
		}, []string{hubAccount + " CreateTags"}},
		{"an old one was deleted", func(c *cloud) {
			must(c.t)(c.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0a000001", Requester: hubVPC, Accepter: svcVPC}))
			api, err := c.open(hubScope, "")(c.t.Context())
			if err != nil {
				c.t.Fatal(err)
			}
			if _, err := api.(*ec2.Client).DeleteVpcPeeringConnection(c.t.Context(), &ec2.DeleteVpcPeeringConnectionInput{VpcPeeringConnectionId: aws.String("pcx-0a000001")}); err != nil {
				c.t.Fatal(err)
			}
		}, []string{hubAccount + " CreateVpcPeeringConnection", svcAccount + " AcceptVpcPeeringConnection"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			tc.setup(c)
			n := len(c.Log())
			res, _, err := c.run(request(svcAccount, tokyo, svcVPC), nil)
			if err != nil || res.State != hub.PeeringActive {
				t.Fatalf("%+v, %v", res, err)
			}
			c.wants("calls", c.mutations(n), tc.calls)
		})
	}
}

func TestRefusalsSayWhatToChange(t *testing.T) {
	t.Parallel()
	blind := func(o *peering.Options) { o.OpenSpoke = nil }
	for _, tc := range []struct {
		name   string
		req    peering.Request
		change func(*peering.Options)
		setup  func(*cloud)
		says   string
		waits  bool
	}{
		{name: "an overlap, seen before", req: request(svcAccount, tokyo, clashVPC), says: "overlaps 10.100.0.0/16 of the hub VPC"},
		{name: "an overlap, seen by AWS", req: request(svcAccount, tokyo, clashVPC), change: blind, says: "AWS fails a request when the VPCs overlap"},
		{name: "an unknown VPC", req: request(svcAccount, tokyo, "vpc-0a0000ff"), says: "there is no such VPC"},
		{name: "an unknown VPC, seen by AWS", req: request(svcAccount, tokyo, "vpc-0a0000ff"), change: blind, says: "vpc-0a0000ff is not in account 222222222222"},
		{name: "the wrong region", req: request(farAccount, tokyo, farVPC), says: "check account, region"},
		{name: "the wrong account", req: request(farAccount, tokyo, svcVPC), says: "vpc-0a000002 belongs to account 222222222222, not 333333333333",
			setup: func(c *cloud) { must(c.t)(c.AddPeering(ec2sim.PeeringSpec{Requester: hubVPC, Accepter: svcVPC})) }},
		{name: "the hub VPC itself", req: request(hubAccount, tokyo, hubVPC), says: "is the hub VPC itself"},
		{name: "no role", req: request(svcAccount, tokyo, svcVPC), change: blind, says: "aws ec2 accept-vpc-peering-connection --region ap-northeast-1", waits: true},
		{name: "a role that refuses us", req: request(svcAccount, tokyo, svcVPC), says: "is the external id right", waits: true,
			setup: func(c *cloud) { c.RemoveRole("arn:aws:iam::" + svcAccount + ":role/spoke") }},
		{name: "a denied request", req: request(svcAccount, tokyo, svcVPC), says: "account 111111111111 does not allow it",
			setup: func(c *cloud) {
				if err := c.SetFault(ec2sim.FaultDeny, "CreateVpcPeeringConnection@"+hubAccount); err != nil {
					c.t.Fatal(err)
				}
			}},
		{name: "it takes too long", req: request(svcAccount, tokyo, svcVPC), says: "run the same command again",
			change: func(o *peering.Options) { o.Within = time.Nanosecond }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			if tc.setup != nil {
				tc.setup(c)
			}
			_, _, err := c.run(tc.req, tc.change)
			if err == nil || !strings.Contains(err.Error(), tc.says) || errors.Is(err, peering.ErrWaits) != tc.waits {
				t.Fatalf("error %v, want it to say %q", err, tc.says)
			}
		})
	}
}

// lagging is EC2 whose listing is behind: its first answers show no peering.
type lagging struct {
	peering.API
	behind int
}

func (l *lagging) DescribeVpcPeeringConnections(ctx context.Context, in *ec2.DescribeVpcPeeringConnectionsInput, f ...func(*ec2.Options)) (*ec2.DescribeVpcPeeringConnectionsOutput, error) {
	if slices.Contains(in.VpcPeeringConnectionIds, "") {
		return nil, &smithy.GenericAPIError{Code: "InvalidVpcPeeringConnectionId.Malformed", Message: "Invalid id: \"\""}
	}
	if l.behind--; l.behind >= 0 {
		return &ec2.DescribeVpcPeeringConnectionsOutput{}, nil
	}
	return l.API.DescribeVpcPeeringConnections(ctx, in, f...)
}

func (l *lagging) CreateVpcPeeringConnection(context.Context, *ec2.CreateVpcPeeringConnectionInput, ...func(*ec2.Options)) (*ec2.CreateVpcPeeringConnectionOutput, error) {
	return nil, &smithy.GenericAPIError{Code: "VpcPeeringConnectionAlreadyExists", Message: "already exists"}
}

func TestAPeeringThatIsThereAndNotListedYetIsWaitedFor(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	must(t)(c.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0a000001", Requester: hubVPC, Accepter: svcVPC, Pending: true}))
	res, _, err := c.run(request(svcAccount, tokyo, svcVPC), func(o *peering.Options) {
		open := o.OpenHub
		o.OpenHub = func(ctx context.Context) (peering.API, error) {
			api, err := open(ctx)
			return &lagging{API: api, behind: 4}, err
		}
	})
	if err != nil || res.State != hub.PeeringActive || res.Peering != "pcx-0a000001" {
		t.Fatalf("%+v, %v", res, err)
	}
}

func TestOnlyListedAccountsRequestsAreAccepted(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	must(t)(c.AddVPC(ec2sim.VPCSpec{ID: "vpc-0a000009", Account: strangerAccount, Region: tokyo, CIDRs: []netip.Prefix{netip.MustParsePrefix("10.190.0.0/16")}}))
	listed := must(t)(c.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0a000001", Requester: svcVPC, Accepter: hubVPC, Pending: true}))
	stranger := must(t)(c.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0a000009", Requester: "vpc-0a000009", Accepter: hubVPC, Pending: true}))
	own := must(t)(c.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0a000003", Requester: hubVPC, Accepter: farVPC, Pending: true}))
	useless := must(t)(c.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0a00000c", Requester: poolVPC, Accepter: hubVPC, Pending: true}))
	peer := func(id, account, vpc string, byHub bool, prefixes ...netip.Prefix) hub.Peering {
		return hub.Peering{ID: hub.PeeringID(id), State: hub.PeeringPending, HubRequested: byHub,
			Peer: hub.Peer{Scope: hub.Scope{Account: hub.AccountID(account), Region: tokyo}, VPC: hub.VPCID(vpc), Prefixes: prefixes}}
	}
	pool := netip.MustParsePrefix("172.27.240.0/22")
	top := hub.Topology{Hub: hub.Hub{Scope: hubScope, VPC: hubVPC}, Sources: []hub.Source{{Scope: hubScope}},
		Peerings: []hub.Peering{peer(listed, svcAccount, svcVPC, false),
			peer(own, farAccount, farVPC, true), peer(stranger, strangerAccount, "vpc-0a000009", false), peer(useless, svcAccount, poolVPC, false, pool)}}
	policy := hub.Policy{VPNs: []hub.VPN{{Pools: []netip.Prefix{pool}}}, Accounts: map[hub.AccountID]hub.Account{svcAccount: {Name: "billing"}, farAccount: {}}}
	now := time.Now()
	a := peering.NewAcceptor(func(ctx context.Context, s hub.Scope) (peering.API, error) { return c.open(s, "")(ctx) }, func() time.Time { return now })

	if got, err := a.AcceptListed(t.Context(), policy, top); err != nil || len(got) != 0 || len(c.mutations(0)) != 0 {
		t.Fatalf("on a stale topology: %v, %v, %v", got, err, c.mutations(0))
	}
	top.Sources[0].Fresh = true
	if err := c.SetFault(ec2sim.FaultDeny, "AcceptVpcPeeringConnection@"+hubAccount); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 0} { // denied, and then left alone for a while
		n := len(c.Log())
		got, err := a.AcceptListed(t.Context(), policy, top)
		if len(got) != 0 || (err != nil) != (want == 1) || len(c.mutations(n)) != want {
			t.Fatalf("denied, try %d: %v, %v, %v", i+1, got, err, c.mutations(n))
		}
	}
	if err := c.SetFault(ec2sim.FaultDeny, "off"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Minute)
	n := len(c.Log())
	got, err := a.AcceptListed(t.Context(), policy, top)
	if err != nil || !slices.Equal(got, []hub.PeeringID{hub.PeeringID(listed)}) {
		t.Fatalf("accepted %v, %v", got, err)
	}
	for _, r := range c.Log()[n:] {
		if r.Mutating && r.Params.Get("VpcPeeringConnectionId") != listed {
			t.Errorf("%s of %s", r.Action, r.Params.Get("VpcPeeringConnectionId"))
		}
	}
	// The survey that follows at once may still show it pending.
	n = len(c.Log())
	if got, err := a.AcceptListed(t.Context(), policy, top); err != nil || len(got) != 0 || len(c.mutations(n)) != 0 {
		t.Errorf("accepted twice: %v, %v", got, err)
	}
}
