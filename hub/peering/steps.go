package peering

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"peerhub/hub"
	"peerhub/hub/awsapi"
)

// found is the peering between the two VPCs as the hub's account sees it.
type found struct {
	id       hub.PeeringID
	state    hub.PeeringState
	message  string
	byHub    bool // the hub VPC requested it
	ours     bool // this run requested it
	name     string
	prefixes []netip.Prefix
}

// look finds out what is there: both VPCs, as far as we may see them, and a peering.
func (r *run) look(ctx context.Context) error {
	r.tell(StepLook, Doing, "look for %s in account %s, region %s", r.SpokeVPC, r.Spoke.Account, r.Spoke.Region)
	own, err := vpcPrefixes(ctx, r.hub, r.HubVPC)
	if err != nil {
		return fmt.Errorf("the hub VPC in %s: %w", r.Hub, err)
	}
	if err := r.find(ctx); err != nil {
		return err
	}
	api, err := r.openSpoke(ctx)
	if err != nil {
		r.tell(StepLook, Other, "%s: its side is not looked at", err)
		return nil
	}
	theirs, err := vpcPrefixes(ctx, api, r.SpokeVPC)
	switch {
	case awsapi.IsDenied(err):
		r.tell(StepLook, Other, "account %s does not show its VPCs: %s", r.Spoke.Account, err)
		return nil
	case err != nil:
		return fmt.Errorf("%s in account %s, region %s: %w", r.SpokeVPC, r.Spoke.Account, r.Spoke.Region, err)
	}
	for _, p := range theirs {
		for _, q := range own {
			if p.Overlaps(q) {
				return fmt.Errorf("%s has %s, which overlaps %s of the hub VPC: AWS peers no VPCs that overlap; one of them has to be renumbered", r.SpokeVPC, p, q)
			}
		}
	}
	r.theirs = theirs
	r.tell(StepLook, Done, "%s has %s", r.SpokeVPC, list(theirs))
	return nil
}

// vpcPrefixes are a VPC's associated IPv4 prefixes.
func vpcPrefixes(ctx context.Context, api API, id hub.VPCID) ([]netip.Prefix, error) {
	out, err := api.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: []types.Filter{{Name: aws.String("vpc-id"), Values: []string{string(id)}}}})
	if err != nil {
		return nil, fmt.Errorf("DescribeVpcs: %w", err)
	}
	if len(out.Vpcs) == 0 {
		return nil, errors.New("there is no such VPC; check account, region and VPC id")
	}
	var list []netip.Prefix
	for _, a := range out.Vpcs[0].CidrBlockAssociationSet {
		if p, err := netip.ParsePrefix(aws.ToString(a.CidrBlock)); err == nil && (a.CidrBlockState == nil || a.CidrBlockState.State == types.VpcCidrBlockStateCodeAssociated) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, hub.ComparePrefixes)
	return list, nil
}

// find looks for a peering between the two VPCs: a living one, else none. Ended ones
// stay visible for days beside it.
func (r *run) find(ctx context.Context) error {
	r.found = found{}
	seen := map[string]bool{}
	var token *string
	for {
		out, err := r.hub.DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{MaxResults: aws.Int32(1000), NextToken: token})
		if err != nil {
			return fmt.Errorf("list the peerings of the hub's account: %w", err)
		}
		for _, p := range out.VpcPeeringConnections {
			f, owner, ok := r.between(p)
			if !ok || f.state.Terminal() {
				continue
			}
			if owner != "" && owner != r.Spoke.Account {
				return fmt.Errorf("%s belongs to account %s, not %s", r.SpokeVPC, owner, r.Spoke.Account)
			}
			r.found = f
		}
		t := aws.ToString(out.NextToken)
		if t == "" {
			break
		}
		if seen[t] {
			return errors.New("list the peerings of the hub's account: AWS repeats a page; try again")
		}
		seen[t] = true
		token = out.NextToken
	}
	if r.found.id != "" {
		who := "the hub"
		if !r.found.byHub {
			who = "account " + string(r.Spoke.Account)
		}
		r.tell(StepRequest, Done, "%s, requested by %s, is %s", r.found.id, who, r.found.state)
	}
	return nil
}

