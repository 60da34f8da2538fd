package daemon

import (
	"context"
	"slices"

	"peerhub/hub"
	"peerhub/hub/control"
)

// because is a cause that nobody asked for.
func because(t hub.Trigger) hub.Cause { return hub.Cause{Trigger: t} }

// askedBy is a cause with who asked.
func askedBy(t hub.Trigger, by string) hub.Cause { return hub.Cause{Trigger: t, By: &by} }

// pokeFor asks for a pass and remembers why until it is made.
func (d *Daemon) pokeFor(c hub.Cause) {
	d.mu.Lock()
	if !slices.ContainsFunc(d.reasons, func(o hub.Cause) bool { return o.Trigger == c.Trigger && (o.By == nil) == (c.By == nil) }) {
		d.reasons = append(d.reasons, c)
	}
	d.mu.Unlock()
	signal(d.poke)
}

// causes are those of a pass: what it was asked for, else what poked for it since the last one.
func (d *Daemon) causes(asked []hub.Cause) []hub.Cause {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := slices.Concat(asked, d.reasons)
	d.reasons = nil
	if len(all) == 0 {
		all = []hub.Cause{because(hub.TriggerTimer)}
	}
	return all
}

// keepPass keeps a pass that changed something, or that found a problem new or gone. Problems of
// clients come and go with them: they are not the history of the hub.
func (d *Daemon) keepPass(ctx context.Context, rep hub.Report, causes []hub.Cause) {
	appeared, cleared := d.news(rep.Problems)
	if rep.Changes() == 0 && len(appeared) == 0 && len(cleared) == 0 {
		return
	}
	d.keep(ctx, hub.HistoryEntry{At: rep.Started.UTC(), TookMS: rep.Took.Milliseconds(), Causes: causes, Mode: rep.Mode, Count: rep.Changes(),
		Changes: d.historyOf(rep), Appeared: appeared, Cleared: cleared})
}

// keepRepair keeps a repair that did something, or could not.
func (d *Daemon) keepRepair(ctx context.Context, rep hub.Report, plane hub.PlaneReport) {
	if len(plane.Applied) == 0 && plane.Error == "" {
		return
	}
	rep.Planes = []hub.PlaneReport{plane}
	d.keep(ctx, hub.HistoryEntry{At: rep.Started.UTC(), TookMS: rep.Took.Milliseconds(), Causes: []hub.Cause{because(hub.TriggerRepair)}, Plane: &plane.Plane,
		Mode: rep.Mode, Count: len(plane.Applied), Changes: d.historyOf(rep), Appeared: []hub.Problem{}, Cleared: []hub.Problem{}, Error: filled(plane.Error)})
}

// keepDoubt tells log and history of a saved state that could not be gone on with. AWS may answer
// before the first pass, and then no problem ever speaks of it.
func (d *Daemon) keepDoubt(ctx context.Context) {
	if d.doubt == "" {
		return
	}
	d.opts.Log.Warn().Str(keyReason, d.doubt).Msg("the saved state could not be gone on with; a new one begins")
	d.keep(ctx, hub.HistoryEntry{At: d.started.UTC(), Causes: []hub.Cause{because(hub.TriggerStart)}, Mode: d.mode(),
		Changes: []hub.HistoryChange{}, Appeared: []hub.Problem{}, Cleared: []hub.Problem{}, Error: filled(d.doubt)})
}

func (d *Daemon) keep(ctx context.Context, e hub.HistoryEntry) {
	d.events.trouble("history", "the history cannot be written", d.opts.Store.AppendHistory(ctx, e))
}

func (d *Daemon) historyOf(rep hub.Report) []hub.HistoryChange {
	out := []hub.HistoryChange{}
	for _, c := range d.changesOf(rep, func(p hub.PlaneReport) []hub.Change { return p.Applied }) {
		out = append(out, hub.HistoryChange(c))
	}
	return out
}

// news are the problems that were not there before, and those that are gone, by code and subject.
func (d *Daemon) news(now []hub.Problem) (appeared, cleared []hub.Problem) {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := map[hub.Problem]bool{}
	appeared, cleared = []hub.Problem{}, []hub.Problem{}
	for _, p := range now {
		key := hub.Problem{Code: p.Code, Subject: p.Subject}
		if !seen[key] && !d.reported[key] {
			appeared = append(appeared, p)
		}
		seen[key] = true
	}
	for key := range d.reported {
		if !seen[key] {
			cleared = append(cleared, key)
		}
	}
	slices.SortFunc(cleared, hub.CompareProblems)
	d.reported = seen
	return appeared, cleared
}

// History answers hubctl history.
func (d *Daemon) History(ctx context.Context, q hub.HistoryQuery) (control.History, error) {
	entries, err := d.opts.Store.History(ctx, q)
	return control.History{Schema: control.Schema, Entries: list(entries)}, err
}
