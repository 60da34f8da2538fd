package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"peerhub/hub"
	"peerhub/hub/control"
)

// longestConfirm is how long hubd lets a sync wait to be confirmed.
const longestConfirm = 24 * time.Hour

func syncCommand(a *app) *cobra.Command {
	var req control.SyncRequest
	var yes bool
	var mode string
	var confirm time.Duration
	c := a.reading(&cobra.Command{
		Use:   "sync",
		Short: "Ask AWS and make a full pass now",
		Long: `Ask AWS for everything and make a full pass now, whatever mode is in force; with --mode, one of
that mode. It is one pass: afterwards the mode in force is the config's again. A pass that goes as
far as the config's mode also ends the observing of a first start beside a working VPN.
Exit code 2 when something was left undone, or there is a problem that is not only somebody
else's (see hubctl --help). With --mode observe that is hubctl plan, as hubd itself sees it.

With --confirm the config is read anew first, so edit it and run this instead of a reload. Unless
hubctl confirm follows in time, hubd puts everything back to what it was, takes away what this
pass made and nothing else, and pauses. A reload of the last two minutes is taken back with it.

On a terminal you are asked first when live flows would end or something would be removed.`,
		Example: "  hubctl plan && hubctl sync\n  hubctl sync --allow-removals\n  hubctl sync --confirm 5m && hubctl confirm",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("confirm") && (confirm < time.Second || confirm > longestConfirm) {
				return usageError{fmt.Errorf("--confirm %s: want a time from 1s to 24h, such as 5m", confirm)}
			}
			switch req.Mode = hub.Mode(mode); req.Mode {
			case hub.ModeObserve, hub.ModeAdd, hub.ModeSync:
			default:
				return usageError{fmt.Errorf("--mode %s: want observe, add or sync", mode)}
			}
			req.ConfirmSeconds = confirm.Seconds()
			ctx, cancel := a.limited(cmd.Context())
			defer cancel()
			call := a.caller()
			if a.talks && !yes {
				p, err := call.Plan(ctx)
				if err != nil {
					return err
				}
				if len(p.Cuts) > 0 || slices.ContainsFunc(p.Changes, func(c control.Change) bool { return c.Verb == hub.VerbRemove }) {
					a.showPlan(p)
					if ok, err := a.confirm(false, "go on?"); !ok || err != nil {
						return err
					}
				}
			}
			s, err := call.Sync(ctx, req)
			if err != nil {
				return err
			}
			return a.showSynced(s)
		},
	})
	c.Flags().BoolVar(&req.AllowRemovals, "allow-removals", false, "also remove what is held because it is much or the evidence is thin")
	c.Flags().StringVar(&mode, "mode", string(hub.ModeSync), "how far this pass goes: observe, add or sync")
	c.Flags().DurationVar(&confirm, "confirm", 0, "put everything back after this time, such as 5m, unless hubctl confirm follows")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

func (a *app) showSynced(s control.Synced) error {
	if a.format == "json" {
		if err := a.printJSON(s); err != nil {
			return err
		}
	} else {
		a.changes(s.Changes)
		if len(s.Pending) > 0 {
			fmt.Fprintf(a.out, "\n%s\n", a.paint(bold, "NOT DONE"))
			a.changes(s.Pending)
		}
		a.problems(s.Problems)
		a.held(s.Held)
		fmt.Fprintf(a.out, "%s made in %d ms, %d left, %s\n", plural(len(s.Changes), "change"), s.Pass.TookMS, len(s.Pending), plural(len(s.Problems), "problem"))
		if w := s.Confirm; w != nil {
			fmt.Fprintf(a.out, "put back at %s unless: hubctl confirm\n", w.Until.Local().Format(time.TimeOnly))
		}
	}
	if !s.Done() {
		return errNo
	}
	return nil
}
