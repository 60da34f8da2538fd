package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func resumeCommand(a *app) *cobra.Command {
	return a.reading(&cobra.Command{
		Use: "resume", Short: "End a pause", Example: "  hubctl resume",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.limited(cmd.Context())
			defer cancel()
			p, err := a.caller().Resume(ctx)
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.printJSON(p)
			}
			fmt.Fprintln(a.out, "resumed")
			return nil
		},
	})
}
