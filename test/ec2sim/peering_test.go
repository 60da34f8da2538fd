package ec2sim_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

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

func TestPeeringShowsThePeersBlocksOnlyWhileActive(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	id := l.request()
	blocks := func(v *types.VpcPeeringConnectionVpcInfo) []string {
		var out []string
		for _, b := range v.CidrBlockSet {
			out = append(out, *b.CidrBlock)
		}
		return out
	}
	shown := func() [2][]string {
		p := l.peering(hubAccount, id)
		return [2][]string{blocks(p.RequesterVpcInfo), blocks(p.AccepterVpcInfo)}
	}
	if diff := cmp.Diff([2][]string{{"10.100.0.0/16"}, nil}, shown()); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
	accepted(t, l.accept(svcAccount, tokyo, id))
	l.clock.Add(time.Second)
	accepted(t, l.associate(svcAccount, svcVPC, "10.111.0.0/16"))
	if diff := cmp.Diff([2][]string{{"10.100.0.0/16"}, {"10.110.0.0/16"}}, shown()); diff != "" {
		t.Errorf("active, the new block still associating (-want +got):\n%s", diff)
	}
	l.clock.Add(time.Second)
	if diff := cmp.Diff([2][]string{{"10.100.0.0/16"}, {"10.110.0.0/16", "10.111.0.0/16"}}, shown()); diff != "" {
		t.Errorf("active, the new block associated (-want +got):\n%s", diff)
	}
	accepted(t, l.deletePeering(hubAccount, id))
	if diff := cmp.Diff([2][]string{nil, nil}, shown()); diff != "" {
		t.Errorf("deleted (-want +got):\n%s", diff)
	}
}

func TestTerminalPeeringsStayVisibleForASetTimePerSide(t *testing.T) {
	const short, long = time.Hour, 47 * time.Hour // just inside 2 h and 48 h
	tests := []struct {
		name        string
		end         func(*lab, string) error
		status      string
		hubLong     bool // whether the hub, the requester, sees it for 2 days
		svcSees     bool
		serviceLong bool
	}{
		{"deleted by the requester", func(l *lab, id string) error {
			accepted(l.t, l.accept(svcAccount, tokyo, id))
			l.clock.Add(time.Second)
			return l.deletePeering(hubAccount, id)
		}, "deleted", false, true, true},
		{"deleted by the accepter", func(l *lab, id string) error {
			accepted(l.t, l.accept(svcAccount, tokyo, id))
			l.clock.Add(time.Second)
			return l.deletePeering(svcAccount, id)
		}, "deleted", true, true, false},
		{"rejected", func(l *lab, id string) error { return l.reject(svcAccount, id) }, "rejected", true, true, false},
		{"expired", func(l *lab, _ string) error { l.clock.Add(7*24*time.Hour + time.Second); return nil }, "expired", true, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, ec2sim.Options{})
			id := l.request()
			accepted(t, tt.end(l, id))
			look := func(hub, svc string) {
				t.Helper()
				if got := [2]string{l.status(hubAccount, id), l.status(svcAccount, id)}; got != [2]string{hub, svc} {
					t.Errorf("got %v, want %s and %s", got, hub, svc)
				}
			}
			if l.clock.Add(short); true {
				look(tt.status, tt.status)
			}
			visible := func(long bool) string {
				if long {
					return tt.status
				}
				return "not found"
			}
			l.clock.Add(long - short)
			look(visible(tt.hubLong), visible(tt.serviceLong))
			l.clock.Add(2 * time.Hour)
			look("not found", "not found")
		})
	}
}

