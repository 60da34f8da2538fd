package ec2sim_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"peerhub/test/ec2sim"
)

func TestPeeringPassesThroughItsStates(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	out, err := l.ec2(hubAccount).CreateVpcPeeringConnection(ctx, &ec2.CreateVpcPeeringConnectionInput{
		VpcId: aws.String(hubVPC), PeerVpcId: aws.String(svcVPC), PeerOwnerId: aws.String(svcAccount)})
	if err != nil {
		t.Fatal(err)
	}
	id := *out.VpcPeeringConnection.VpcPeeringConnectionId
	if got := l.status(hubAccount, id); got != "initiating-request" {
		t.Errorf("at first %s", got)
	}
	if got := l.status(svcAccount, id); got != "not found" {
		t.Errorf("the accepter sees an unready request as %s", got)
	}
	l.clock.Add(time.Second)
	if got := l.status(svcAccount, id); got != "pending-acceptance" {
		t.Errorf("then %s", got)
	}
	acc, err := l.ec2(svcAccount).AcceptVpcPeeringConnection(ctx, &ec2.AcceptVpcPeeringConnectionInput{VpcPeeringConnectionId: &id})
	if err != nil {
		t.Fatal(err)
	}
	if acc.VpcPeeringConnection.Status.Code != types.VpcPeeringConnectionStateReasonCodeProvisioning {
		t.Errorf("accepting answers %s", acc.VpcPeeringConnection.Status.Code)
	}
	l.clock.Add(time.Second)
	if got := l.status(hubAccount, id); got != "active" {
		t.Errorf("in the end %s", got)
	}
}
