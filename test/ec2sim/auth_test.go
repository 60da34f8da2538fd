package ec2sim_test

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"peerhub/test/ec2sim"
)

// spokeRole is the role that the hub assumes in the service account.
const spokeRole = "arn:aws:iam::" + svcAccount + ":role/peerhub-spoke"

func (l *lab) addSpokeRole(spec ec2sim.RoleSpec) {
	l.t.Helper()
	spec.Account, spec.Name = svcAccount, "peerhub-spoke"
	if spec.TrustedBy == nil {
		spec.TrustedBy = []string{hubAccount}
	}
	must(l.t)(l.AddRole(spec))
}

// assume assumes the spoke role and returns a client with its session.
func (l *lab) assume(account, externalID string, seconds int32) (*ec2.Client, error) {
	in := &sts.AssumeRoleInput{RoleArn: aws.String(spokeRole), RoleSessionName: aws.String("hubd-test")}
	if externalID != "" {
		in.ExternalId = aws.String(externalID)
	}
	if seconds != 0 {
		in.DurationSeconds = aws.Int32(seconds)
	}
	out, err := l.sts(account).AssumeRole(ctx, in)
	if err != nil {
		return nil, err
	}
	return ec2.NewFromConfig(l.session(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)), nil
}

func (l *lab) session(key, secret, token string) aws.Config {
	cfg := l.config(hubAccount, tokyo)
	cfg.Credentials = credentials.NewStaticCredentialsProvider(key, secret, token)
	return cfg
}

func describeVPCs(c *ec2.Client) error {
	_, err := c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{})
	return err
}

func TestIdentityRules(t *testing.T) {
	as := func(key, secret func(*lab) string) func(*lab) error {
		return func(l *lab) error { return describeVPCs(ec2.NewFromConfig(l.session(key(l), secret(l), ""))) }
	}
	key := func(l *lab) string { return l.keys[hubAccount][0] }
	secret := func(l *lab) string { return l.keys[hubAccount][1] }
	text := func(s string) func(*lab) string { return func(*lab) string { return s } }
	whoAmI := func(k func(*lab) string) func(*lab) error {
		return func(l *lab) error {
			_, err := sts.NewFromConfig(l.session(k(l), secret(l), "")).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
			return err
		}
	}
	try := func(account, externalID string, seconds int32) func(*lab) error {
		return func(l *lab) error { _, err := l.assume(account, externalID, seconds); return err }
	}
	withRole := func(spec ec2sim.RoleSpec) func(*lab) { return func(l *lab) { l.addSpokeRole(spec) } }
	// chained assumes the spoke role from a session of the hub's own role.
	chained := func(seconds int32) func(*lab) error {
		return func(l *lab) error {
			must(l.t)(l.AddRole(ec2sim.RoleSpec{Account: hubAccount, Name: "hub", TrustedBy: []string{hubAccount}}))
			out, err := l.sts(hubAccount).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + hubAccount + ":role/hub"), RoleSessionName: aws.String("first")})
			if err != nil {
				return err
			}
			cfg := l.session(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
			_, err = sts.NewFromConfig(cfg).AssumeRole(ctx, &sts.AssumeRoleInput{
				RoleArn: aws.String(spokeRole), RoleSessionName: aws.String("second"), DurationSeconds: aws.Int32(seconds)})
			return err
		}
	}
	checkRules(t, []rule{
		{name: "EC2 knows the access key", code: "AuthFailure", refused: as(text("AKIANOBODY"), secret), accepted: as(key, secret)},
		{name: "EC2 checks the signature", code: "AuthFailure", refused: as(key, text("wrong")), accepted: as(key, secret)},
		{name: "STS knows the access key", code: "InvalidClientTokenId", refused: whoAmI(text("AKIANOBODY")), accepted: whoAmI(key)},
		{
			name: "a role trusts somebody", code: "AccessDenied", prepare: withRole(ec2sim.RoleSpec{}),
			refused: try(otherAccount, "", 0), accepted: try(hubAccount, "", 0),
		}, {
			name: "a role may demand an external id", code: "AccessDenied", prepare: withRole(ec2sim.RoleSpec{ExternalID: "ph-1"}),
			refused: try(hubAccount, "ph-2", 0), accepted: try(hubAccount, "ph-1", 0),
		}, {
			name: "a role must exist", code: "AccessDenied",
			refused:  try(hubAccount, "", 0),
			accepted: func(l *lab) error { l.addSpokeRole(ec2sim.RoleSpec{}); return try(hubAccount, "", 0)(l) },
		}, {
			name: "a session lasts 15 minutes at least", code: "ValidationError", prepare: withRole(ec2sim.RoleSpec{}),
			refused: try(hubAccount, "", 899), accepted: try(hubAccount, "", 900),
		}, {
			name: "a session lasts as long as the role allows at most", code: "ValidationError", prepare: withRole(ec2sim.RoleSpec{MaxSession: 2 * time.Hour}),
			refused: try(hubAccount, "", 7201), accepted: try(hubAccount, "", 7200),
		}, {
			name: "a chained session lasts an hour at most", code: "ValidationError", prepare: withRole(ec2sim.RoleSpec{MaxSession: 12 * time.Hour}),
			refused: chained(3601), accepted: chained(3600),
		}, {
			name: "a session ends", code: "RequestExpired", prepare: withRole(ec2sim.RoleSpec{}),
			refused: func(l *lab) error {
				c, err := l.assume(hubAccount, "", 900)
				accepted(l.t, err)
				l.clock.Add(15 * time.Minute)
				return describeVPCs(c)
			},
			accepted: func(l *lab) error {
				c, err := l.assume(hubAccount, "", 900)
				accepted(l.t, err)
				l.clock.Add(14 * time.Minute)
				return describeVPCs(c)
			},
		}, {
			name: "a role does what its policy allows", code: "UnauthorizedOperation", prepare: withRole(ec2sim.RoleSpec{Allow: []string{"ec2:Describe*", "ec2:CreateRoute"}}),
			refused: func(l *lab) error {
				c, err := l.assume(hubAccount, "", 0)
				accepted(l.t, err)
				_, err = c.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: aws.String(svcVPC)})
				return err
			},
			accepted: func(l *lab) error {
				c, err := l.assume(hubAccount, "", 0)
				accepted(l.t, err)
				return describeVPCs(c)
			},
		}, {
			name: "a role does not do what its policy denies", code: "UnauthorizedOperation", prepare: withRole(ec2sim.RoleSpec{Deny: []string{"ec2:DescribeVpcs"}}),
			refused: func(l *lab) error {
				c, err := l.assume(hubAccount, "", 0)
				accepted(l.t, err)
				return describeVPCs(c)
			},
			accepted: func(l *lab) error {
				c, err := l.assume(hubAccount, "", 0)
				accepted(l.t, err)
				_, err = c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
				return err
			},
		}, {
			name: "a removed role can do nothing", code: "UnauthorizedOperation", prepare: withRole(ec2sim.RoleSpec{}),
			refused: func(l *lab) error {
				c, err := l.assume(hubAccount, "", 0)
				accepted(l.t, err)
				l.RemoveRole(spokeRole)
				return describeVPCs(c)
			},
			accepted: func(l *lab) error {
				c, err := l.assume(hubAccount, "", 0)
				accepted(l.t, err)
				return describeVPCs(c)
			},
		},
	})
}

