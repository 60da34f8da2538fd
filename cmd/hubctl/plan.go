package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"peerhub/hub"
	"peerhub/hub/control"
)

func planCommand(a *app) *cobra.Command {
	return a.reading(&cobra.Command{
		Use:   "plan",
		Short: "Say what a sync would change now; exit 2 when it would",
		Long: `Say what a sync would change now, in the words of the tools a person would check with.
Nothing is changed. Flows of connected clients that would end are named. While hubd only observes,
it also says what made by hand hubctl adopt would take over, make superfluous, and leave.
Exit code 2 when there are changes, 0 when there is none.`,
		Example: "  hubctl plan\n  hubctl plan -o json | jq '.changes | length'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.limited(cmd.Context())
			defer cancel()
			p, err := a.caller().Plan(ctx)
			if err != nil {
				return err
			}
			whole := planned{Plan: p}
			if p.Mode == hub.ModeObserve {
				a.addByHand(ctx, &whole)
			}
			if a.format == "json" {
				err = a.printJSON(whole)
			} else {
				a.byHand(whole)
				a.showPlan(p)
			}
			if err == nil && len(p.Changes) > 0 {
				return errNo
			}
			return err
		},
	})
}

// planned is a plan and, while hubd only observes, what a person made that it touches.
type planned struct {
	control.Plan
	Adopt       []control.Adopted `json:"adopt"`
	Superfluous []control.ByHand  `json:"superfluous"`
	Left        []control.ByHand  `json:"left"`
}

// addByHand asks what was made by hand. The plan is an answer without it too.
func (a *app) addByHand(ctx context.Context, p *planned) {
	found, err := a.caller().Adoption(ctx)
	if err != nil {
		a.say("what was made by hand is not shown: %v", err)
		return
	}
	p.Adopt, p.Superfluous, p.Left = found.Routes, found.Superfluous, found.Left
}

// byHand prints what hubctl adopt would take over and what it would not.
func (a *app) byHand(p planned) {
	if len(p.Adopt)+len(p.Superfluous)+len(p.Left) == 0 {
		return
	}
	fmt.Fprintf(a.out, "%s (hubctl adopt takes it over without losing a packet)\n", a.paint(bold, "MADE BY HAND"))
	for _, r := range p.Adopt {
		wrap(a.out, "  taken over    ", "    ", fmt.Sprintf("VPC route %s %s -> %s  (%s)", r.Table, r.Destination, r.Peering, r.Spoke))
	}
	for _, h := range p.Superfluous {
		wrap(a.out, "  superfluous   ", "    ", h.What+": "+h.Object)
	}
	for _, h := range p.Left {
		wrap(a.out, "  left          ", "    ", h.What+": "+h.Object)
	}
	fmt.Fprintln(a.out)
}

func (a *app) showPlan(p control.Plan) {
	a.changes(p.Changes)
	a.cuts(p.Cuts)
	a.problems(p.Problems)
	a.held(p.Held)
	if len(p.Changes) == 0 {
		fmt.Fprintln(a.out, "nothing to change")
		return
	}
	n := map[hub.Verb]int{}
	for _, c := range p.Changes {
		n[c.Verb]++
	}
	fmt.Fprintf(a.out, "\n%d to add, %d to replace, %d to remove; mode %s\n", n[hub.VerbAdd], n[hub.VerbReplace], n[hub.VerbRemove], meaning(p))
}

func (a *app) changes(list []control.Change) {
	for _, c := range list {
		sign := map[hub.Verb]string{hub.VerbAdd: "+", hub.VerbRemove: a.paint(red, "-"), hub.VerbReplace: "~"}[c.Verb]
		spoke := ""
		if c.Spoke != nil {
			spoke = "  (" + *c.Spoke + ")"
		}
		wrap(a.out, fmt.Sprintf("%s %-8s ", sign, c.Plane), "             ", c.Object+"  "+c.Detail+spoke)
	}
}

func (a *app) cuts(list []control.Cut) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(a.out, "\n%s\n", a.paint(bold, "LIVE FLOWS THAT WOULD END"))
	for _, c := range list {
		wrap(a.out, "  ", "    ", fmt.Sprintf("%s  %s %s -> %s: %s", c.Client, c.Protocol, c.Source, c.Target, c.Reason))
	}
}

// meaning is the mode in force, and what of the plan it leaves to an operator.
func meaning(p control.Plan) string {
	switch p.Mode {
	case hub.ModeObserve:
		return "observe: only hubctl sync does it"
	case hub.ModeAdd:
		return "add: only hubctl sync removes"
	}
	return string(p.Mode)
}
