package peering

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"peerhub/hub"
	"peerhub/hub/awsapi"
)

// API is what this package asks of EC2; *ec2.Client has it.
type API interface {
	DescribeVpcs(context.Context, *ec2.DescribeVpcsInput, ...func(*ec2.Options)) (*ec2.DescribeVpcsOutput, error)
	DescribeVpcPeeringConnections(context.Context, *ec2.DescribeVpcPeeringConnectionsInput, ...func(*ec2.Options)) (*ec2.DescribeVpcPeeringConnectionsOutput, error)
	CreateVpcPeeringConnection(context.Context, *ec2.CreateVpcPeeringConnectionInput, ...func(*ec2.Options)) (*ec2.CreateVpcPeeringConnectionOutput, error)
	AcceptVpcPeeringConnection(context.Context, *ec2.AcceptVpcPeeringConnectionInput, ...func(*ec2.Options)) (*ec2.AcceptVpcPeeringConnectionOutput, error)
	CreateTags(context.Context, *ec2.CreateTagsInput, ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error)
}

// Request says which two VPCs are to be peered.
type Request struct {
	Hub      hub.Scope
	HubVPC   hub.VPCID
	Spoke    hub.Scope
	SpokeVPC hub.VPCID
	Name     string // the Name tag on the hub's side; "" = none
}

// Options say how the accounts are opened and how patient a run is.
type Options struct {
	OpenHub   func(context.Context) (API, error)
	OpenSpoke func(context.Context) (API, error) // nil: the spoke's owner does that side
	Every     time.Duration                      // between two looks at the state; 1 s
	Within    time.Duration                      // for the peering to become active; 5 min
	Tell      func(Event)                        // every step as it happens; nil: nobody listens
	DryRun    bool                               // look only, and tell what would be done
}

// Step names a step of a run, in their order.
type Step string

// The steps.
const (
	StepLook    Step = "look"    // what is there already
	StepRequest Step = "request" // the peering connection
	StepAccept  Step = "accept"
	StepActive  Step = "active" // wait until it is
	StepName    Step = "name"   // the Name tag on the hub's side
)

// State is how a step stands.
type State string

// The states. Todo is said in a dry run only.
const (
	Doing State = "doing"
	Done  State = "done"
	Todo  State = "todo"
	Other State = "other" // somebody else has to do it
)

// Event is a step as it happens.
type Event struct {
	Step  Step
	State State
	Text  string
}

// Result is what a run reached.
type Result struct {
	Peering  hub.PeeringID // "" in a dry run that would have to request it
	State    hub.PeeringState
	Prefixes []netip.Prefix // of the spoke; known when active
	// Announced are the spoke VPC's prefixes as its owner shows them; none when we may not look.
	Announced []netip.Prefix
}

// ErrWaits is a run that can go no further because the spoke's owner has to accept. It
// is not a failure: the run may be repeated afterwards.
var ErrWaits = errors.New("waiting for the other side to accept")

// run is one run.
type run struct {
	Request
	Options
	hub, spoke API
	found      found
	theirs     []netip.Prefix
}

// Run brings the peering of two VPCs to active, from wherever it stands. Errors are
// sentences for a person; ErrWaits and the context's are in their chains.
func Run(ctx context.Context, req Request, o Options) (Result, error) {
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.Within <= 0 {
		o.Within = 5 * time.Minute
	}
	if o.Tell == nil {
		o.Tell = func(Event) {}
	}
	r := &run{Request: req, Options: o}
	if err := r.check(); err != nil {
		return Result{}, err
	}
	var err error
	if r.hub, err = o.OpenHub(ctx); err != nil {
		return Result{}, fmt.Errorf("the hub's account %s does not open: %w", req.Hub.Account, err)
	}
	if err := r.look(ctx); err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Within, fmt.Errorf("not active within %s", o.Within))
	defer cancel()
	err = r.drive(ctx)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w; run the same command again to go on", context.Cause(ctx), err)
	}
	return Result{Peering: r.found.id, State: r.found.state, Prefixes: r.found.prefixes, Announced: r.theirs}, err
}

func (r *run) check() error {
	switch {
	case r.SpokeVPC == r.HubVPC:
		return fmt.Errorf("%s is the hub VPC itself", r.HubVPC)
	case r.SpokeVPC == "" || r.HubVPC == "" || r.Spoke.Account == "" || r.Spoke.Region == "" || r.Hub.Region == "":
		return errors.New("both VPCs, the spoke's account and both regions are needed")
	}
	return nil
}

func (r *run) tell(s Step, state State, format string, args ...any) {
	r.Tell(Event{s, state, fmt.Sprintf(format, args...)})
}

// drive takes the next step until the peering is active.
func (r *run) drive(ctx context.Context) error {
	accepted := false
	for {
		switch s := r.found.state; {
		case r.found.id == "" || s.Terminal():
			if r.found.ours { // made by this run, and ended
				return r.ended()
			}
			if r.DryRun {
				r.tell(StepRequest, Todo, "request a peering from %s to %s in %s", r.HubVPC, r.SpokeVPC, r.Spoke)
				r.tell(StepAccept, Todo, "accept it in account %s", r.Spoke.Account)
				return nil
			}
			if err := r.request(ctx); err != nil {
				return err
			}
		case s == hub.PeeringActive:
			r.tell(StepActive, Done, "%s is active: %s", r.found.id, list(r.found.prefixes))
			return r.name(ctx)
		case s == hub.PeeringPending && !accepted:
			if r.DryRun {
				r.tell(StepAccept, Todo, "accept %s in account %s", r.found.id, r.accepter().Account)
				return nil
			}
			done, err := r.accept(ctx)
			if err != nil {
				return err
			}
			accepted = done
		case s == hub.PeeringPending, s == hub.PeeringInitiating, s == hub.PeeringProvisioning:
			if r.DryRun {
				r.tell(StepActive, Todo, "wait for %s, which is %s", r.found.id, s)
				return nil
			}
		default:
			return fmt.Errorf("%s is in state %q, which is not known here: look at it in the AWS console", r.found.id, s)
		}
		if r.found.state == hub.PeeringActive {
			continue
		}
		if err := r.pause(ctx); err != nil {
			return err
		}
		if err := r.refresh(ctx); err != nil {
			return err
		}
	}
}

// pause waits a step.
func (r *run) pause(ctx context.Context) error {
	t := time.NewTimer(r.Every)
	defer t.Stop()
	select {
	case <-ctx.Done():
		if r.found.id == "" {
			return errors.New("AWS says that the peering exists, and does not show it yet")
		}
		return fmt.Errorf("%s is still %s", r.found.id, r.found.state)
	case <-t.C:
		return nil
	}
}

// openSpoke opens the spoke's account, once.
func (r *run) openSpoke(ctx context.Context) (API, error) {
	if r.spoke != nil {
		return r.spoke, nil
	}
	if r.OpenSpoke == nil {
		return nil, fmt.Errorf("account %s has no role for us", r.Spoke.Account)
	}
	api, err := r.OpenSpoke(ctx)
	switch {
	case awsapi.IsRoleRefused(err):
		return nil, fmt.Errorf("account %s does not let us in (is the role there, does it trust the hub's role, is the external id right?): %w", r.Spoke.Account, err)
	case err != nil:
		return nil, fmt.Errorf("account %s does not open: %w", r.Spoke.Account, err)
	}
	r.spoke = api
	return api, nil
}
