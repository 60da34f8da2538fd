package discovery

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"peerhub/hub"
)

// Attached reports whether an instance of a scope has a network interface: one that runs or
// is stopped has, one that was terminated has not. An empty id is an error, because an empty
// filter would answer for somebody else.
func (d *Discovery) Attached(ctx context.Context, scope hub.Scope, instance hub.InstanceID) (bool, error) {
	if instance == "" {
		return false, errors.New("DescribeNetworkInterfaces: no instance named")
	}
	c, err := d.EC2(ctx, scope)
	if err != nil {
		return false, err
	}
	list, err := pages(ctx, "DescribeNetworkInterfaces", func(ctx context.Context, token *string) ([]types.NetworkInterface, *string, error) {
		out, err := c.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{
			Filters: []types.Filter{filter("attachment.instance-id", string(instance))}, MaxResults: aws.Int32(1000), NextToken: token})
		if err != nil {
			return nil, nil, err
		}
		return out.NetworkInterfaces, out.NextToken, nil
	})
	return len(list) > 0, err
}
