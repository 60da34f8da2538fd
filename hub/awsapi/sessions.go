package awsapi

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"peerhub/hub"
)

// Options say how AWS is reached. The zero value is right on an EC2 instance.
type Options struct {
	Endpoint      string                  // EC2 and STS instead of AWS's own; "" = the SDK's AWS_ENDPOINT_URL*, else AWS
	AllowInsecure bool                    // plain http is fine
	Profile       string                  // of the shared configuration files; "" = AWS_PROFILE or the default
	Credentials   aws.CredentialsProvider // nil = the SDK's chain: environment, files, instance role
	Limits        Limits
}

// Limits bound a call. Zero fields take the default, which suits a daemon: surveys and
// routes are tried again by those who asked, each with a back-off of its own, and a source
// that is refused is to be told of at once. Attempts within a call only bridge a hiccup.
type Limits struct {
	Attempt     time.Duration // one request with its body; 20 s
	Call        time.Duration // all attempts of a call; 60 s
	Body        int64         // bytes of an answer, unpacked; 16 MiB
	MaxAttempts int           // 2
	MaxBackoff  time.Duration // between attempts; 500 ms
}

func (l Limits) withDefaults() Limits {
	if l.Attempt <= 0 {
		l.Attempt = 20 * time.Second
	}
	if l.Call <= 0 {
		l.Call = 60 * time.Second
	}
	if l.Body <= 0 {
		l.Body = 16 << 20
	}
	if l.MaxAttempts <= 0 {
		l.MaxAttempts = 2
	}
	if l.MaxBackoff <= 0 {
		l.MaxBackoff = 500 * time.Millisecond
	}
	return l
}

// Sessions holds the clients of all accounts. Safe for concurrent use.
type Sessions struct {
	opts    Options
	base    aws.Config
	buckets *buckets

	mu      sync.Mutex
	clients map[clientKey]*ec2.Client
	roles   map[Role]aws.CredentialsProvider
}

type clientKey struct {
	scope hub.Scope
	role  Role
}

// New reads the SDK's configuration (environment and shared files) and prepares the
// sessions. It calls no service. Errors: an endpoint that is not a URL or is plain http
// without leave, an unknown profile, a broken configuration file or CA bundle.
func New(ctx context.Context, opts Options) (*Sessions, error) {
	opts.Limits = opts.Limits.withDefaults()
	if opts.Endpoint != "" {
		u, err := url.Parse(opts.Endpoint)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			return nil, fmt.Errorf("aws endpoint %q: want https://HOST[:PORT]", opts.Endpoint)
		}
		if u.Scheme == "http" && !opts.AllowInsecure {
			return nil, fmt.Errorf("aws endpoint %q: %w", opts.Endpoint, ErrInsecure)
		}
	}
	load := []func(*config.LoadOptions) error{config.WithHTTPClient(transport(opts.Limits))}
	if opts.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(opts.Profile))
	}
	if opts.Credentials != nil {
		load = append(load, config.WithCredentialsProvider(opts.Credentials))
	}
	first, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("read the AWS configuration: %w", err)
	}
	// Again, with the instance's role through IMDSv2 only: the SDK would fall back to v1.
	base, err := config.LoadDefaultConfig(ctx, append(load, config.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) {
		o.Client = metadata(first)
	}))...)
	if err != nil {
		return nil, fmt.Errorf("read the AWS configuration: %w", err)
	}
	base.Logger = logging.Nop{} // errors say all; the SDK would write to stderr
	base.HTTPClient = straight(base.HTTPClient, opts.Limits)
	base.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = opts.Limits.MaxAttempts, opts.Limits.MaxBackoff
		})
	}
	if opts.Endpoint != "" {
		base.BaseEndpoint = aws.String(opts.Endpoint)
	}
	return &Sessions{
		opts: opts, base: base, buckets: newBuckets(),
		clients: map[clientKey]*ec2.Client{}, roles: map[Role]aws.CredentialsProvider{},
	}, nil
}

// EC2 opens an account in a region: with role, or with the base credentials if role is
// zero. The client is kept; credentials are fetched now if there are none that last.
// A role that does not open is a RoleError.
func (s *Sessions) EC2(ctx context.Context, scope hub.Scope, role Role) (*ec2.Client, error) {
	if scope.Region == "" {
		return nil, errors.New("open an AWS account: the region is not known")
	}
	creds, err := s.credentials(ctx, scope.Account, role)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := clientKey{scope, role}
	if c := s.clients[key]; c != nil {
		return c, nil
	}
	cfg := s.base.Copy()
	cfg.Region = string(scope.Region)
	cfg.Credentials = creds
	c := ec2.NewFromConfig(cfg, func(o *ec2.Options) {
		o.APIOptions = append(o.APIOptions, s.checked, s.buckets.paced(scope), renewing(creds))
	})
	s.clients[key] = c
	return c, nil
}

func (s *Sessions) sts(region hub.Region, creds aws.CredentialsProvider) *sts.Client {
	cfg := s.base.Copy()
	cfg.Region = string(region)
	cfg.Credentials = creds
	return sts.NewFromConfig(cfg, func(o *sts.Options) { o.APIOptions = append(o.APIOptions, s.checked) })
}

// IMDS is the instance metadata service, version 2 only. Its endpoint is the SDK's
// (AWS_EC2_METADATA_SERVICE_ENDPOINT); one attempt is short, for where there is none.
func (s *Sessions) IMDS() *imds.Client { return metadata(s.base) }

func metadata(cfg aws.Config) *imds.Client {
	return imds.NewFromConfig(cfg, func(o *imds.Options) {
		o.EnableFallback = aws.FalseTernary
		o.HTTPClient = imdsTransport()
	})
}
