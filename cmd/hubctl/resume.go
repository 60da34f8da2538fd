package main

import (
	"github.com/spf13/cobra"

	"peerhub/hub/control"
)

func resumeCommand(a *app) *cobra.Command {
	var places func() []control.Place
	c := a.reading(&cobra.Command{
		Use: "resume", Short: "End a pause; what was changed meanwhile is repaired at once",
		Example: "  hubctl resume\n  hubctl resume --kernel",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.limited(cmd.Context())
			defer cancel()
			p, err := a.caller().Resume(ctx, control.ResumeRequest{Places: places()})
			if err != nil {
				return err
			}
			return a.showPaused(p)
		},
	})
	places = placeFlags(c, "write again")
	return c
}
