package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"peerhub/hub"
	"peerhub/hub/awsapi"
	"peerhub/hub/failpoint"
)

// Options shape a Discovery. Sessions and Now are required.
type Options struct {
	Sessions *awsapi.Sessions
	Roles    awsapi.Roles
	Hub      HubFacts
	Regions  []hub.Region  // in which spoke accounts are entered; empty: wherever a peering leads
	Interval time.Duration // between two reads of a spoke's source; 30 s
	Timeout  time.Duration // of one read of a source; 30 s
	Patience time.Duration // how long Survey waits for spoke sources; 3 s
	Parallel int           // sources read at once; 8
	Kernel   func() ([]KernelInterface, error)
	Ledger   hub.Ledger // says where routes of ours are left; nil: nowhere
	Now      func() time.Time
	Jitter   func() float64 // 0 <= x < 1; nil: random
	Arrived  func()         // a source that Survey did not wait for has answered; called from another goroutine
	LastGood *hub.Topology  // of an earlier run
}

// Discovery implements hub.Discoverer. Safe for concurrent use; Close ends it.
type Discovery struct {
	opts   Options
	life   context.Context // ends with Close: reads outlive the Survey that began them
	end    context.CancelFunc
	tasks  sync.WaitGroup
	places chan struct{} // one token per source that is being read

	survey        sync.Mutex // one Survey at a time; guards the three below
	identity      identity
	identityUntil time.Time
	policy        hub.Policy

	mu      sync.Mutex
	hub     *source // nil until something is known
	sources map[hub.Scope]*source
	roles   map[hub.Scope]awsapi.Role // how the scopes of the last Survey are opened
}

// New makes a Discovery. It calls nothing.
func New(o Options) *Discovery {
	if o.Interval <= 0 {
		o.Interval = 30 * time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Patience <= 0 {
		o.Patience = 3 * time.Second
	}
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	if o.Kernel == nil {
		o.Kernel = func() ([]KernelInterface, error) { return nil, nil }
	}
	if o.Arrived == nil {
		o.Arrived = func() {}
	}
	d := &Discovery{opts: o, places: make(chan struct{}, o.Parallel), sources: map[hub.Scope]*source{}, roles: map[hub.Scope]awsapi.Role{}}
	d.life, d.end = context.WithCancel(context.Background())
	d.restore(o.LastGood)
	return d
}

// Close ends reads under way and waits for them.
func (d *Discovery) Close() {
	d.end()
	d.tasks.Wait()
}

// Force makes every source due: the next Survey reads them all.
func (d *Discovery) Force() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.sources {
		s.next = time.Time{}
	}
	if d.hub != nil {
		d.hub.next = time.Time{}
	}
}

// EC2 opens a scope the way the last Survey did. An error says that no role is known
// for it or that it did not open.
func (d *Discovery) EC2(ctx context.Context, scope hub.Scope) (*ec2.Client, error) {
	d.mu.Lock()
	role, ok := d.roles[scope]
	d.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("open %s: no role for it (one-sided, not listed, or in no region of aws.regions)", scope)
	}
	return d.opts.Sessions.EC2(ctx, scope, role)
}

// Survey reads the hub's source and the spoke sources that are due, and returns all
// that is known. See hub.Discoverer.
func (d *Discovery) Survey(ctx context.Context, policy hub.Policy) (hub.Topology, error) {
	d.survey.Lock()
	defer d.survey.Unlock()
	d.policy = policy
	left, err := d.leftovers(ctx)
	if err != nil {
		return hub.Topology{}, err
	}
	if d.hubDue() {
		err = d.surveyHub(ctx, left)
	}
	d.mu.Lock()
	if err == nil && d.hub.failures > 0 {
		err = errors.New(d.hub.Error)
	}
	known := d.hub != nil && !d.hub.At.IsZero()
	d.mu.Unlock()
	if !known {
		return hub.Topology{}, fmt.Errorf("the hub is not known yet: %w", err)
	}
	d.wait(ctx, d.launch(left))
	return d.assemble(), nil
}

