package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"peerhub/hub"
	"peerhub/hub/control"
)

// Handmade is how a daemon finds and takes over what a person made on a hub before it.
type Handmade struct {
	// Inherit makes running flows that somebody else translates into ours; it says how many.
	Inherit func(context.Context, hub.Desired) (int, error)
	// Routes lists the VPC routes that fit and are not ours; Adopt makes them ours.
	Routes, Adopt func(context.Context, hub.Desired) ([]hub.LedgerEntry, error)
	// Things lists what hubd makes superfluous on this host, and what it only touches.
	Things func(context.Context, hub.Desired) (superfluous, left []control.ByHand, err error)
}

// passGently makes a pass. At the end of a careful first start there is one before it that
// leaves other traffic alone: between the two, running flows are given their marks, so that
// the tunnel closes when nothing of theirs depends on its being open.
func (d *Daemon) passGently(ctx context.Context, req passRequest) hub.Report {
	d.mu.Lock()
	careful := d.careful != ""
	d.mu.Unlock()
	if !careful || d.opts.Handmade.Inherit == nil || req.mode == "" || req.mode == hub.ModeObserve {
		return d.pass(ctx, req)
	}
	in := d.input()
	in.AllowRemovals, in.Mode = req.allowRemovals, req.mode
	in.Policy.VPNs = slices.Clone(in.Policy.VPNs)
	for i := range in.Policy.VPNs {
		in.Policy.VPNs[i].Other = hub.OtherLeave
	}
	first, ok := d.make(ctx, in, d.causes(req.causes))
	if !ok {
		return first
	}
	n, err := d.opts.Handmade.Inherit(ctx, first.Desired)
	d.events.trouble("inherit", "some running flows are not taken over", err)
	d.opts.Log.Info().Int(keyCount, n).Msg("running flows taken over")
	rep := d.pass(ctx, req)
	for i := range rep.Planes {
		for _, p := range first.Planes {
			if p.Plane == rep.Planes[i].Plane {
				rep.Planes[i].Applied = slices.Concat(p.Applied, rep.Planes[i].Applied)
			}
		}
	}
	return rep
}

// Adoption answers hubctl adopt --dry-run and --check.
func (d *Daemon) Adoption(ctx context.Context) (control.Adoption, error) {
	out := control.Adoption{Schema: control.Schema}
	if d.opts.Handmade.Routes == nil {
		return out, errors.New("adopt: this hubd cannot look for what was made by hand")
	}
	var err error
	if out.Plan, err = d.Plan(ctx); err != nil {
		return out, err
	}
	in := d.input()
	want, _, _ := hub.Decide(in.Policy, in.Topology, in.Remembered)
	entries, err := d.opts.Handmade.Routes(ctx, want)
	if err != nil {
		return out, fmt.Errorf("adopt: %w", err)
	}
	out.Routes = d.adopted(want, entries)
	return out, d.things(ctx, want, &out)
}

// Adopt answers hubctl adopt: a sync that ends no flow, then the VPC routes that fit.
func (d *Daemon) Adopt(ctx context.Context, _ control.AdoptRequest, by string) (control.Adoption, error) {
	out := control.Adoption{Schema: control.Schema}
	if d.opts.Handmade.Adopt == nil {
		return out, errors.New("adopt: this hubd cannot look for what was made by hand")
	}
	if p := d.inForce(); len(p) > 0 {
		return out, p.refusal()
	}
	d.opts.Log.Info().Str(keyBy, by).Msg("adoption asked for")
	var entered []hub.LedgerEntry
	req := passRequest{causes: []hub.Cause{askedBy(hub.TriggerSync, by)}, by: by, mode: hub.ModeSync, adopt: &entered}
	rep, err := d.askAndPass(ctx, req)
	if err != nil {
		return out, fmt.Errorf("adopt: %w", err)
	}
	out.Routes = d.adopted(rep.Desired, entered)
	if out.Plan, err = d.Plan(ctx); err != nil {
		return out, err
	}
	return out, d.things(ctx, rep.Desired, &out)
}

func (d *Daemon) things(ctx context.Context, want hub.Desired, out *control.Adoption) error {
	superfluous, left, err := d.opts.Handmade.Things(ctx, want)
	if err != nil {
		return fmt.Errorf("adopt: look for what was made by hand: %w", err)
	}
	out.Superfluous, out.Left = list(superfluous), list(left)
	return nil
}

func (d *Daemon) adopted(want hub.Desired, entries []hub.LedgerEntry) []control.Adopted {
	names := map[hub.SpokeID]string{}
	for _, s := range want.Spokes {
		names[s.ID] = s.Name
	}
	out := []control.Adopted{}
	for _, e := range entries {
		out = append(out, control.Adopted{Account: e.Scope.Account, Region: e.Scope.Region, Table: e.Table,
			Destination: e.Destination, Peering: e.Peering, Spoke: names[e.Spoke]})
	}
	return out
}
