package ec2sim_test

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"

	"peerhub/test/ec2sim"
)

func TestAnEmptySetIsAnAnswerOfForm(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	c := l.ec2(hubAccount)
	list := func() int {
		t.Helper()
		out, err := c.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Vpcs)
	}
	before := list()
	l.fault(ec2sim.FaultEmptySet, "DescribeVpcs")
	if n := list(); n != 0 || before == 0 {
		t.Errorf("%d VPCs, before %d", n, before)
	}
	l.fault(ec2sim.FaultEmptySet, "off")
	if n := list(); n != before {
		t.Errorf("%d VPCs afterwards, want %d", n, before)
	}
}

// A peering that is not listed is there: a second one between the two VPCs is refused.
func TestAnUnlistedPeeringStands(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	c := l.ec2(hubAccount)
	list := func() int {
		t.Helper()
		out, err := c.DescribeVpcPeeringConnections(t.Context(), &ec2.DescribeVpcPeeringConnectionsInput{})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.VpcPeeringConnections)
	}
	id := l.request()
	l.fault(ec2sim.FaultUnlisted, id)
	if n := list(); n != 0 {
		t.Errorf("%d peerings are listed", n)
	}
	if got := code(l.requestPeering(hubAccount, hubVPC, svcVPC, svcAccount, tokyo)); got != "VpcPeeringConnectionAlreadyExists" {
		t.Errorf("a second one: %q", got)
	}
	l.fault(ec2sim.FaultUnlisted, "off")
	if n := list(); n != 1 {
		t.Errorf("%d peerings are listed afterwards, want 1", n)
	}
}

// What expires is refused until IMDS hands out what lasts.
func TestIMDSHandsOutExpiredCredentials(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	c, _ := l.imdsFor(hubInstance)
	provider := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = c })
	call := func(creds aws.Credentials) string {
		t.Helper()
		client := ec2.NewFromConfig(aws.Config{Region: tokyo, BaseEndpoint: &l.url, Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return creds, nil })},
			func(o *ec2.Options) { o.RetryMaxAttempts = 1 })
		_, err := client.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
		if err == nil {
			return "ok"
		}
		return code(err)
	}
	old, err := provider.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := call(old); got != "ok" {
		t.Errorf("control: %s", got)
	}
	l.fault(ec2sim.FaultIMDSExpired, "on")
	if got := call(old); got != "RequestExpired" {
		t.Errorf("earlier credentials: %s", got)
	}
	l.fault(ec2sim.FaultIMDSExpired, "off")
	fresh, err := provider.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := call(fresh); got != "ok" {
		t.Errorf("afterwards: %s", got)
	}
}

// The SDK learns AWS's clock from a refusal: its next call is accepted.
func TestClockSkewIsRefusedAndFollowed(t *testing.T) {
	for _, skew := range []string{"1h", "-1h"} {
		l := newLab(t, ec2sim.Options{})
		l.fault(ec2sim.FaultClockSkew, skew)
		c := l.ec2(hubAccount)
		var got []string
		for range 2 {
			_, err := c.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{})
			got = append(got, code(err))
		}
		if diff := cmp.Diff([]string{"RequestExpired", ""}, got); diff != "" {
			t.Errorf("%s: codes (-want +got):\n%s", skew, diff)
		}
	}
}
