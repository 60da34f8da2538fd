package ec2sim_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"peerhub/test/ec2sim"
)

// The cloud of these tests: a hub and two services in accounts of their own.
const (
	tokyo, oregon = "ap-northeast-1", "us-west-2"

	hubAccount, svcAccount, otherAccount = "111111111111", "222222222222", "333333333333"

	hubVPC, svcVPC, farVPC       = "vpc-0a000000000000001", "vpc-0a000000000000002", "vpc-0a000000000000003"
	hubSubnet, svcSubnet         = "subnet-0a000000000000001", "subnet-0a000000000000002"
	hubTable, svcTable           = "rtb-0a000000000000001", "rtb-0a000000000000002"
	hubGateway                   = "igw-0a000000000000001"
	hubInstance, hubENI          = "i-0a000000000000001", "eni-0a000000000000001"
	svcInstance, svcENI          = "i-0a000000000000002", "eni-0a000000000000002"
	standingPeering, noSuchTable = "pcx-0a000000000000001", "rtb-0a0000000000000ff"
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

// lab is a simulated AWS with clients for it.
type lab struct {
	*ec2sim.Sim
	t     *testing.T
	clock *clock
	url   string
	keys  map[string][2]string
}

// newLab makes the cloud of these tests. The options' clock is the lab's own.
func newLab(t *testing.T, o ec2sim.Options) *lab {
	t.Helper()
	c := &clock{now: time.Now()}
	o.Clock = c.Now
	o.Delays.Answer = ec2sim.Immediate
	l := &lab{Sim: ec2sim.New(o), t: t, clock: c, keys: map[string][2]string{}}
	t.Cleanup(l.Close)
	srv := httptest.NewServer(l.APIHandler())
	t.Cleanup(srv.Close)
	l.url = srv.URL
	for _, a := range []string{hubAccount, svcAccount, otherAccount} {
		key, secret := l.AddAccount(a, "account "+a)
		l.keys[a] = [2]string{key, secret}
	}
	p := netip.MustParsePrefix
	must(t)(l.AddVPC(ec2sim.VPCSpec{ID: hubVPC, Account: hubAccount, Region: tokyo, Name: "hub", CIDRs: []netip.Prefix{p("10.100.0.0/16")}, MainTable: hubTable}))
	must(t)(l.AddVPC(ec2sim.VPCSpec{ID: svcVPC, Account: svcAccount, Region: tokyo, Name: "svc", CIDRs: []netip.Prefix{p("10.110.0.0/16")}, MainTable: svcTable}))
	must(t)(l.AddVPC(ec2sim.VPCSpec{ID: farVPC, Account: otherAccount, Region: oregon, CIDRs: []netip.Prefix{p("10.120.0.0/16")}}))
	must(t)(l.AddSubnet(ec2sim.SubnetSpec{ID: hubSubnet, VPC: hubVPC, CIDR: p("10.100.0.0/24")}))
	must(t)(l.AddSubnet(ec2sim.SubnetSpec{ID: svcSubnet, VPC: svcVPC, CIDR: p("10.110.1.0/24")}))
	must(t)(l.AddInternetGateway(hubGateway, hubVPC))
	must(t)(l.AddRole(ec2sim.RoleSpec{Account: hubAccount, Name: "hub", TrustedBy: []string{"ec2.amazonaws.com"}}))
	must(t)(l.AddInstance(ec2sim.InstanceSpec{
		ID: hubInstance, Interface: hubENI, Subnet: hubSubnet, Name: "bastion", Role: "hub",
		Address: netip.MustParseAddr("10.100.0.10"), Public: netip.MustParseAddr("203.0.113.10"),
	}))
	must(t)(l.AddInstance(ec2sim.InstanceSpec{ID: svcInstance, Interface: svcENI, Subnet: svcSubnet, Address: netip.MustParseAddr("10.110.1.10")}))
	return l
}

// must is for seeding: an error ends the test.
func must(t *testing.T) func(string, error) string {
	return func(id string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
}

func (l *lab) config(account, region string) aws.Config {
	k := l.keys[account]
	return aws.Config{
		Region: region, BaseEndpoint: aws.String(l.url),
		Credentials:      credentials.NewStaticCredentialsProvider(k[0], k[1], ""),
		RetryMaxAttempts: 1, HTTPClient: &http.Client{Transport: inMemory{}},
	}
}

// inMemory is the default transport, with the request's body in memory. The SDK's own body fails
// the connection (smithy-go 1.28.8: WriteTo returns io.EOF) when the answer comes before net/http
// has seen that the body is over, as it does on loopback; the SDK's retries, off here, would hide it.
type inMemory struct{}

func (inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return http.DefaultTransport.RoundTrip(r)
}

func (l *lab) ec2(account string) *ec2.Client { return ec2.NewFromConfig(l.config(account, tokyo)) }

func (l *lab) ec2In(account, region string) *ec2.Client {
	return ec2.NewFromConfig(l.config(account, region))
}

func (l *lab) sts(account string) *sts.Client { return sts.NewFromConfig(l.config(account, tokyo)) }

// peer seeds an active peering of the hub with the service.
func (l *lab) peer() string {
	l.t.Helper()
	return must(l.t)(l.AddPeering(ec2sim.PeeringSpec{ID: standingPeering, Requester: hubVPC, Accepter: svcVPC}))
}

// code is the API error code of an error, "" for none.
func code(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return api.ErrorCode()
	}
	return err.Error()
}

// refused asserts that a request was refused with a code.
func refused(t *testing.T, want string, err error) {
	t.Helper()
	if got := code(err); got != want {
		t.Errorf("got %q (%v), want %s", got, err, want)
	}
}

// accepted asserts that the near twin of a refused request is accepted.
func accepted(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("the near twin was refused: %v", err)
	}
}

