package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"peerhub/hub/control"
)

func pauseCommand(a *app) *cobra.Command {
	var length time.Duration
	c := a.reading(&cobra.Command{
		Use:   "pause",
		Short: "Keep hubd from writing anything, also repairs",
		Long: `Keep hubd from writing anything anywhere until hubctl resume, or for a while. What is there
stays as it is; what others change is not repaired. A pause outlives a restart of hubd.`,
		Example: "  hubctl pause --for 1h\n  hubctl resume",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("for") && length <= 0 {
				return usageError{errors.New("--for: want a time such as 1h")}
			}
			ctx, cancel := a.limited(cmd.Context())
			defer cancel()
			p, err := a.caller().Pause(ctx, control.PauseRequest{Seconds: length.Seconds()})
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.printJSON(p)
			}
			until := "until hubctl resume"
			if p.Pause != nil && p.Pause.Until != nil {
				until = "until " + when(*p.Pause.Until)
			}
			fmt.Fprintf(a.out, "paused %s\n", until)
			return nil
		},
	})
	c.Flags().DurationVar(&length, "for", 0, "how long, such as 1h; without it until hubctl resume")
	return c
}