// between converts a peering if it is one of the two VPCs, with the spoke side's owner.
func (r *run) between(p types.VpcPeeringConnection) (found, hub.AccountID, bool) {
	if p.RequesterVpcInfo == nil || p.AccepterVpcInfo == nil {
		return found{}, "", false
	}
	own, other := p.RequesterVpcInfo, p.AccepterVpcInfo
	byHub := hub.VPCID(aws.ToString(own.VpcId)) == r.HubVPC
	if !byHub {
		own, other = other, own
	}
	if hub.VPCID(aws.ToString(own.VpcId)) != r.HubVPC || hub.VPCID(aws.ToString(other.VpcId)) != r.SpokeVPC {
		return found{}, "", false
	}
	f := found{id: hub.PeeringID(aws.ToString(p.VpcPeeringConnectionId)), byHub: byHub, ours: r.found.ours}
	if p.Status != nil {
		f.state, f.message = hub.PeeringState(p.Status.Code), aws.ToString(p.Status.Message)
	}
	for _, t := range p.Tags {
		if aws.ToString(t.Key) == "Name" {
			f.name = aws.ToString(t.Value)
		}
	}
	if f.state == hub.PeeringActive {
		for _, c := range other.CidrBlockSet {
			if q, err := netip.ParsePrefix(aws.ToString(c.CidrBlock)); err == nil {
				f.prefixes = append(f.prefixes, q)
			}
		}
	}
	slices.SortFunc(f.prefixes, hub.ComparePrefixes)
	return f, hub.AccountID(aws.ToString(other.OwnerId)), true
}

// refresh reads the peering again. One that was just made may be invisible for a while;
// where it was not seen at all, it is looked for.
func (r *run) refresh(ctx context.Context) error {
	if r.found.id == "" {
		return r.find(ctx)
	}
	out, err := r.hub.DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{VpcPeeringConnectionIds: []string{string(r.found.id)}})
	switch {
	case awsapi.IsPeeringNotFound(err), err != nil && awsapi.IsTransient(err):
		return nil // looked at again after a pause, until the time is over
	case err != nil:
		return fmt.Errorf("look at %s: %w", r.found.id, err)
	}
	for _, p := range out.VpcPeeringConnections {
		if f, _, ok := r.between(p); ok && f.id == r.found.id {
			if f.state != r.found.state {
				r.tell(StepActive, Doing, "%s is %s", f.id, f.state)
			}
			r.found = f
			if f.state.Terminal() {
				return r.ended()
			}
		}
	}
	return nil
}

// request asks for the peering.
func (r *run) request(ctx context.Context) error {
	r.tell(StepRequest, Doing, "request a peering from %s to %s in %s", r.HubVPC, r.SpokeVPC, r.Spoke)
	in := &ec2.CreateVpcPeeringConnectionInput{VpcId: aws.String(string(r.HubVPC)), PeerVpcId: aws.String(string(r.SpokeVPC)), PeerOwnerId: aws.String(string(r.Spoke.Account))}
	if r.Spoke.Region != r.Hub.Region {
		in.PeerRegion = aws.String(string(r.Spoke.Region))
	}
	if r.Name != "" {
		in.TagSpecifications = []types.TagSpecification{{ResourceType: types.ResourceTypeVpcPeeringConnection,
			Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String(r.Name)}}}}
	}
	out, err := r.hub.CreateVpcPeeringConnection(ctx, in)
	if awsapi.IsPeeringExists(err) { // somebody was faster
		return r.find(ctx)
	}
	if err != nil {
		return fmt.Errorf("request a peering: %w", explain(err, r.Hub.Account))
	}
	if out.VpcPeeringConnection == nil {
		return errors.New("request a peering: AWS answered without one; run the same command again")
	}
	f, _, ok := r.between(*out.VpcPeeringConnection)
	if !ok {
		return fmt.Errorf("request a peering: AWS answered with another one, %s", aws.ToString(out.VpcPeeringConnection.VpcPeeringConnectionId))
	}
	f.ours, f.name = true, r.Name
	r.found = f
	r.tell(StepRequest, Done, "%s requested", f.id)
	return nil
}