func TestCallerIdentityOfUserAndSession(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	out, err := l.sts(hubAccount).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || *out.Account != hubAccount || *out.Arn != "arn:aws:iam::"+hubAccount+":user/admin" {
		t.Errorf("user: %v, %v", out, err)
	}
	l.addSpokeRole(ec2sim.RoleSpec{})
	role, err := l.sts(hubAccount).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String(spokeRole), RoleSessionName: aws.String("hubd-x")})
	if err != nil {
		t.Fatal(err)
	}
	cfg := l.session(*role.Credentials.AccessKeyId, *role.Credentials.SecretAccessKey, *role.Credentials.SessionToken)
	out, err = sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || *out.Account != svcAccount || *out.Arn != "arn:aws:sts::"+svcAccount+":assumed-role/peerhub-spoke/hubd-x" {
		t.Errorf("session: %v, %v", out, err)
	}
	if got := role.Credentials.Expiration.Sub(l.clock.Now()); got < 59*time.Minute || got > 61*time.Minute {
		t.Errorf("the session lasts %v, want an hour", got)
	}
}

func TestDryRunChecksEverythingAndDoesNothing(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	l.peer()
	try := func(dest string) error {
		return l.createRoute(hubAccount, ec2.CreateRouteInput{RouteTableId: aws.String(hubTable), DestinationCidrBlock: aws.String(dest),
			VpcPeeringConnectionId: aws.String(standingPeering), DryRun: aws.Bool(true)})
	}
	err := try("10.110.0.0/16")
	refused(t, "DryRunOperation", err)
	var response *awshttp.ResponseError
	if !errors.As(err, &response) || response.HTTPStatusCode() != 412 {
		t.Errorf("HTTP status of %v, want 412", err)
	}
	refused(t, "InvalidParameterValue", try("10.100.5.0/24"))
	if got := l.routes(hubAccount, hubTable); len(got) != 1 {
		t.Errorf("a dry run wrote %v", got)
	}
	l.fault(ec2sim.FaultDeny, "CreateRoute")
	refused(t, "UnauthorizedOperation", try("10.110.0.0/16"))
}

func TestEveryRequestIsLoggedWithItsOutcome(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	l.peer()
	var told []string
	l.OnRequest(func(r ec2sim.Request) { told = append(told, r.Action+" "+r.Code) })
	accepted(t, l.addRoute(hubAccount, hubTable, "10.110.0.0/16", standingPeering))
	refused(t, "InvalidRouteTableID.NotFound", l.addRoute(hubAccount, noSuchTable, "10.110.0.0/16", standingPeering))
	log := l.Log()
	if len(log) != 2 {
		t.Fatalf("%d requests logged, want 2", len(log))
	}
	r := log[0]
	if r.Account != hubAccount || r.Region != tokyo || r.Principal != "arn:aws:iam::"+hubAccount+":user/admin" || !r.Mutating ||
		r.Params.Get("DestinationCidrBlock") != "10.110.0.0/16" || r.Code != "" || r.Status != 200 || r.ID == "" {
		t.Errorf("logged %+v", r)
	}
	if log[1].Code != "InvalidRouteTableID.NotFound" || log[1].Status != 400 {
		t.Errorf("the refused one: %+v", log[1])
	}
	if len(told) != 2 || told[1] != "CreateRoute InvalidRouteTableID.NotFound" {
		t.Errorf("told %v", told)
	}
}
