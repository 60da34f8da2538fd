// Package admin is what people do in the lab's accounts: they make peerings and delete
// them, give VPCs more prefixes, and remove routes by hand. It speaks the EC2 API with the
// keys of each account's administrator, to the lab's own cloud without a wire in between,
// so that a change takes a millisecond.
package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"peerhub/test/lab"
)

// patience bounds how long a state that the cloud reaches by itself is waited for.
const patience = 20 * time.Second

// Admin acts in the accounts of a lab.
type Admin struct {
	spec lab.Spec
	open func(account string) (*ec2.Client, error)
}

// New makes one.
func New(l *lab.Lab) *Admin {
	wire := &http.Client{Transport: inProcess{l.Sim.APIHandler()}}
	return &Admin{spec: l.Spec, open: func(account string) (*ec2.Client, error) {
		c, err := l.Credentials(account)
		if err != nil {
			return nil, err
		}
		return ec2.New(ec2.Options{Region: c.Region, BaseEndpoint: aws.String(c.Endpoint), HTTPClient: wire,
			Credentials: credentials.NewStaticCredentialsProvider(c.AccessKey, c.SecretKey, "")}), nil
	}}
}

// inProcess hands requests to the simulated AWS itself.
type inProcess struct{ api http.Handler }

func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.Host = cmp.Or(r.Host, r.URL.Host)
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	t.api.ServeHTTP(w, in)
	return w.Result(), nil
}

func (a *Admin) service(host string) (lab.Service, error) {
	i := slices.IndexFunc(a.spec.Services, func(s lab.Service) bool { return s.Host == host })
	if i < 0 {
		return lab.Service{}, fmt.Errorf("no service %q in this lab", host)
	}
	return a.spec.Services[i], nil
}

// Request has the service's account ask for a peering with the hub, and returns its id
// once it is pending.
func (a *Admin) Request(ctx context.Context, host string) (string, error) {
	s, err := a.service(host)
	if err != nil {
		return "", err
	}
	return a.request(ctx, s.Account, a.spec.ID("vpc", host), a.spec.HubAccount, a.spec.ID("vpc", lab.HostHub))
}

// Peer makes an active peering of the hub with a service and returns its id.
func (a *Admin) Peer(ctx context.Context, host string) (string, error) {
	s, err := a.service(host)
	if err != nil {
		return "", err
	}
	id, err := a.request(ctx, a.spec.HubAccount, a.spec.ID("vpc", lab.HostHub), s.Account, a.spec.ID("vpc", host))
	if err != nil {
		return "", err
	}
	api, err := a.open(s.Account)
	if err != nil {
		return "", err
	}
	if _, err := api.AcceptVpcPeeringConnection(ctx, &ec2.AcceptVpcPeeringConnectionInput{VpcPeeringConnectionId: &id}); err != nil {
		return "", fmt.Errorf("accept %s: %w", id, err)
	}
	return id, a.reaches(ctx, id, types.VpcPeeringConnectionStateReasonCodeActive)
}

func (a *Admin) request(ctx context.Context, from, vpc, to, peer string) (string, error) {
	api, err := a.open(from)
	if err != nil {
		return "", err
	}
	out, err := api.CreateVpcPeeringConnection(ctx, &ec2.CreateVpcPeeringConnectionInput{VpcId: &vpc, PeerVpcId: &peer, PeerOwnerId: &to})
	if err != nil {
		return "", fmt.Errorf("peer %s with %s: %w", vpc, peer, err)
	}
	id := aws.ToString(out.VpcPeeringConnection.VpcPeeringConnectionId)
	return id, a.reaches(ctx, id, types.VpcPeeringConnectionStateReasonCodePendingAcceptance)
}

// reaches waits until a peering is in a state.
func (a *Admin) reaches(ctx context.Context, id string, state types.VpcPeeringConnectionStateReasonCode) error {
	return until(ctx, fmt.Sprintf("%s is %s", id, state), func() error {
		all, err := a.Peerings(ctx)
		if err != nil {
			return err
		}
		for _, p := range all {
			if aws.ToString(p.VpcPeeringConnectionId) == id {
				if p.Status.Code == state {
					return nil
				}
				return fmt.Errorf("it is %s", p.Status.Code)
			}
		}
		return errors.New("it is not listed")
	})
}

// Peerings are those that the hub's account sees.
func (a *Admin) Peerings(ctx context.Context) ([]types.VpcPeeringConnection, error) {
	api, err := a.open(a.spec.HubAccount)
	if err != nil {
		return nil, err
	}
	out, err := api.DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{})
	if err != nil {
		return nil, fmt.Errorf("list the peerings: %w", err)
	}
	return out.VpcPeeringConnections, nil
}