// accepter is the side that has to accept.
func (r *run) accepter() hub.Scope {
	if r.found.byHub {
		return r.Spoke
	}
	return r.Hub
}

// accept accepts the request on the side that has to. false: not visible there yet.
func (r *run) accept(ctx context.Context) (bool, error) {
	at := r.accepter()
	api := r.hub
	if r.found.byHub {
		var err error
		if api, err = r.openSpoke(ctx); err != nil {
			line := fmt.Sprintf("aws ec2 accept-vpc-peering-connection --region %s --vpc-peering-connection-id %s", at.Region, r.found.id)
			r.tell(StepAccept, Other, "in account %s: %s", at.Account, line)
			return false, fmt.Errorf("%w: account %s has to run: %s; then run the same command again (%w)", ErrWaits, at.Account, line, err)
		}
	}
	r.tell(StepAccept, Doing, "accept %s in account %s", r.found.id, at.Account)
	_, err := api.AcceptVpcPeeringConnection(ctx, &ec2.AcceptVpcPeeringConnectionInput{VpcPeeringConnectionId: aws.String(string(r.found.id))})
	switch {
	case err == nil, awsapi.IsInvalidState(err): // the next look tells which state it is in
		r.tell(StepAccept, Done, "%s accepted", r.found.id)
		return true, nil
	case awsapi.IsPeeringNotFound(err):
		return false, nil
	}
	return false, fmt.Errorf("accept %s in account %s: %w", r.found.id, at.Account, explain(err, at.Account))
}

// name sets the Name tag on the hub's side if there is none. It is a courtesy: without
// the permission the run is done all the same.
func (r *run) name(ctx context.Context) error {
	if r.Name == "" || r.found.name != "" {
		return nil
	}
	if r.DryRun {
		r.tell(StepName, Todo, "name %s %q", r.found.id, r.Name)
		return nil
	}
	_, err := r.hub.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{string(r.found.id)},
		Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String(r.Name)}}})
	if err != nil {
		r.tell(StepName, Other, "%s stays without a name: %s", r.found.id, err)
		return nil
	}
	r.tell(StepName, Done, "%s is named %q", r.found.id, r.Name)
	return nil
}

// ended says why a peering came to nothing.
func (r *run) ended() error {
	hint := ""
	if r.found.state == hub.PeeringFailed {
		hint = fmt.Sprintf("; AWS fails a request when the VPCs overlap, or when %s is not in account %s, region %s", r.SpokeVPC, r.Spoke.Account, r.Spoke.Region)
	}
	return fmt.Errorf("%s is %s (%s)%s", r.found.id, r.found.state, r.found.message, hint)
}

// explain adds what to do to the refusals that a person can mend.
func explain(err error, account hub.AccountID) error {
	switch code := awsapi.Code(err); {
	case awsapi.IsDenied(err):
		return fmt.Errorf("account %s does not allow it (see deploy/iam): %w", account, err)
	case strings.EqualFold(code, "VpcPeeringConnectionsPerVpcLimitExceeded"), strings.EqualFold(code, "ActiveVpcPeeringConnectionPerVpcLimitExceeded"):
		return fmt.Errorf("a VPC has as many peerings as its quota L-7E9ECCDB allows; raise it: %w", err)
	case strings.EqualFold(code, "OutstandingVpcPeeringConnectionLimitExceeded"), strings.EqualFold(code, "PendingVpcPeeringConnectionLimitExceeded"):
		return fmt.Errorf("too many requests wait already (quota L-DC9F7029): %w", err)
	case awsapi.IsNotFound(err):
		return fmt.Errorf("check VPC, account and region: %w", err)
	}
	return err
}

func list(ps []netip.Prefix) string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.String()
	}
	return strings.Join(texts, ", ")
}
