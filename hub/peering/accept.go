package peering

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"peerhub/hub"
	"peerhub/hub/awsapi"
	"peerhub/hub/failpoint"
)

// How long a request is left alone after it was accepted (until the survey shows it) or
// refused (doubling).
const (
	seenWithin  = 2 * time.Minute
	refuseFirst = time.Minute
	refuseMost  = 30 * time.Minute
)

// Acceptor accepts the pending requests of listed accounts. Safe for concurrent use.
type Acceptor struct {
	open func(context.Context, hub.Scope) (API, error)
	now  func() time.Time

	mu    sync.Mutex
	waits map[hub.PeeringID]wait
}

type wait struct {
	until time.Time
	pause time.Duration
}

// NewAcceptor makes an Acceptor; open opens the hub's account.
func NewAcceptor(open func(context.Context, hub.Scope) (API, error), now func() time.Time) *Acceptor {
	return &Acceptor{open: open, now: now, waits: map[hub.PeeringID]wait{}}
}

// AcceptListed accepts the requests that hub.Acceptable names, and says which: those of
// listed accounts. A request of anybody else causes no call. A topology whose hub source
// is stale is not acted on. Errors of one request do not stop the others.
func (a *Acceptor) AcceptListed(ctx context.Context, p hub.Policy, t hub.Topology) ([]hub.PeeringID, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	pending := a.pending(p, t)
	if len(pending) == 0 {
		return nil, nil
	}
	api, err := a.open(ctx, t.Hub.Scope)
	if err != nil {
		return nil, fmt.Errorf("accept %d peering requests: %w", len(pending), err)
	}
	var done []hub.PeeringID
	var errs []error
	for _, x := range pending {
		failpoint.Hit("accept.ask")
		_, err := api.AcceptVpcPeeringConnection(ctx, &ec2.AcceptVpcPeeringConnectionInput{VpcPeeringConnectionId: aws.String(string(x.ID))})
		failpoint.Hit("accept.done")
		switch {
		case err == nil:
			done = append(done, x.ID)
			a.waits[x.ID] = wait{until: a.now().Add(seenWithin)}
		case awsapi.IsInvalidState(err): // somebody was faster; the next survey tells
			a.waits[x.ID] = wait{until: a.now().Add(seenWithin)}
		default:
			w := wait{pause: min(max(2*a.waits[x.ID].pause, refuseFirst), refuseMost)}
			w.until = a.now().Add(w.pause)
			a.waits[x.ID] = w
			errs = append(errs, fmt.Errorf("accept %s of account %s: %w", x.ID, x.Peer.Scope.Account, err))
		}
	}
	return done, errors.Join(errs...)
}

// pending are the requests to accept now.
func (a *Acceptor) pending(p hub.Policy, t hub.Topology) []hub.Peering {
	fresh := false
	for _, s := range t.Sources {
		fresh = fresh || s.Scope == t.Hub.Scope && s.Fresh
	}
	if !fresh {
		return nil
	}
	there := map[hub.PeeringID]bool{}
	for _, x := range t.Peerings {
		there[x.ID] = true
	}
	var out []hub.Peering
	for _, x := range hub.Acceptable(p, t) {
		if !a.now().Before(a.waits[x.ID].until) {
			out = append(out, x)
		}
	}
	for id := range a.waits {
		if !there[id] {
			delete(a.waits, id)
		}
	}
	return out
}
