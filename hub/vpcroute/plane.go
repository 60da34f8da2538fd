package vpcroute

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"peerhub/hub"
	"peerhub/hub/failpoint"
)

// RouteAPI is what the plane asks of EC2; *ec2.Client has it.
type RouteAPI interface {
	CreateRoute(context.Context, *ec2.CreateRouteInput, ...func(*ec2.Options)) (*ec2.CreateRouteOutput, error)
	ReplaceRoute(context.Context, *ec2.ReplaceRouteInput, ...func(*ec2.Options)) (*ec2.ReplaceRouteOutput, error)
	DeleteRoute(context.Context, *ec2.DeleteRouteInput, ...func(*ec2.Options)) (*ec2.DeleteRouteOutput, error)
	DescribeRouteTables(context.Context, *ec2.DescribeRouteTablesInput, ...func(*ec2.Options)) (*ec2.DescribeRouteTablesOutput, error)
	CreateTags(context.Context, *ec2.CreateTagsInput, ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error)
	DeleteTags(context.Context, *ec2.DeleteTagsInput, ...func(*ec2.Options)) (*ec2.DeleteTagsOutput, error)
}

// Options shape a Plane. Open, Ledger, Topology and Now are required.
type Options struct {
	Open     func(context.Context, hub.Scope) (RouteAPI, error)
	Ledger   hub.Ledger
	Topology func() hub.Topology // the last one; Observe reads it
	Now      func() time.Time
	LastGood *hub.Topology // of an earlier run: what peerings led to that are gone by now
	Budget   time.Duration // of one Apply; what is not done by then waits for the next pass; 20 s
	Parallel int           // calls at once in one scope; 8
}

// Plane implements hub.Plane for VPC route tables.
type Plane struct {
	opts Options

	mu       sync.Mutex // guards all below
	topology hub.Topology
	last     *view
	changed  bool // something below changed since last was made
	ledger   map[hub.LedgerKey]hub.LedgerEntry
	held     map[hub.LedgerKey]bool // was in the ledger at some time of this process
	led      map[hub.PeeringID][]netip.Prefix
	writes   map[place]write
	waits    map[place]wait
	contests map[place]*contest
	tagged   map[hub.PeeringID]map[string]string
	untagged map[hub.PeeringID]bool // peerings whose tags are to be looked at
}

// wait keeps a change from being tried before its time, and says why.
type wait struct {
	verb   hub.Verb
	code   hub.Code
	detail string
	since  time.Time
	until  time.Time
	tries  int
}

var _ hub.Plane = (*Plane)(nil)

// New makes the plane. It calls nothing.
func New(o Options) *Plane {
	if o.Budget <= 0 {
		o.Budget = 20 * time.Second
	}
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	p := &Plane{
		opts: o, led: map[hub.PeeringID][]netip.Prefix{}, writes: map[place]write{}, waits: map[place]wait{},
		contests: map[place]*contest{}, held: map[hub.LedgerKey]bool{}, tagged: map[hub.PeeringID]map[string]string{}, untagged: map[hub.PeeringID]bool{},
	}
	if o.LastGood != nil {
		for _, x := range o.LastGood.Peerings {
			if len(x.Peer.Prefixes) > 0 {
				p.led[x.ID] = x.Peer.Prefixes
			}
		}
	}
	return p
}

// Name implements hub.Plane.
func (p *Plane) Name() hub.PlaneName { return hub.PlaneVPCRoute }

// Watch implements hub.Plane. AWS tells nobody who wrote to a table: the next survey does.
func (p *Plane) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return nil
}

// loadLedger reads the ledger once; from then on only this plane writes to it.
func (p *Plane) loadLedger(ctx context.Context) error {
	if p.ledger != nil {
		return nil
	}
	entries, err := p.opts.Ledger.Entries(ctx)
	if err != nil {
		return fmt.Errorf("read the ledger of VPC routes: %w", err)
	}
	p.ledger = make(map[hub.LedgerKey]hub.LedgerEntry, len(entries))
	for _, e := range entries {
		p.ledger[e.LedgerKey], p.held[e.LedgerKey] = e, true
	}
	return nil
}

func (p *Plane) intend(ctx context.Context, e hub.LedgerEntry) error {
	if _, ok := p.ledger[e.LedgerKey]; ok {
		return nil
	}
	if err := p.opts.Ledger.Intend(ctx, e); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	p.ledger[e.LedgerKey], p.held[e.LedgerKey] = e, true
	p.changed = true
	return nil
}

func (p *Plane) confirm(ctx context.Context, key hub.LedgerKey) error {
	e, ok := p.ledger[key]
	if !ok || e.Confirmed {
		return nil
	}
	failpoint.Hit("ledger.confirm")
	if err := p.opts.Ledger.Confirm(ctx, key); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	failpoint.Hit("ledger.confirmed")
	e.Confirmed = true
	p.ledger[key] = e
	p.untagged[key.Peering] = true
	p.changed = true
	return nil
}

func (p *Plane) forget(ctx context.Context, key hub.LedgerKey) error {
	if _, ok := p.ledger[key]; !ok {
		return nil
	}
	if err := p.opts.Ledger.Forget(ctx, key); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	failpoint.Hit("ledger.forgotten")
	delete(p.ledger, key)
	p.untagged[key.Peering] = true
	p.changed = true
	return nil
}