func TestPeeringRequestFailsWithoutAnError(t *testing.T) {
	for name, vpc := range map[string]ec2sim.VPCSpec{
		"overlapping blocks":                      {Account: svcAccount, Region: tokyo, CIDRs: prefixes("10.100.128.0/20")},
		"overlap in a secondary block":            {Account: svcAccount, Region: tokyo, CIDRs: prefixes("10.112.0.0/16", "10.100.0.0/24")},
		"a VPC of another account than was named": {Account: otherAccount, Region: tokyo, CIDRs: prefixes("10.114.0.0/16")},
		"a VPC of another region than was named":  {Account: svcAccount, Region: oregon, CIDRs: prefixes("10.115.0.0/16")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, ec2sim.Options{})
			id := must(t)(l.AddVPC(vpc))
			out, err := l.ec2(hubAccount).CreateVpcPeeringConnection(ctx, &ec2.CreateVpcPeeringConnectionInput{
				VpcId: aws.String(hubVPC), PeerVpcId: aws.String(id), PeerOwnerId: aws.String(svcAccount)})
			if err != nil {
				t.Fatal(err)
			}
			pcx := *out.VpcPeeringConnection.VpcPeeringConnectionId
			l.clock.Add(time.Second)
			if got := l.status(hubAccount, pcx); got != "failed" {
				t.Errorf("status %s, want failed", got)
			}
			if got := l.status(svcAccount, pcx); got != "not found" {
				t.Errorf("the other side sees a failed request: %s", got)
			}
			refused(t, "InvalidStateTransition", l.deletePeering(hubAccount, pcx))
			l.clock.Add(3 * time.Hour)
			if got := l.status(hubAccount, pcx); got != "not found" {
				t.Errorf("after 3 h still %s", got)
			}
		})
	}
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestPeeringRules(t *testing.T) {
	pending := func(l *lab) { l.request() }
	first := func(l *lab) string { // the peering that the hub sees
		out, err := l.ec2(hubAccount).DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{})
		if err != nil || len(out.VpcPeeringConnections) != 1 {
			l.t.Fatalf("one peering: %v", err)
		}
		return *out.VpcPeeringConnections[0].VpcPeeringConnectionId
	}
	active := func(l *lab) {
		l.peer()
		l.namesOn(hubAccount, hubVPC)
		l.namesOn(svcAccount, svcVPC)
	}
	another := func(l *lab) string { // a second VPC of the service account
		return must(l.t)(l.AddVPC(ec2sim.VPCSpec{Account: svcAccount, Region: tokyo, CIDRs: prefixes("10.130.0.0/16")}))
	}
	checkRules(t, []rule{
		{
			name: "one peering between two VPCs at a time", prepare: func(l *lab) { l.peer() }, code: "VpcPeeringConnectionAlreadyExists",
			refused: func(l *lab) error { return l.requestPeering(hubAccount, hubVPC, svcVPC, svcAccount, tokyo) },
			accepted: func(l *lab) error {
				accepted(l.t, l.deletePeering(svcAccount, standingPeering))
				return l.requestPeering(hubAccount, hubVPC, svcVPC, svcAccount, tokyo)
			},
		}, {
			name: "one peering, whichever side asks", prepare: func(l *lab) { l.peer() }, code: "VpcPeeringConnectionAlreadyExists",
			refused:  func(l *lab) error { return l.requestPeering(svcAccount, svcVPC, hubVPC, hubAccount, tokyo) },
			accepted: func(l *lab) error { return l.requestPeering(svcAccount, another(l), hubVPC, hubAccount, tokyo) },
		}, {
			name: "a request comes from an own VPC", code: "InvalidVpcID.NotFound",
			refused:  func(l *lab) error { return l.requestPeering(hubAccount, svcVPC, hubVPC, hubAccount, tokyo) },
			accepted: func(l *lab) error { return l.requestPeering(svcAccount, svcVPC, hubVPC, hubAccount, tokyo) },
		}, {
			name: "only the accepter's owner accepts", prepare: pending, code: "OperationNotPermitted",
			refused:  func(l *lab) error { return l.accept(hubAccount, tokyo, first(l)) },
			accepted: func(l *lab) error { return l.accept(svcAccount, tokyo, first(l)) },
		}, {
			name: "a stranger does not know the request", prepare: pending, code: "InvalidVpcPeeringConnectionID.NotFound",
			refused:  func(l *lab) error { return l.accept(otherAccount, tokyo, first(l)) },
			accepted: func(l *lab) error { return l.accept(svcAccount, tokyo, first(l)) },
		}, {
			name: "accepting happens in the accepter's region", code: "OperationNotPermitted",
			prepare: func(l *lab) {
				far := must(l.t)(l.AddVPC(ec2sim.VPCSpec{Account: hubAccount, Region: oregon, CIDRs: prefixes("10.140.0.0/16")}))
				accepted(l.t, l.requestPeering(hubAccount, hubVPC, far, hubAccount, oregon))
				l.clock.Add(time.Second)
			},
			refused:  func(l *lab) error { return l.accept(hubAccount, tokyo, first(l)) },
			accepted: func(l *lab) error { return l.accept(hubAccount, oregon, first(l)) },
		}, {
			name: "an active peering is not accepted again", prepare: pending, code: "InvalidStateTransition",
			refused: func(l *lab) error {
				accepted(l.t, l.accept(svcAccount, tokyo, first(l)))
				return l.accept(svcAccount, tokyo, first(l))
			},
			accepted: func(l *lab) error { return l.accept(svcAccount, tokyo, first(l)) },
		}, {
			name: "an expired request is not accepted", prepare: pending, code: "InvalidStateTransition",
			refused: func(l *lab) error {
				l.clock.Add(7*24*time.Hour + time.Second)
				return l.accept(svcAccount, tokyo, first(l))
			},
			accepted: func(l *lab) error {
				l.clock.Add(7*24*time.Hour - time.Minute)
				return l.accept(svcAccount, tokyo, first(l))
			},
		}, {
			name: "only the accepter rejects", prepare: pending, code: "OperationNotPermitted",
			refused:  func(l *lab) error { return l.reject(hubAccount, first(l)) },
			accepted: func(l *lab) error { return l.reject(svcAccount, first(l)) },
		}, {
			name: "an active peering is not rejected", code: "InvalidStateTransition",
			prepare:  func(l *lab) { l.peer() },
			refused:  func(l *lab) error { return l.reject(svcAccount, standingPeering) },
			accepted: func(l *lab) error { return l.deletePeering(svcAccount, standingPeering) },
		}, {
			name: "a rejected request is not deleted", prepare: pending, code: "InvalidStateTransition",
			refused: func(l *lab) error {
				accepted(l.t, l.reject(svcAccount, first(l)))
				return l.deletePeering(hubAccount, first(l))
			},
			accepted: func(l *lab) error { return l.deletePeering(hubAccount, first(l)) },
		}, {
			name: "only the requester deletes a pending request", prepare: pending, code: "OperationNotPermitted",
			refused:  func(l *lab) error { return l.deletePeering(svcAccount, first(l)) },
			accepted: func(l *lab) error { return l.deletePeering(hubAccount, first(l)) },
		}, {
			name: "active peerings per VPC have a quota", prepare: pending, code: "VpcPeeringConnectionsPerVpcLimitExceeded",
			options: ec2sim.Options{Quotas: ec2sim.Quotas{PeeringsPerVPC: 1}},
			refused: func(l *lab) error {
				must(l.t)(l.AddPeering(ec2sim.PeeringSpec{Requester: hubVPC, Accepter: another(l)}))
				out, err := l.ec2(hubAccount).DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{
					Filters: []types.Filter{{Name: aws.String("status-code"), Values: []string{"pending-acceptance"}}}})
				if err != nil {
					return err
				}
				return l.accept(svcAccount, tokyo, *out.VpcPeeringConnections[0].VpcPeeringConnectionId)
			},
			accepted: func(l *lab) error { return l.accept(svcAccount, tokyo, first(l)) },
		}, {
			name: "outstanding requests have a quota", code: "OutstandingVpcPeeringConnectionLimitExceeded",
			options: ec2sim.Options{Quotas: ec2sim.Quotas{OutstandingRequests: 1}}, prepare: pending,
			refused: func(l *lab) error { return l.requestPeering(hubAccount, hubVPC, another(l), svcAccount, tokyo) },
			accepted: func(l *lab) error {
				accepted(l.t, l.accept(svcAccount, tokyo, first(l)))
				return l.requestPeering(hubAccount, hubVPC, another(l), svcAccount, tokyo)
			},
		}, {
			name: "options need an active peering", code: "OperationNotPermitted",
			prepare: func(l *lab) { l.namesOn(hubAccount, hubVPC); l.namesOn(svcAccount, svcVPC); l.request() },
			refused: func(l *lab) error { return l.setOption(hubAccount, first(l), "requester") },
			accepted: func(l *lab) error {
				id := first(l)
				accepted(l.t, l.accept(svcAccount, tokyo, id))
				l.clock.Add(time.Second)
				return l.setOption(hubAccount, id, "requester")
			},
		}, {
			name: "each side sets its own options", prepare: active, code: "OperationNotPermitted",
			refused:  func(l *lab) error { return l.setOption(hubAccount, standingPeering, "accepter") },
			accepted: func(l *lab) error { return l.setOption(svcAccount, standingPeering, "accepter") },
		}, {
			name: "the DNS option needs DNS hostnames on both sides", code: "InvalidVpcPeeringConnectionState.DnsHostnamesDisabled",
			prepare: func(l *lab) { l.peer(); l.namesOn(hubAccount, hubVPC) },
			refused: func(l *lab) error { return l.setOption(hubAccount, standingPeering, "requester") },
			accepted: func(l *lab) error {
				l.namesOn(svcAccount, svcVPC)
				return l.setOption(hubAccount, standingPeering, "requester")
			},
		}, {
			name: "ids have a form", code: "InvalidVpcPeeringConnectionId.Malformed",
			refused:  func(l *lab) error { return l.accept(svcAccount, tokyo, "pcx-xyz") },
			accepted: func(l *lab) error { return l.accept(svcAccount, tokyo, l.request()) },
		},
	})
}

