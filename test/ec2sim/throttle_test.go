package ec2sim_test

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"peerhub/test/ec2sim"
)

func TestBucketsHaveAWSsSizes(t *testing.T) {
	tests := []struct {
		name          string
		burst, refill int
		do            func(*lab) error
	}{
		{"reads", 100, 20, func(l *lab) error { return describeVPCs(l.ec2(hubAccount)) }},
		{"big reads without filter", 50, 10, func(l *lab) error {
			_, err := l.ec2(hubAccount).DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
			return err
		}},
		{"big reads with filter", 100, 20, func(l *lab) error {
			_, err := l.ec2(hubAccount).DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []types.Filter{where("vpc-id", hubVPC)}})
			return err
		}},
		{"writes", 50, 5, func(l *lab) error { return l.addRoute(hubAccount, hubTable, "10.110.0.0/16", standingPeering) }},
		{"tags", 100, 10, func(l *lab) error {
			_, err := l.ec2(hubAccount).CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{hubVPC}, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
			return err
		}},
		{"interfaces", 100, 5, func(l *lab) error {
			_, err := l.ec2(hubAccount).ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
				NetworkInterfaceId: aws.String(hubENI), SourceDestCheck: &types.AttributeBooleanValue{Value: aws.Bool(true)}})
			return err
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, ec2sim.Options{Throttle: true})
			l.peer()
			// spend takes tokens until the bucket is empty.
			spend := func() (n int) {
				for {
					err := tt.do(l)
					if err != nil {
						refused(t, "RequestLimitExceeded", err)
						var response *awshttp.ResponseError
						if !errors.As(err, &response) || response.HTTPStatusCode() != 503 {
							t.Errorf("%v, want HTTP 503", err)
						}
						return n
					}
					n++
				}
			}
			if got := spend(); got != tt.burst {
				t.Errorf("burst %d, want %d", got, tt.burst)
			}
			l.clock.Add(2 * time.Second)
			if got := spend(); got != 2*tt.refill {
				t.Errorf("%d tokens in 2 s, want %d", got, 2*tt.refill)
			}
			accepted(t, describeRouteTables(l, hubAccount)) // another action has a bucket of its own
			accepted(t, describeVPCs(l.ec2(svcAccount)))    // and another account
			accepted(t, describeVPCs(l.ec2In(hubAccount, oregon)))
		})
	}
}

func describeRouteTables(l *lab, account string) error {
	_, err := l.ec2(account).DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{})
	return err
}

func TestWithoutThrottleNothingIsRefused(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	l.peer()
	for range 60 {
		accepted(t, l.addRoute(hubAccount, hubTable, "10.110.0.0/16", standingPeering))
	}
	l.fault(ec2sim.FaultThrottle, "empty")
	refused(t, "RequestLimitExceeded", describeVPCs(l.ec2(hubAccount)))
}
