package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"peerhub/hub/control"
)

func confirmCommand(a *app) *cobra.Command {
	var req control.ConfirmRequest
	c := a.reading(&cobra.Command{
		Use:   "confirm",
		Short: "Keep what hubctl sync --confirm did",
		Long: `Keep what hubctl sync --confirm did. Without it, hubd puts everything back to what it was when
the time is over, and pauses. --undo does so at once. Exit code 1 when no sync waits.`,
		Example: "  hubctl sync --confirm 5m\n  hubctl confirm",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.limited(cmd.Context())
			defer cancel()
			s, err := a.caller().Confirm(ctx, req)
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.printJSON(s)
			}
			if req.Undo {
				fmt.Fprintln(a.out, "put back, and paused; take the change back in the config, reload hubd, then hubctl resume")
			} else {
				fmt.Fprintln(a.out, "confirmed: it stays")
			}
			return nil
		},
	})
	c.Flags().BoolVar(&req.Undo, "undo", false, "put it back now instead, and pause")
	return c
}
