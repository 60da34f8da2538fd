package vpcroute

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// destination is the parameter of a place's family; the other one stays nil.
func (p place) destination() (v4, v6 *string) {
	s := aws.String(p.dest.Masked().String())
	if p.dest.Addr().Is4() {
		return s, nil
	}
	return nil, s
}

func createRoute(ctx context.Context, api RouteAPI, j job) error {
	v4, v6 := j.place.destination()
	_, err := api.CreateRoute(ctx, &ec2.CreateRouteInput{RouteTableId: aws.String(string(j.place.table)),
		DestinationCidrBlock: v4, DestinationIpv6CidrBlock: v6, VpcPeeringConnectionId: aws.String(string(j.peering))})
	return err
}

func replaceRoute(ctx context.Context, api RouteAPI, j job) error {
	v4, v6 := j.place.destination()
	_, err := api.ReplaceRoute(ctx, &ec2.ReplaceRouteInput{RouteTableId: aws.String(string(j.place.table)),
		DestinationCidrBlock: v4, DestinationIpv6CidrBlock: v6, VpcPeeringConnectionId: aws.String(string(j.peering))})
	return err
}

func deleteRoute(ctx context.Context, api RouteAPI, j job) error {
	v4, v6 := j.place.destination()
	_, err := api.DeleteRoute(ctx, &ec2.DeleteRouteInput{RouteTableId: aws.String(string(j.place.table)),
		DestinationCidrBlock: v4, DestinationIpv6CidrBlock: v6})
	return err
}
