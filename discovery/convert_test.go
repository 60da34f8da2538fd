package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"peerhub/hub"
)

var home = hub.Scope{Account: "111111111111", Region: "ap-northeast-1"}

func info(owner, vpc string, cidrs ...string) *types.VpcPeeringConnectionVpcInfo {
	i := &types.VpcPeeringConnectionVpcInfo{OwnerId: aws.String(owner), VpcId: aws.String(vpc)}
	for _, c := range cidrs {
		i.CidrBlockSet = append(i.CidrBlockSet, types.CidrBlock{CidrBlock: aws.String(c)})
	}
	return i
}

func TestMalformedPeeringsAreLeftOutWithTheirReason(t *testing.T) {
	t.Parallel()
	active := &types.VpcPeeringConnectionStateReason{Code: "active"}
	for _, tc := range []struct {
		name string
		in   types.VpcPeeringConnection
		ours bool
		want hub.Peer
	}{
		{"control: a good one", types.VpcPeeringConnection{RequesterVpcInfo: info("1", "vpc-hub"), AccepterVpcInfo: info("2", "vpc-2", "10.2.0.0/16", "10.1.0.0/16", "10.2.0.0/16")}, true,
			hub.Peer{Scope: hub.Scope{Account: "2", Region: home.Region}, VPC: "vpc-2", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.0.0/16")}}},
		{"bad prefixes beside a good one", types.VpcPeeringConnection{AccepterVpcInfo: info("1", "vpc-hub"), RequesterVpcInfo: info("2", "vpc-2", "10.1.0.0/33", "", "10.2.0.1/16", "10.3.0.0/16", "rubbish")}, true,
			hub.Peer{Scope: hub.Scope{Account: "2", Region: home.Region}, VPC: "vpc-2", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.3.0.0/16")}, Bad: []string{"", "10.1.0.0/33", "10.2.0.1/16", "rubbish"}}},
		{"only the primary prefix", types.VpcPeeringConnection{RequesterVpcInfo: info("1", "vpc-hub"), AccepterVpcInfo: &types.VpcPeeringConnectionVpcInfo{VpcId: aws.String("vpc-2"), CidrBlock: aws.String("10.9.0.0/16")}}, true,
			hub.Peer{Scope: hub.Scope{Region: home.Region}, VPC: "vpc-2", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}}},
		{"IPv6 only", types.VpcPeeringConnection{RequesterVpcInfo: info("1", "vpc-hub"), AccepterVpcInfo: &types.VpcPeeringConnectionVpcInfo{VpcId: aws.String("vpc-2"), Ipv6CidrBlockSet: []types.Ipv6CidrBlock{{Ipv6CidrBlock: aws.String("2001:db8::/56")}}}}, true,
			hub.Peer{Scope: hub.Scope{Region: home.Region}, VPC: "vpc-2", Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8::/56")}}},
		{"without the other side", types.VpcPeeringConnection{RequesterVpcInfo: info("1", "vpc-hub")}, true, hub.Peer{}},
		{"without either side", types.VpcPeeringConnection{}, false, hub.Peer{}},
		{"of another VPC", types.VpcPeeringConnection{RequesterVpcInfo: info("1", "vpc-x"), AccepterVpcInfo: info("2", "vpc-2", "10.2.0.0/16")}, false, hub.Peer{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.in.VpcPeeringConnectionId, tc.in.Status = aws.String("pcx-1"), active
			got, ours := peering(tc.in, "vpc-hub", home)
			if ours != tc.ours {
				t.Fatalf("ours %v, want %v", ours, tc.ours)
			}
			if diff := cmp.Diff(tc.want, got.Peer, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Before a peering is active AWS shows the requester's prefix and not the accepter's;
// neither is believed.
func TestPrefixesCountOnlyWhileActive(t *testing.T) {
	t.Parallel()
	for _, state := range []hub.PeeringState{hub.PeeringInitiating, hub.PeeringPending, hub.PeeringProvisioning, hub.PeeringActive,
		hub.PeeringDeleting, hub.PeeringDeleted, hub.PeeringRejected, hub.PeeringFailed, hub.PeeringExpired, "quarantined"} {
		got, ours := peering(types.VpcPeeringConnection{VpcPeeringConnectionId: aws.String("pcx-1"),
			RequesterVpcInfo: info("2", "vpc-2", "10.2.0.0/16"), AccepterVpcInfo: info("1", "vpc-hub"),
			Status: &types.VpcPeeringConnectionStateReason{Code: types.VpcPeeringConnectionStateReasonCode(state)}}, "vpc-hub", home)
		if !ours || got.State != state || (len(got.Peer.Prefixes) == 1) != (state == hub.PeeringActive) {
			t.Errorf("%s: %v %+v", state, ours, got)
		}
	}
}

func FuzzPrefixes(f *testing.F) {
	for _, s := range []string{"10.0.0.0/16", "10.0.0.1/16", "::/0", "", "1.2.3.4", "10.0.0.0/016", "fe80::%eth0/64"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		good, bad := prefixes([]string{s, "10.9.0.0/16"})
		for _, p := range good {
			if !p.IsValid() || p != p.Masked() {
				t.Errorf("%q: %s passed", s, p)
			}
		}
		if len(good)+len(bad) == 0 || len(bad) > 1 {
			t.Errorf("%q: good %v, bad %q", s, good, bad)
		}
	})
}

func TestRouteTargets(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   types.Route
		want string
	}{
		{types.Route{GatewayId: aws.String("local")}, "local"},
		{types.Route{GatewayId: aws.String("igw-1")}, "igw-1"},
		{types.Route{InstanceId: aws.String("i-1"), NetworkInterfaceId: aws.String("eni-1")}, "eni-1"},
		{types.Route{TransitGatewayId: aws.String("tgw-1")}, "tgw-1"},
		{types.Route{VpcPeeringConnectionId: aws.String("pcx-1")}, "pcx-1"},
		{types.Route{}, ""},
	} {
		if got := route(tc.in).Target; got != tc.want {
			t.Errorf("target %q, want %q", got, tc.want)
		}
	}
}

func TestPagesAreAllOrNothing(t *testing.T) {
	t.Parallel()
	token := func(s string) *string { return aws.String(s) }
	for _, tc := range []struct {
		name  string
		pages map[string]*string // token -> next token
		fail  string
		want  int // -1: an error
	}{
		{"one page", map[string]*string{"": nil}, "-", 1},
		{"an empty token ends it", map[string]*string{"": token("")}, "-", 1},
		{"three pages", map[string]*string{"": token("a"), "a": token("b"), "b": nil}, "-", 3},
		{"the last page fails", map[string]*string{"": token("a"), "a": token("b"), "b": nil}, "b", -1},
		{"a token that repeats at once", map[string]*string{"": token("a"), "a": token("a")}, "-", -1},
		{"a loop of two", map[string]*string{"": token("a"), "a": token("b"), "b": token("a")}, "-", -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := pages(t.Context(), "test", func(_ context.Context, tok *string) ([]string, *string, error) {
				if aws.ToString(tok) == tc.fail {
					return nil, nil, errors.New("failed")
				}
				return []string{"x"}, tc.pages[aws.ToString(tok)], nil
			})
			if (tc.want < 0) != (err != nil) || err == nil && len(got) != tc.want || err != nil && got != nil {
				t.Fatalf("%v, %v; want %d", got, err, tc.want)
			}
		})
	}
	n := 0
	if _, err := pages(t.Context(), "test", func(context.Context, *string) ([]int, *string, error) {
		n++
		return nil, aws.String(fmt.Sprint(n)), nil
	}); !errors.Is(err, errDoubt) {
		t.Errorf("pages without end: %v", err)
	}
}
