package main

import (
	"github.com/spf13/cobra"

	"peerhub/test/lab"
)

func (a *app) fault() *cobra.Command {
	c := &cobra.Command{
		Use: "fault [NAME [off | VALUE | KEY=VALUE]...]", Short: "Make the lab misbehave; alone: list how it can",
		Example: `  hublab fault
  hublab fault latency 2s
  hublab fault deny action=CreateRoute account=222222222222
  hublab fault deny off`,
		RunE: func(c *cobra.Command, words []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			if len(words) > 0 {
				return client.SetFault(c.Context(), words[0], lab.FaultValue(words[1:]))
			}
			faults, err := client.Faults(c.Context())
			if err != nil {
				return err
			}
			if a.format == "json" {
				return writeJSON(c.OutOrStdout(), "faults", faults)
			}
			var rows [][]string
			for _, f := range faults {
				rows = append(rows, []string{f.Name, orOff(f.Value), f.Takes, f.Does})
			}
			return writeTable(c.OutOrStdout(), []string{"FAULT", "NOW", "TAKES", "DOES"}, rows)
		},
	}
	a.formatFlag(c)
	return c
}

func orOff(v string) string {
	if v == "" {
		return "off"
	}
	return v
}