func TestInterRegionPeeringShowsInBothRegionsAndPassesThroughDeleting(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	id := must(t)(l.AddPeering(ec2sim.PeeringSpec{Requester: hubVPC, Accepter: farVPC}))
	status := func(account, region string) string {
		p := l.peeringIn(account, region, id)
		if p == nil {
			return "not found"
		}
		return string(p.Status.Code)
	}
	if here, there, wrong := status(hubAccount, tokyo), status(otherAccount, oregon), status(otherAccount, tokyo); here != "active" || there != "active" || wrong != "not found" {
		t.Errorf("requester %s, accepter %s, accepter in the other region %s", here, there, wrong)
	}
	if p := l.peeringIn(hubAccount, tokyo, id); *p.AccepterVpcInfo.Region != oregon || *p.RequesterVpcInfo.Region != tokyo {
		t.Errorf("regions %s and %s", *p.RequesterVpcInfo.Region, *p.AccepterVpcInfo.Region)
	}
	accepted(t, l.deletePeering(hubAccount, id))
	if got := status(otherAccount, oregon); got != "deleting" {
		t.Errorf("just deleted: %s", got)
	}
	l.clock.Add(time.Second)
	if got := status(otherAccount, oregon); got != "deleted" {
		t.Errorf("then %s", got)
	}
}

