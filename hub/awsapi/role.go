package awsapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"

	"peerhub/hub"
)

// Role opens an account. The zero Role stands for the base credentials.
type Role struct {
	ARN        string
	ExternalID string     // "" = none is sent
	Home       hub.Region // where STS is asked: the hub's region
	Session    string     // seen in the account's CloudTrail; hubd-<instance>
}

// Session is the name of the hub's sessions in other accounts: hubd-<instance>.
func Session(id hub.InstanceID) string {
	if id == "" {
		return "hubd"
	}
	name := "hubd-" + string(id)
	return name[:min(len(name), 64)]
}

// Roles says which role opens which account.
type Roles struct {
	Default    string // "arn:aws:iam::{account}:role/NAME"; "" = accounts without a role of their own stay closed
	ExternalID string // for accounts without one of their own
}

// For is the role for an account; false means that we may not or cannot enter it.
func (r Roles) For(id hub.AccountID, own hub.Account, home hub.Region, session string) (Role, bool) {
	role := Role{ARN: own.Role, ExternalID: own.ExternalID, Home: home, Session: session}
	if role.ARN == hub.RoleNone {
		return Role{}, false
	}
	if role.ARN == "" {
		role.ARN = strings.ReplaceAll(r.Default, "{account}", string(id))
	}
	if role.ExternalID == "" {
		role.ExternalID = r.ExternalID
	}
	return role, role.ARN != ""
}

// lasting is how long before their end credentials are renewed.
const lasting = 5 * time.Minute

// credentials returns credentials for account that are there and last: the base ones,
// or those of role after the check that role is in account.
func (s *Sessions) credentials(ctx context.Context, account hub.AccountID, role Role) (aws.CredentialsProvider, error) {
	if role.ARN == "" {
		if s.base.Credentials == nil {
			return nil, errors.New("no AWS credentials: give the instance a role, or set AWS_PROFILE")
		}
		if _, err := s.base.Credentials.Retrieve(ctx); err != nil {
			return nil, fmt.Errorf("AWS credentials of the hub: %w", err)
		}
		return s.base.Credentials, nil
	}
	a, err := arn.Parse(role.ARN)
	if err != nil || a.Service != "iam" || !strings.HasPrefix(a.Resource, "role/") {
		return nil, &RoleError{role.ARN, errors.New("not the ARN of an IAM role")}
	}
	if hub.AccountID(a.AccountID) != account {
		return nil, &RoleError{role.ARN, fmt.Errorf("%w: wanted %s", ErrWrongAccount, account)}
	}
	s.mu.Lock()
	p := s.roles[role]
	if p == nil {
		p = aws.NewCredentialsCache(inAccount{account, s.assume(role)}, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = lasting })
		s.roles[role] = p
	}
	s.mu.Unlock()
	if _, err := p.Retrieve(ctx); err != nil {
		return nil, &RoleError{role.ARN, err}
	}
	return p, nil
}

func (s *Sessions) assume(role Role) aws.CredentialsProvider {
	client := s.sts(role.Home, s.base.Credentials)
	return stscreds.NewAssumeRoleProvider(client, role.ARN, func(o *stscreds.AssumeRoleOptions) {
		o.Duration = time.Hour // the most that role chaining allows
		if role.Session != "" {
			o.RoleSessionName = role.Session
		}
		if role.ExternalID != "" {
			o.ExternalID = aws.String(role.ExternalID)
		}
	})
}

// renewing drops cached credentials that AWS calls expired: the clock that they were
// judged by was wrong, or they were withdrawn. The next call fetches new ones.
func renewing(creds aws.CredentialsProvider) func(*middleware.Stack) error {
	cache, ok := creds.(interface{ Invalidate() })
	return func(stack *middleware.Stack) error {
		if !ok {
			return nil
		}
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("peerhubRenew", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
			middleware.InitializeOutput, middleware.Metadata, error) {
			out, meta, err := next.HandleInitialize(ctx, in)
			if IsExpired(err) {
				cache.Invalidate()
			}
			return out, meta, err
		}), middleware.Before)
	}
}

// inAccount refuses credentials of another account than the one they were asked for,
// as STS itself reports it (confused deputy).
type inAccount struct {
	account hub.AccountID
	from    aws.CredentialsProvider
}

func (p inAccount) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := p.from.Retrieve(ctx)
	if err == nil && c.AccountID != string(p.account) {
		return aws.Credentials{}, fmt.Errorf("%w: wanted %s, STS opened %q", ErrWrongAccount, p.account, c.AccountID)
	}
	return c, err
}

// Identity is who a set of credentials is.
type Identity struct {
	Account   hub.AccountID
	Partition string // aws, aws-cn, aws-us-gov
	ARN       string
}

// Identity asks STS, in the role's home region or else in region, who the credentials
// of role are (zero: the base ones).
func (s *Sessions) Identity(ctx context.Context, scope hub.Scope, role Role) (Identity, error) {
	creds, err := s.credentials(ctx, scope.Account, role)
	if err != nil {
		return Identity{}, err
	}
	out, err := s.sts(scope.Region, creds).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return Identity{}, fmt.Errorf("ask STS in %s who we are: %w", scope.Region, err)
	}
	a, err := arn.Parse(aws.ToString(out.Arn))
	if err != nil || aws.ToString(out.Account) == "" {
		return Identity{}, fmt.Errorf("ask STS in %s who we are: account %q, ARN %q make no sense", scope.Region, aws.ToString(out.Account), aws.ToString(out.Arn))
	}
	return Identity{Account: hub.AccountID(aws.ToString(out.Account)), Partition: a.Partition, ARN: aws.ToString(out.Arn)}, nil
}
