package ec2sim_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"

	"peerhub/test/ec2sim"
)

// peerings asks for all peerings and returns their number and the request id that
// the SDK kept.
func (l *lab) peerings(ctx context.Context) (int, string, error) {
	out, err := l.ec2(hubAccount).DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{})
	if err != nil {
		return 0, "", err
	}
	id, _ := middleware.GetRequestIDMetadata(out.ResultMetadata)
	return len(out.VpcPeeringConnections), id, nil
}

// healthy asserts that one peering is seen, with a request id.
func (l *lab) healthy() {
	l.t.Helper()
	if n, id, err := l.peerings(ctx); n != 1 || id == "" || err != nil {
		l.t.Errorf("without the fault: %d peerings, request id %q, %v", n, id, err)
	}
}

func TestAnswersThatLookGoodAndSayNothing(t *testing.T) {
	for _, fault := range []string{ec2sim.FaultEmpty200, ec2sim.FaultHTML200} {
		t.Run(fault, func(t *testing.T) {
			l := newLab(t, ec2sim.Options{})
			l.peer()
			l.healthy()
			l.fault(fault, "DescribeVpcPeeringConnections")
			if n, id, err := l.peerings(ctx); n != 0 || id != "" || err != nil {
				t.Errorf("%d peerings, request id %q, %v: want none of all three", n, id, err)
			}
			accepted(t, describeVPCs(l.ec2(hubAccount))) // another action is not hit
			l.fault(fault, "off")
			l.healthy()
		})
	}
	l := newLab(t, ec2sim.Options{})
	l.peer()
	l.fault(ec2sim.FaultNoRequestID, "on")
	if n, id, err := l.peerings(ctx); n != 1 || id != "" || err != nil {
		t.Errorf("no-request-id: %d peerings, id %q, %v", n, id, err)
	}
}

func TestEndlessBodyEndsWithTheClient(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	l.peer()
	l.healthy()
	l.fault(ec2sim.FaultEndlessBody, "*")
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if _, _, err := l.peerings(short); err == nil || short.Err() == nil {
		t.Errorf("an endless body ended: %v", err)
	}
	l.fault(ec2sim.FaultEndlessBody, "off")
	l.healthy()
}

