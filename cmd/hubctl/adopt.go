package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"peerhub/hub/control"
)

func adoptCommand(a *app) *cobra.Command {
	var dryRun, check, yes bool
	c := a.reading(&cobra.Command{
		Use:   "adopt",
		Short: "Take over a hub that was made by hand, without losing a packet",
		Long: `Take over a hub that was made by hand. VPC routes that fit become hubd's: they are entered into
its ledger, and nothing is written to them. What hubd needs beside them is made as hubctl sync
makes it. Running flows that somebody else's rule translates go on.

At the end it prints the commands that remove what hubd has made superfluous, one for each thing.
Nothing that is not hubd's is removed by hubd. Run them one by one; hubctl adopt --check says
which are still to be run, with exit code 2 while there are any. Handles of nftables rules are new
after each load of the ruleset: ask again then. What it looks for: VPC routes, translation by
nftables and iptables-nft, kernel routes and rules; not iptables-legacy, verdict maps, or what
OpenVPN pushes.`,
		Example: "  hubctl adopt --dry-run\n  hubctl adopt\n  hubctl adopt --check",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dryRun && check {
				return usageError{errors.New("--dry-run and --check: want one of them")}
			}
			ctx, cancel := a.limited(cmd.Context())
			defer cancel()
			call := a.caller()
			found, err := call.Adoption(ctx)
			if err != nil {
				return err
			}
			if dryRun || check {
				return a.showAdoption(found, check)
			}
			if a.talks && !yes {
				a.adoption(found)
				if ok, err := a.confirm(false, "take over?"); !ok || err != nil {
					return err
				}
			}
			if found, err = call.Adopt(ctx, control.AdoptRequest{}); err != nil {
				return err
			}
			return a.showAdoption(found, false)
		},
	})
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be taken over")
	c.Flags().BoolVar(&check, "check", false, "only say what still stands; exit 2 when something does")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// showAdoption prints what was found; check: the answer is no while something is left to do.
func (a *app) showAdoption(f control.Adoption, check bool) error {
	if a.format == "json" {
		if err := a.printJSON(f); err != nil {
			return err
		}
	} else {
		a.adoption(f)
	}
	if check && len(f.Routes)+len(f.Superfluous)+len(f.Plan.Changes) > 0 {
		return errNo
	}
	return nil
}

func (a *app) adoption(f control.Adoption) {
	part := func(title string, n int) bool {
		if n > 0 {
			fmt.Fprintf(a.out, "\n%s\n", a.paint(bold, title))
		}
		return n > 0
	}
	if part("VPC ROUTES TAKEN OVER (nothing is written to them)", len(f.Routes)) {
		for _, r := range f.Routes {
			fmt.Fprintf(a.out, "  %s %s -> %s  (%s, %s %s)\n", r.Table, r.Destination, r.Peering, r.Spoke, r.Account, r.Region)
		}
	}
	if part("MADE BESIDE", len(f.Plan.Changes)) {
		a.changes(f.Plan.Changes)
	}
	a.cuts(f.Plan.Cuts)
	if part("LEFT: it may serve something else, too", len(f.Left)) {
		for _, h := range f.Left {
			fmt.Fprintf(a.out, "  # %s: %s\n", h.What, h.Object)
		}
	}
	if part("SUPERFLUOUS once hubd has taken over; remove one by one", len(f.Superfluous)) {
		fmt.Fprintln(a.out, "  handles hold until that ruleset is loaded anew: then run hubctl adopt --check again, and use what it prints")
		for _, h := range f.Superfluous {
			fmt.Fprintf(a.out, "  # %s: %s\n  %s\n", h.What, h.Object, h.Line)
		}
	}
	a.problems(f.Plan.Problems)
	if len(f.Routes)+len(f.Plan.Changes)+len(f.Superfluous) == 0 {
		fmt.Fprintln(a.out, "nothing made by hand is left to take over or to remove among VPC routes, nftables and iptables-nft")
		fmt.Fprintln(a.out, "translation, and kernel routes to sites; iptables-legacy and push lines of OpenVPN were not looked at")
	}
}
