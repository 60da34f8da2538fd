package ec2sim_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"peerhub/test/ec2sim"
)

// rule is one thing that AWS refuses, with its code, and a near twin that it
// accepts. The twin is tried in a cloud of its own, prepared the same way.
type rule struct {
	name     string
	options  ec2sim.Options
	prepare  func(*lab)
	refused  func(*lab) error
	code     string
	accepted func(*lab) error
}

// checkRules shows every rule refusing, and accepting its twin.
func checkRules(t *testing.T, rules []rule) {
	t.Helper()
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			for _, try := range []func(*lab){
				func(l *lab) { refused(t, r.code, r.refused(l)) },
				func(l *lab) { accepted(t, r.accepted(l)) },
			} {
				l := newLab(t, r.options)
				if r.prepare != nil {
					r.prepare(l)
				}
				try(l)
			}
		})
	}
}

// Shorthands for requests; each returns only the error.

func (l *lab) requestPeering(account, vpc, peer, peerAccount, peerRegion string) error {
	_, err := l.ec2(account).CreateVpcPeeringConnection(ctx, &ec2.CreateVpcPeeringConnectionInput{
		VpcId: aws.String(vpc), PeerVpcId: aws.String(peer), PeerOwnerId: aws.String(peerAccount), PeerRegion: aws.String(peerRegion)})
	return err
}

func (l *lab) accept(account, region, id string) error {
	_, err := l.ec2In(account, region).AcceptVpcPeeringConnection(ctx, &ec2.AcceptVpcPeeringConnectionInput{VpcPeeringConnectionId: aws.String(id)})
	return err
}

func (l *lab) reject(account, id string) error {
	_, err := l.ec2(account).RejectVpcPeeringConnection(ctx, &ec2.RejectVpcPeeringConnectionInput{VpcPeeringConnectionId: aws.String(id)})
	return err
}

func (l *lab) deletePeering(account, id string) error {
	_, err := l.ec2(account).DeleteVpcPeeringConnection(ctx, &ec2.DeleteVpcPeeringConnectionInput{VpcPeeringConnectionId: aws.String(id)})
	return err
}

// setOption sets the DNS option of one side.
func (l *lab) setOption(account, id, side string) error {
	in := &ec2.ModifyVpcPeeringConnectionOptionsInput{VpcPeeringConnectionId: aws.String(id)}
	on := &types.PeeringConnectionOptionsRequest{AllowDnsResolutionFromRemoteVpc: aws.Bool(true)}
	if side == "requester" {
		in.RequesterPeeringConnectionOptions = on
	} else {
		in.AccepterPeeringConnectionOptions = on
	}
	_, err := l.ec2(account).ModifyVpcPeeringConnectionOptions(ctx, in)
	return err
}

// namesOn switches a VPC's DNS hostnames on.
func (l *lab) namesOn(account, vpc string) {
	l.t.Helper()
	if _, err := l.ec2(account).ModifyVpcAttribute(ctx, &ec2.ModifyVpcAttributeInput{
		VpcId: aws.String(vpc), EnableDnsHostnames: &types.AttributeBooleanValue{Value: aws.Bool(true)}}); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) associate(account, vpc, cidr string) error {
	_, err := l.ec2(account).AssociateVpcCidrBlock(ctx, &ec2.AssociateVpcCidrBlockInput{VpcId: aws.String(vpc), CidrBlock: aws.String(cidr)})
	return err
}

func (l *lab) createRoute(account string, in ec2.CreateRouteInput) error {
	_, err := l.ec2(account).CreateRoute(ctx, &in)
	return err
}

func (l *lab) replaceRoute(account, table, dest, pcx string) error {
	_, err := l.ec2(account).ReplaceRoute(ctx, &ec2.ReplaceRouteInput{
		RouteTableId: aws.String(table), DestinationCidrBlock: aws.String(dest), VpcPeeringConnectionId: aws.String(pcx)})
	return err
}

func (l *lab) deleteRoute(account, table, dest string) error {
	_, err := l.ec2(account).DeleteRoute(ctx, &ec2.DeleteRouteInput{RouteTableId: aws.String(table), DestinationCidrBlock: aws.String(dest)})
	return err
}