func TestFaultsOfPages(t *testing.T) {
	newPaged := func(t *testing.T) *lab {
		l := newLab(t, ec2sim.Options{})
		for i := range 7 {
			must(t)(l.AddVPC(ec2sim.VPCSpec{Account: otherAccount, Region: tokyo, CIDRs: prefixes(fmt.Sprintf("10.%d.0.0/16", i))}))
		}
		return l
	}
	// walk reads at most 5 pages and returns their sizes.
	walk := func(l *lab, size int32) (sizes []int, err error) {
		in := &ec2.DescribeVpcsInput{}
		if size > 0 {
			in.MaxResults = aws.Int32(size)
		}
		p := ec2.NewDescribeVpcsPaginator(l.ec2(otherAccount), in)
		for p.HasMorePages() && len(sizes) < 5 {
			out, err := p.NextPage(ctx)
			if err != nil {
				return sizes, err
			}
			sizes = append(sizes, len(out.Vpcs))
		}
		return sizes, nil
	}
	t.Run("control", func(t *testing.T) {
		sizes, err := walk(newPaged(t), 5)
		if diff := cmp.Diff([]int{5, 2}, sizes); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
	t.Run("page2-fail", func(t *testing.T) {
		l := newPaged(t)
		l.fault(ec2sim.FaultPage2Fail, "on")
		sizes, err := walk(l, 5)
		refused(t, "InternalError", err)
		if diff := cmp.Diff([]int{5}, sizes); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("repeat-token", func(t *testing.T) {
		l := newPaged(t)
		l.fault(ec2sim.FaultRepeatToken, "DescribeVpcs")
		sizes, err := walk(l, 5)
		if diff := cmp.Diff([]int{5, 5, 5, 5, 5}, sizes); diff != "" || err != nil {
			t.Errorf("the pages end: %v (-want +got):\n%s", err, diff)
		}
	})
	t.Run("page-size", func(t *testing.T) {
		l := newPaged(t)
		l.fault(ec2sim.FaultPageSize, "3")
		sizes, err := walk(l, 0)
		if diff := cmp.Diff([]int{3, 3, 1}, sizes); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}

func TestUnavailableLastsAsLongAsSaid(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	l.peer()
	l.fault(ec2sim.FaultUnavailable, "30s")
	_, _, err := l.peerings(ctx)
	refused(t, "Unavailable", err)
	var response *awshttp.ResponseError
	if !errors.As(err, &response) || response.HTTPStatusCode() != 503 {
		t.Errorf("%v, want HTTP 503", err)
	}
	if diff := cmp.Diff(map[string]string{"unavailable": "30s"}, l.Faults()); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	l.clock.Add(31 * time.Second)
	l.healthy()
	if got := l.Faults(); len(got) != 0 {
		t.Errorf("it is over but listed: %v", got)
	}
	l.fault(ec2sim.FaultUnavailable, "on")
	l.clock.Add(time.Hour)
	_, _, err = l.peerings(ctx)
	refused(t, "Unavailable", err)
}

func TestLatencyHoldsAnAnswerBack(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	l.peer()
	l.fault(ec2sim.FaultLatency, "1h")
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, _, err := l.peerings(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the client's own deadline", err)
	}
	l.fault(ec2sim.FaultLatency, "1ms")
	l.healthy()
}

func TestDenyHitsAnActionOrOneAccount(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	l.peer()
	l.addSpokeRole(ec2sim.RoleSpec{})
	l.fault(ec2sim.FaultDeny, "DescribeVpcs@"+svcAccount+",AssumeRole@"+svcAccount)
	refused(t, "UnauthorizedOperation", describeVPCs(l.ec2(svcAccount)))
	accepted(t, describeVPCs(l.ec2(hubAccount)))
	_, err := l.assume(hubAccount, "", 0) // the role's account counts
	refused(t, "AccessDenied", err)
	l.fault(ec2sim.FaultDeny, "DescribeVpcs")
	refused(t, "UnauthorizedOperation", describeVPCs(l.ec2(hubAccount)))
	_, err = l.assume(hubAccount, "", 0)
	accepted(t, err)
}

func TestRegionDownCutsConnections(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	l.fault(ec2sim.FaultRegionDown, tokyo)
	err := describeVPCs(l.ec2(hubAccount))
	var response *awshttp.ResponseError
	if err == nil || errors.As(err, &response) && response.HTTPStatusCode() != 0 {
		t.Errorf("got an answer from a dead region: %v", err)
	}
	accepted(t, describeVPCs(l.ec2In(hubAccount, oregon)))
	log := l.Log()
	if log[0].Status != 0 || log[0].Region != tokyo {
		t.Errorf("logged as %+v", log[0])
	}
}

func TestStaleReplicaAnswersEverySecondRead(t *testing.T) {
	see := func(l *lab) (seen []int) {
		for range 4 {
			n, _, err := l.peerings(ctx)
			if err != nil {
				l.t.Fatal(err)
			}
			seen = append(seen, n)
		}
		return seen
	}
	l := newLab(t, ec2sim.Options{})
	l.fault(ec2sim.FaultStaleReplica, "on")
	l.peer()
	l.clock.Add(time.Hour)
	if diff := cmp.Diff([]int{1, 0, 1, 0}, see(l)); diff != "" {
		t.Errorf("frozen (-want +got):\n%s", diff)
	}
	l.fault(ec2sim.FaultStaleReplica, "off")
	if diff := cmp.Diff([]int{1, 1, 1, 1}, see(l)); diff != "" {
		t.Errorf("off (-want +got):\n%s", diff)
	}

	l = newLab(t, ec2sim.Options{})
	l.fault(ec2sim.FaultStaleReplica, "10s")
	l.peer()
	if diff := cmp.Diff([]int{1, 0, 1, 0}, see(l)); diff != "" {
		t.Errorf("10 s behind (-want +got):\n%s", diff)
	}
	l.clock.Add(11 * time.Second)
	if diff := cmp.Diff([]int{1, 1, 1, 1}, see(l)); diff != "" {
		t.Errorf("caught up (-want +got):\n%s", diff)
	}
}

func TestReadsLagBehindWrites(t *testing.T) {
	l := newLab(t, ec2sim.Options{Delays: ec2sim.Delays{ReadLag: 2 * time.Second}})
	l.clock.Add(time.Minute)
	out, err := l.ec2(hubAccount).CreateVpcPeeringConnection(ctx, &ec2.CreateVpcPeeringConnectionInput{
		VpcId: aws.String(hubVPC), PeerVpcId: aws.String(svcVPC), PeerOwnerId: aws.String(svcAccount)})
	if err != nil {
		t.Fatal(err)
	}
	id := *out.VpcPeeringConnection.VpcPeeringConnectionId
	if got := l.status(hubAccount, id); got != "not found" {
		t.Errorf("just written: %s", got)
	}
	l.clock.Add(time.Second)
	refused(t, "InvalidVpcPeeringConnectionID.NotFound", l.accept(svcAccount, tokyo, id)) // not there yet either
	l.clock.Add(2 * time.Second)
	if got := l.status(hubAccount, id); got != "pending-acceptance" {
		t.Errorf("later: %s", got)
	}
	accepted(t, l.accept(svcAccount, tokyo, id))
}

func TestRouteLagHidesANewRoute(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	l.peer()
	l.fault(ec2sim.FaultRouteLag, "5s")
	accepted(t, l.addRoute(hubAccount, hubTable, "10.110.0.0/16", standingPeering))
	if got := l.routes(hubAccount, hubTable); len(got) != 1 {
		t.Errorf("visible at once: %v", got)
	}
	if got := len(l.Network().Tables[0].Routes) + len(l.Network().Tables[1].Routes); got < 3 {
		t.Error("the data plane does not have it")
	}
	l.clock.Add(6 * time.Second)
	if got := l.routes(hubAccount, hubTable); len(got) != 2 {
		t.Errorf("never visible: %v", got)
	}
}

func TestUnknownStatusIsDescribed(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	id := l.peer()
	l.fault(ec2sim.FaultUnknownStatus, id)
	if got := l.status(hubAccount, id); got != "hibernating" {
		t.Errorf("status %s", got)
	}
	l.fault(ec2sim.FaultUnknownStatus, "off")
	if got := l.status(hubAccount, id); got != "active" {
		t.Errorf("status %s", got)
	}
}

func TestFaultsAreChecked(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	for name, values := range map[string][]string{
		"no-such":              {"on"},
		ec2sim.FaultLatency:    {"on", "fast", "-1s", ""},
		ec2sim.FaultPageSize:   {"on", "many"},
		ec2sim.FaultRegionDown: {"on"},
		ec2sim.FaultThrottle:   {"5s"},
	} {
		for _, v := range values {
			if err := l.SetFault(name, v); err == nil {
				t.Errorf("%s=%q was taken", name, v)
			}
		}
	}
	if got := l.Faults(); len(got) != 0 {
		t.Errorf("a refused fault is on: %v", got)
	}
}
