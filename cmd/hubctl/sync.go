package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"peerhub/hub"
	"peerhub/hub/control"
)

func syncCommand(a *app) *cobra.Command {
	var req control.SyncRequest
	var yes bool
	c := a.reading(&cobra.Command{
		Use:   "sync",
		Short: "Ask AWS and make a full pass now",
		Long: `Ask AWS for everything and make a full pass now, whatever mode is in force. It also ends the
observing of a first start beside a working VPN. Exit code 2 when something was left undone,
or a spoke has a problem.

On a terminal you are asked first when live flows would end or something would be removed.`,
		Example: "  hubctl plan && hubctl sync\n  hubctl sync --allow-removals",
		RunE: func(cmd *cobra.Command, _ []string) error {
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
	}
	if len(s.Pending) > 0 || slices.ContainsFunc(s.Problems, func(p hub.Problem) bool { return !control.OfOthers(p.Code) }) {
		return errNo
	}
	return nil
}
