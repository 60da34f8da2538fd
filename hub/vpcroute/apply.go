package vpcroute

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"peerhub/hub"
	"peerhub/hub/awsapi"
	"peerhub/hub/failpoint"
)

// How long a refused change waits. A full table is looked at again after fullFor;
// other refusals double from waitFirst to waitMost: a permission that was away for some
// seconds costs about as much again.
const (
	fullFor   = 10 * time.Minute
	waitFirst = 10 * time.Second
	waitMost  = 30 * time.Minute
)

// maxErrors bounds the errors that one Apply returns; Problems names every one.
const maxErrors = 5

// Apply implements hub.Plane. Scopes go at once, each at the pace of its bucket; what
// the budget leaves no time for stays pending without a word.
func (p *Plane) Apply(ctx context.Context, _ hub.View, changes []hub.Change) (hub.View, error) {
	ctx, cancel := context.WithTimeout(ctx, p.opts.Budget)
	defer cancel()
	byScope := map[hub.Scope][]job{}
	var errs []error
	p.mu.Lock()
	for _, c := range changes {
		j, err := p.job(c)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		byScope[j.scope] = append(byScope[j.scope], j)
	}
	p.mu.Unlock()
	outcomes := make(chan error, len(changes))
	var all sync.WaitGroup
	for scope, jobs := range byScope {
		all.Go(func() { p.inScope(ctx, scope, jobs, outcomes) })
	}
	all.Wait()
	close(outcomes)
	for err := range outcomes {
		errs = append(errs, err)
	}
	if err := p.mirror(ctx); err != nil {
		errs = append(errs, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(errs); n > maxErrors {
		errs = append(errs[:maxErrors:maxErrors], fmt.Errorf("and %d more", n-maxErrors))
	}
	return p.render(), errors.Join(errs...)
}

// job is a step and where it is done.
type job struct {
	step
	scope hub.Scope
	side  hub.Side
}

// job finds out where a change is to be made: from the table, or from the record of a
// route whose table is gone.
func (p *Plane) job(c hub.Change) (job, error) {
	s, err := stepOf(c)
	if err != nil {
		return job{}, err
	}
	j := job{step: s, side: hub.SideHub}
	if e, ok := p.ledger[s.key()]; ok {
		j.scope, j.side = e.Scope, e.Side
	}
	if t := slices.IndexFunc(p.topology.Tables, func(t hub.Table) bool { return t.ID == s.place.table }); t >= 0 {
		j.scope = p.topology.Tables[t].Scope
		if p.topology.Tables[t].VPC != p.topology.Hub.VPC {
			j.side = hub.SideSpoke
		}
	}
	if j.scope == (hub.Scope{}) {
		return job{}, fmt.Errorf("%s %s: the table is not known any more", c.Verb, c.Object)
	}
	return j, nil
}

func (s step) key() hub.LedgerKey {
	return hub.LedgerKey{Table: s.place.table, Destination: s.place.dest, Peering: s.peering}
}

func (p *Plane) inScope(ctx context.Context, scope hub.Scope, jobs []job, outcomes chan<- error) {
	jobs = slices.DeleteFunc(jobs, func(j job) bool { return !p.due(j) })
	if len(jobs) == 0 {
		return
	}
	api, err := p.opts.Open(ctx, scope)
	if err != nil {
		p.mu.Lock()
		for _, j := range jobs {
			p.refused(j, err)
		}
		p.mu.Unlock()
		outcomes <- fmt.Errorf("write routes in %s: %w", scope, err)
		return
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(p.opts.Parallel, len(jobs)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(jobs); i = int(next.Add(1)) - 1 {
				j := jobs[i]
				if ctx.Err() != nil || !p.due(j) { // a full table stops the rest of its jobs
					continue
				}
				if err := p.do(ctx, api, j); err != nil && !errors.Is(err, awsapi.ErrPaced) {
					outcomes <- fmt.Errorf("%s route %s to %s in %s: %w", j.verb, j.place, j.peering, scope, err)
				}
			}
		})
	}
	workers.Wait()
}

// due reports whether a change may be tried now.
func (p *Plane) due(j job) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.opts.Now()
	w, ok := p.waits[j.place]
	if ok && now.Before(w.until) && (w.verb == hub.VerbRemove) == (j.verb == hub.VerbRemove) {
		return false
	}
	if j.verb != hub.VerbAdd {
		return true
	}
	full, ok := p.waits[place{table: j.place.table}]
	if ok && now.Before(full.until) {
		p.waits[j.place] = full
		p.changed = true
		return false
	}
	return true
}

// do makes one change and keeps the records.
func (p *Plane) do(ctx context.Context, api RouteAPI, j job) error {
	var err error
	switch j.verb {
	case hub.VerbAdd, hub.VerbReplace:
		err = p.put(ctx, api, j)
	case hub.VerbRemove:
		err = p.remove(ctx, api, j)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.refused(j, err)
		return err
	}
	if w, ok := p.waits[j.place]; ok && !p.opts.Now().Before(w.until) {
		delete(p.waits, j.place)
	}
	p.changed = true
	return nil
}

