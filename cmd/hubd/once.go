package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/rs/zerolog"

	"peerhub/hub"
	"peerhub/hub/config"
	"peerhub/hub/control"
	"peerhub/hub/daemon"
	"peerhub/hub/failpoint"
	"peerhub/hub/state"
	"peerhub/hub/vpcroute"
)

// once makes one survey and one pass.
func once(ctx context.Context, c config.Config, dryRun bool, stdout, stderr io.Writer) (code int, err error) {
	p, err := open(ctx, c, hasty, purpose{dryRun: dryRun, once: true})
	if err != nil {
		return exitFailed, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	o := p.options(c, c.Path, zerolog.Nop())
	if dryRun { // a first start is not decided, nor a peering accepted
		o.Occupied, o.Accept = nil, nil
	}
	d, err := daemon.New(ctx, o)
	if err != nil {
		return exitFailed, err
	}
	rep, err := d.Once(ctx, dryRun)
	if err != nil {
		return exitFailed, err
	}
	printReport(rep, stdout, stderr)
	if rep.Pending() > 0 || !dryRun && len(control.Ours(rep.Problems)) > 0 {
		return exitNo, nil
	}
	return exitDone, nil
}

func printReport(rep hub.Report, stdout, stderr io.Writer) {
	for _, p := range rep.Planes {
		for _, c := range p.Applied {
			printChange(stdout, p.Plane, c)
		}
	}
	word := "left to do"
	if rep.DryRun {
		word = "would change"
	}
	if n := rep.Pending(); n > 0 && !rep.DryRun {
		fmt.Fprintf(stderr, "%d %s:\n", n, word)
	}
	for _, p := range rep.Planes {
		for _, c := range p.Pending {
			printChange(stdout, p.Plane, c)
		}
		if p.Error != "" {
			fmt.Fprintf(stderr, "hubd: %s\n", oneLine(p.Error))
		}
	}
	for _, p := range rep.Problems {
		fmt.Fprintf(stderr, "problem: %s %s: %s; %s\n", p.Subject, p.Code, oneLine(p.Detail), oneLine(p.Mend))
	}
	for _, h := range rep.Held {
		fmt.Fprintf(stderr, "held: %s: %s\n", h.Unit, h.Reason)
	}
	fmt.Fprintf(stderr, "mode %s: %d changes made, %d %s, %d problems\n", rep.Mode, rep.Changes(), rep.Pending(), word, len(rep.Problems))
}

func printChange(w io.Writer, plane hub.PlaneName, c hub.Change) {
	sign := map[hub.Verb]string{hub.VerbAdd: "+", hub.VerbRemove: "-", hub.VerbReplace: "~"}[c.Verb]
	fmt.Fprintf(w, "%s %-8s %s  %s\n", sign, plane, c.Object, c.Detail)
}

// cleanup removes what is ours, in the order of removals, and lists what it could not.
// With keepRoutes the VPC routes stay and are given up: whoever leaves needs them.
func cleanup(ctx context.Context, c config.Config, dryRun, keepRoutes bool, stdout, stderr io.Writer) (code int, err error) {
	p, err := open(ctx, c, hasty, purpose{dryRun: dryRun})
	if err != nil {
		return exitFailed, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	var errs []error
	s := &surveyor{parts: p, lost: p.saved.Desired == nil || p.saved.Doubt != ""}
	if _, err := s.Survey(ctx, c.Policy); err != nil {
		errs = append(errs, err)
	}
	p.vpcroute.Recheck()
	whole := map[hub.PlaneName]func(context.Context) error{
		hub.PlaneMasq: p.masq.Cleanup, hub.PlaneKRoute: p.kroute.Cleanup,
		hub.PlaneVPNConf: func(ctx context.Context) error { return p.vpnconf.Cleanup(ctx, baseOf(c.Policy).Servers) },
	}
	for _, plane := range slices.Backward(p.planes()) {
		failpoint.Hit("cleanup.plane")
		if keepRoutes && plane.Name() == hub.PlaneVPCRoute {
			if err := p.giveUpRoutes(ctx, dryRun, stdout); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", plane.Name(), err))
			}
			continue
		}
		removed, err := clear(ctx, plane, whole[plane.Name()], dryRun)
		for _, ch := range removed {
			printChange(stdout, plane.Name(), ch)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", plane.Name(), err))
		}
	}
	if dryRun {
		return exitDone, errors.Join(errs...)
	}
	if left := p.leftovers(ctx); left != "" && !keepRoutes {
		fmt.Fprintln(stderr, "hubd: these VPC routes are ours and still there; who may remove them runs:")
		fmt.Fprint(stdout, left)
		code = exitNo
	}
	for _, err := range errs {
		complain(stderr, err)
		code = exitFailed
	}
	failpoint.Hit("cleanup.cleared")
	if code == exitDone { // the next start is a first one again
		if err := errors.Join(p.state.SaveDesired(ctx, hub.Desired{}), p.state.SaveWindow(ctx, nil)); err != nil {
			return exitFailed, err
		}
		for _, path := range []string{notesIn(c.State).path, filepath.Join(c.State, tunnelsFile)} {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return exitFailed, err
			}
		}
	}
	return code, nil
}

// clear removes everything of ours from one plane and says what that was. whole does so also
// for what no want ever named; without it the plane's removals are applied.
func clear(ctx context.Context, plane hub.Plane, whole func(context.Context) error, dryRun bool) ([]hub.Change, error) {
	view, err := plane.Observe(ctx)
	if err != nil {
		return nil, err
	}
	changes := hub.Removals(view.Plan(hub.Desired{}))
	if dryRun {
		return changes, nil
	}
	if whole != nil {
		return changes, whole(ctx)
	}
	after, err := plane.Apply(ctx, view, changes)
	if after == nil {
		return nil, err
	}
	left := map[string]bool{}
	for _, c := range after.Plan(hub.Desired{}) {
		left[c.Object] = true
	}
	var done []hub.Change
	for _, c := range changes {
		if !left[c.Object] {
			done = append(done, c)
		}
	}
	return done, err
}

// leftovers are the AWS CLI lines that remove what the ledger still has.
func (p *parts) leftovers(ctx context.Context) string {
	entries, err := p.state.Entries(ctx)
	if err != nil || len(entries) == 0 {
		return ""
	}
	return vpcroute.Leftovers(entries)
}

// writeLast keeps the last report where hubctl finds it.
func (p *parts) writeLast(v any) error { return state.WriteLast(p.state.Dir(), v) }

// force has AWS asked again at once for everything, and tries again what waits (hubctl sync).
func (p *parts) force() {
	p.discovery.Force()
	p.vpcroute.Retry()
}