func TestTagsOfAPeeringArePerAccount(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	id := l.peer()
	_, err := l.ec2(hubAccount).CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: aws.String("owner"), Value: aws.String("hub")}}})
	accepted(t, err)
	if got := l.peering(hubAccount, id).Tags; len(got) != 1 || *got[0].Value != "hub" {
		t.Errorf("own tags: %v", got)
	}
	if got := l.peering(svcAccount, id).Tags; len(got) != 0 {
		t.Errorf("the other side sees %v", got)
	}
	_, err = l.ec2(otherAccount).CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}})
	refused(t, "InvalidVpcPeeringConnectionID.NotFound", err)
}

func TestDeletingAVPCEndsItsPeerings(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	id := must(t)(l.AddPeering(ec2sim.PeeringSpec{Requester: hubVPC, Accepter: must(t)(l.AddVPC(ec2sim.VPCSpec{
		ID: "vpc-0a0000000000000aa", Account: svcAccount, Region: tokyo, CIDRs: prefixes("10.150.0.0/16")}))}))
	if _, err := l.ec2(svcAccount).DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: aws.String("vpc-0a0000000000000aa")}); err != nil {
		t.Fatal(err)
	}
	if got := l.status(hubAccount, id); got != "deleted" {
		t.Errorf("status %s", got)
	}
	_, err := l.ec2(svcAccount).DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: aws.String(svcVPC)})
	refused(t, "DependencyViolation", err)
}