// put makes a route or leads one of ours elsewhere.
func (p *Plane) put(ctx context.Context, api RouteAPI, j job) error {
	failpoint.Hit("ledger.intend")
	entry := hub.LedgerEntry{LedgerKey: j.key(), Scope: j.scope, Spoke: j.unit.Spoke, Side: j.side}
	var err error
	p.mu.Lock()
	_, before := p.ledger[j.key()]
	if !failpoint.Off("ledger-intent") {
		err = p.intend(ctx, entry)
	}
	p.mu.Unlock()
	if err != nil {
		return err
	}
	failpoint.Hit("ledger.intended")
	call, attempts := awsapi.CountAttempts(ctx)
	created := j.verb == hub.VerbAdd
	if j.verb == hub.VerbReplace {
		err = replaceRoute(call, api, j)
		if awsapi.IsNoRouteToReplace(err) {
			created = true
		}
	}
	if created {
		err = createRoute(call, api, j)
	}
	failpoint.Hit("route.created")
	var found string // what a direct look finds in the way
	if awsapi.IsRouteExists(err) {
		found, err = p.look(ctx, api, j, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil && found == string(j.peering):
		p.wrote(j.scope, j.place, found)
		if !before && *attempts < 2 {
			return p.forget(ctx, j.key()) // somebody else made it meanwhile
		}
		return p.confirm(ctx, j.key())
	case err == nil && found != "":
		p.wrote(j.scope, j.place, found) // a foreign route that no survey has shown yet
		return p.forget(ctx, j.key())
	case err == nil:
		p.wrote(j.scope, j.place, string(j.peering))
		if created {
			p.made(j.place)
		}
		if j.old != "" {
			old := j.key()
			old.Peering = hub.PeeringID(j.old)
			if err := p.forget(ctx, old); err != nil {
				return err
			}
		}
		if failpoint.Off("ledger-intent") { // recorded only now that it stands
			if err := p.intend(ctx, entry); err != nil {
				return err
			}
		}
		return p.confirm(ctx, j.key())
	case !before && (*attempts == 0 || awsapi.Code(err) != "" && *attempts == 1):
		return errors.Join(err, p.forget(ctx, j.key())) // not sent, or refused: nothing was made
	}
	return err // it may have been made: the intent stays
}

// remove deletes a route that was seen with the target that makes it ours, or drops the
// record of one that is gone.
func (p *Plane) remove(ctx context.Context, api RouteAPI, j job) error {
	p.mu.Lock()
	e, recorded := p.ledger[j.key()]
	p.mu.Unlock()
	var err error
	if !j.gone || !recorded || !e.Confirmed {
		// An intent that was never confirmed may still turn up: AWS has the last word.
		err = deleteRoute(ctx, api, j)
		failpoint.Hit("route.deleted")
		if awsapi.IsRouteNotFound(err) || awsapi.IsTableNotFound(err) {
			err = nil
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		return err
	}
	p.wrote(j.scope, j.place, "")
	delete(p.contests, j.place)
	return p.forget(ctx, j.key())
}

// look asks for the table in which a destination is taken. Without a target in the
// answer (a lagging replica) the refusal stands.
func (p *Plane) look(ctx context.Context, api RouteAPI, j job, refusal error) (string, error) {
	out, err := api.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{
		Filters: []types.Filter{{Name: aws.String("route-table-id"), Values: []string{string(j.place.table)}}}})
	if err != nil {
		return "", errors.Join(refusal, err)
	}
	for _, t := range out.RouteTables {
		for _, r := range t.Routes {
			d := aws.ToString(r.DestinationCidrBlock) + aws.ToString(r.DestinationIpv6CidrBlock)
			if q, err := netip.ParsePrefix(d); err != nil || q != j.place.dest || r.Origin != types.RouteOriginCreateRoute {
				continue
			}
			if r.VpcPeeringConnectionId != nil {
				return *r.VpcPeeringConnectionId, nil
			}
			for _, s := range []*string{r.NetworkInterfaceId, r.NatGatewayId, r.TransitGatewayId, r.GatewayId, r.InstanceId} {
				if aws.ToString(s) != "" {
					return *s, nil
				}
			}
			return "another target", nil
		}
	}
	return "", refusal
}

// refused notes why a change was not made and when to try again. The lock is held.
func (p *Plane) refused(j job, err error) {
	now := p.opts.Now()
	w := wait{verb: j.verb, code: hub.RouteFailed, detail: err.Error(), since: now, tries: p.waits[j.place].tries + 1}
	backoff := min(waitFirst<<min(w.tries-1, 10), waitMost)
	switch {
	case errors.Is(err, awsapi.ErrPaced):
		return
	case awsapi.IsRouteLimit(err):
		w.code, w.until = hub.RouteQuota, now.Add(fullFor)
		w.detail = fmt.Sprintf("%s is full: %s%s", j.place.table, err, p.aggregation(j.place.table))
		p.waits[place{table: j.place.table}] = w
	case awsapi.IsDenied(err), awsapi.IsRoleRefused(err):
		w.code, w.until = hub.RouteDenied, now.Add(backoff)
	case awsapi.IsTransient(err):
	default:
		w.until = now.Add(backoff)
	}
	if failpoint.Off("route-backoff") {
		w.until = now
		p.waits[place{table: j.place.table}] = wait{}
	}
	p.waits[j.place] = w
	p.changed = true
}

// Retry lets every change that waits be tried in the next pass (hubctl sync), and believes
// the surveys where several speak against a recent write: a person who asks knows of one
// that was undone. If AWS was only late, the route is found where it is to be made.
func (p *Plane) Retry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for at, w := range p.writes {
		if w.against >= disagreeing {
			delete(p.writes, at)
		}
	}
	for at, w := range p.waits {
		w.until = time.Time{}
		p.waits[at] = w
	}
	p.changed = true
}