var ctx = context.Background()

// request asks for a peering of the hub with the service and waits until it is
// pending.
func (l *lab) request() string {
	l.t.Helper()
	out, err := l.ec2(hubAccount).CreateVpcPeeringConnection(ctx, &ec2.CreateVpcPeeringConnectionInput{
		VpcId: aws.String(hubVPC), PeerVpcId: aws.String(svcVPC), PeerOwnerId: aws.String(svcAccount)})
	if err != nil {
		l.t.Fatal(err)
	}
	l.clock.Add(time.Second)
	return *out.VpcPeeringConnection.VpcPeeringConnectionId
}

// peering describes one peering as an account sees it, nil if it does not.
func (l *lab) peering(account, id string) *types.VpcPeeringConnection {
	l.t.Helper()
	return l.peeringIn(account, tokyo, id)
}

func (l *lab) peeringIn(account, region, id string) *types.VpcPeeringConnection {
	l.t.Helper()
	out, err := l.ec2In(account, region).DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{VpcPeeringConnectionIds: []string{id}})
	if code(err) == "InvalidVpcPeeringConnectionID.NotFound" {
		return nil
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return &out.VpcPeeringConnections[0]
}

func (l *lab) status(account, id string) string {
	l.t.Helper()
	p := l.peering(account, id)
	if p == nil {
		return "not found"
	}
	return string(p.Status.Code)
}

// routes lists a table's routes as "destination target state origin".
func (l *lab) routes(account, table string) []string {
	l.t.Helper()
	out, err := l.ec2(account).DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{RouteTableIds: []string{table}})
	if err != nil {
		l.t.Fatal(err)
	}
	var list []string
	for _, r := range out.RouteTables[0].Routes {
		target := ""
		for _, id := range []*string{r.GatewayId, r.VpcPeeringConnectionId, r.NetworkInterfaceId, r.NatGatewayId, r.TransitGatewayId} {
			target += aws.ToString(id)
		}
		list = append(list, aws.ToString(r.DestinationCidrBlock)+aws.ToString(r.DestinationIpv6CidrBlock)+" "+target+" "+string(r.State)+" "+string(r.Origin))
	}
	return list
}

func (l *lab) addRoute(account, table, dest, pcx string) error {
	_, err := l.ec2(account).CreateRoute(ctx, &ec2.CreateRouteInput{
		RouteTableId: aws.String(table), DestinationCidrBlock: aws.String(dest), VpcPeeringConnectionId: aws.String(pcx)})
	return err
}

func (l *lab) fault(name, value string) {
	l.t.Helper()
	if err := l.SetFault(name, value); err != nil {
		l.t.Fatal(err)
	}
}
