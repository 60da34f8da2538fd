package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"peerhub/hub/control"
)

func versionCommand(a *app) *cobra.Command {
	return a.reading(&cobra.Command{
		Use: "version", Short: "Print the versions of hubctl and of the hubd that runs", Example: "  hubctl version",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.limited(cmd.Context())
			defer cancel()
			out := struct {
				Schema string  `json:"schema"`
				Hubctl string  `json:"hubctl"`
				Hubd   *string `json:"hubd"` // null: none runs
				Go     string  `json:"go"`
			}{Schema: control.Schema, Hubctl: version, Go: runtime.Version()}
			if s, err := a.caller().Status(ctx); err == nil {
				out.Hubd = &s.Version
			}
			if a.format == "json" {
				return a.printJSON(out)
			}
			running := "does not run, or not for us to ask"
			if out.Hubd != nil {
				running = *out.Hubd
			}
			fmt.Fprintf(a.out, "hubctl %s %s\nhubd   %s\n", out.Hubctl, out.Go, running)
			return nil
		},
	})
}