// Unpeer deletes a peering, as the account given.
func (a *Admin) Unpeer(ctx context.Context, account, id string) error {
	api, err := a.open(account)
	if err != nil {
		return err
	}
	if _, err := api.DeleteVpcPeeringConnection(ctx, &ec2.DeleteVpcPeeringConnectionInput{VpcPeeringConnectionId: &id}); err != nil {
		return fmt.Errorf("delete %s: %w", id, err)
	}
	return nil
}

// AddPrefix gives a service's VPC one more prefix and waits until it has it.
func (a *Admin) AddPrefix(ctx context.Context, host string, prefix netip.Prefix) error {
	api, vpc, err := a.vpcOf(host)
	if err != nil {
		return err
	}
	if _, err := api.AssociateVpcCidrBlock(ctx, &ec2.AssociateVpcCidrBlockInput{VpcId: &vpc, CidrBlock: aws.String(prefix.String())}); err != nil {
		return fmt.Errorf("give %s the prefix %s: %w", host, prefix, err)
	}
	return until(ctx, host+" has "+prefix.String(), func() error {
		_, state, err := a.association(ctx, host, prefix)
		if err == nil && state != types.VpcCidrBlockStateCodeAssociated {
			err = fmt.Errorf("it is %q", state)
		}
		return err
	})
}

// RemovePrefix takes a prefix from a service's VPC and waits until it is gone.
func (a *Admin) RemovePrefix(ctx context.Context, host string, prefix netip.Prefix) error {
	id, _, err := a.association(ctx, host, prefix)
	if err != nil {
		return err
	}
	api, _, err := a.vpcOf(host)
	if err != nil {
		return err
	}
	if _, err := api.DisassociateVpcCidrBlock(ctx, &ec2.DisassociateVpcCidrBlockInput{AssociationId: &id}); err != nil {
		return fmt.Errorf("take the prefix %s from %s: %w", prefix, host, err)
	}
	return until(ctx, host+" is rid of "+prefix.String(), func() error {
		_, state, err := a.association(ctx, host, prefix)
		if err == nil && state == types.VpcCidrBlockStateCodeAssociated {
			err = errors.New("it has it")
		}
		return err
	})
}

func (a *Admin) vpcOf(host string) (*ec2.Client, string, error) {
	s, err := a.service(host)
	if err != nil {
		return nil, "", err
	}
	api, err := a.open(s.Account)
	return api, a.spec.ID("vpc", host), err
}

// association finds a prefix of a VPC; no id when it has it not.
func (a *Admin) association(ctx context.Context, host string, prefix netip.Prefix) (string, types.VpcCidrBlockStateCode, error) {
	api, vpc, err := a.vpcOf(host)
	if err != nil {
		return "", "", err
	}
	out, err := api.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{vpc}})
	if err != nil || len(out.Vpcs) != 1 {
		return "", "", fmt.Errorf("look at the VPC of %s: %w", host, err)
	}
	for _, c := range out.Vpcs[0].CidrBlockAssociationSet {
		if aws.ToString(c.CidrBlock) == prefix.String() && c.CidrBlockState != nil {
			return aws.ToString(c.AssociationId), c.CidrBlockState.State, nil
		}
	}
	return "", "", nil
}

// Tables are the route tables of a VPC, which belongs to the account.
func (a *Admin) Tables(ctx context.Context, account, vpc string) ([]types.RouteTable, error) {
	api, err := a.open(account)
	if err != nil {
		return nil, err
	}
	out, err := api.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: []types.Filter{{Name: aws.String("vpc-id"), Values: []string{vpc}}}})
	if err != nil {
		return nil, fmt.Errorf("list the route tables of %s: %w", vpc, err)
	}
	return out.RouteTables, nil
}

// DeleteRoute removes a route by hand.
func (a *Admin) DeleteRoute(ctx context.Context, account, table string, destination netip.Prefix) error {
	api, err := a.open(account)
	if err != nil {
		return err
	}
	if _, err := api.DeleteRoute(ctx, &ec2.DeleteRouteInput{RouteTableId: &table, DestinationCidrBlock: aws.String(destination.String())}); err != nil {
		return fmt.Errorf("delete the route to %s from %s: %w", destination, table, err)
	}
	return nil
}

// until waits for something that the cloud does by itself.
func until(ctx context.Context, what string, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, err)
		case <-tick.C:
		}
	}
}