// leftovers says in which VPCs of which scopes routes of ours are.
func (d *Discovery) leftovers(ctx context.Context) (map[hub.Scope][]hub.VPCID, error) {
	out := map[hub.Scope][]hub.VPCID{}
	if d.opts.Ledger == nil {
		return out, nil
	}
	entries, err := d.opts.Ledger.Entries(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	for _, e := range entries {
		if v := hub.VPCID(e.Spoke); e.Side == hub.SideSpoke && !slices.Contains(out[e.Scope], v) {
			out[e.Scope] = append(out[e.Scope], v)
		}
	}
	return out, nil
}

// mayEnter reports whether the policy lets us look into a peering's other side.
func (d *Discovery) mayEnter(p hub.Peering) bool {
	own, listed := d.policy.Accounts[p.Peer.Scope.Account]
	return p.State == hub.PeeringActive && (listed || !d.policy.ListedOnly) && own.Role != hub.RoleNone
}

// hubDue reports whether the hub's source is to be asked now. One that answers is asked by
// every Survey, one that fails again and again more and more rarely.
func (d *Discovery) hubDue() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hub == nil || d.hub.failures < 2 || failpoint.Off("source-backoff") || !d.opts.Now().Before(d.hub.next)
}

// surveyHub reads the hub's source; on failure the last good answer stays.
func (d *Discovery) surveyHub(ctx context.Context, left map[hub.Scope][]hub.VPCID) error {
	ctx, cancel := context.WithTimeout(ctx, d.opts.Timeout)
	defer cancel()
	began := d.opts.Now()
	p, id, err := d.tryHub(ctx, left)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hub == nil {
		d.hub = &source{}
	}
	d.hub.answered(p, err, began)
	d.hub.next = d.opts.Now().Add(d.pause(d.hub.failures, false, longestHubPause))
	if err == nil {
		d.hub.Scope = id.scope
	}
	if d.hub.Scope != (hub.Scope{}) {
		d.roles[d.hub.Scope] = awsapi.Role{}
	}
	return err
}

func (d *Discovery) tryHub(ctx context.Context, left map[hub.Scope][]hub.VPCID) (part, identity, error) {
	id, err := d.identify(ctx)
	if err != nil {
		return part{}, id, err
	}
	kernel, err := d.opts.Kernel()
	if err != nil {
		return part{}, id, fmt.Errorf("list the kernel's interfaces: %w", err)
	}
	c, err := d.opts.Sessions.EC2(ctx, id.scope, awsapi.Role{})
	if err != nil {
		return part{}, id, err
	}
	p, err := d.readHub(ctx, c, id, kernel, d.mayEnter, left[id.scope])
	return p, id, err
}

// roleFor is how a spoke's scope is opened. The hub's own account needs no role.
func (d *Discovery) roleFor(scope hub.Scope, home hub.Hub) (awsapi.Role, bool) {
	if len(d.opts.Regions) > 0 && scope.Region != home.Scope.Region && !slices.Contains(d.opts.Regions, scope.Region) {
		return awsapi.Role{}, false
	}
	own := d.policy.Accounts[scope.Account]
	if own.Role == hub.RoleNone {
		return awsapi.Role{}, false
	}
	if scope.Account == home.Scope.Account {
		return awsapi.Role{}, true
	}
	return d.opts.Roles.For(scope.Account, own, home.Scope.Region, awsapi.Session(home.Instance))
}

// wait gives the reads some time; those that take longer go on without us.
func (d *Discovery) wait(ctx context.Context, reads []*reading) {
	timer := time.NewTimer(d.opts.Patience)
	defer timer.Stop()
	for _, r := range reads {
		select {
		case <-r.done:
			continue
		case <-timer.C:
		case <-ctx.Done():
		case <-d.life.Done():
		}
		break
	}
	for _, r := range reads {
		r.left.Store(true)
	}
}

// code says why a source is not fresh.
func code(err error) hub.Code {
	switch {
	case awsapi.IsRoleRefused(err), awsapi.IsDenied(err):
		return hub.RoleDenied
	case errors.Is(err, errDoubt), awsapi.IsNoAnswer(err):
		return hub.AnswerDoubt
	}
	return hub.SourceStale
}
