package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"peerhub/hub/control"
)

func clientsCommand(a *app) *cobra.Command {
	return a.reading(&cobra.Command{
		Use:   "clients",
		Short: "List who is connected, and who lacks which route",
		Long: `List who is connected, from OpenVPN's status, and which reachable prefixes each was not given:
one that connected before a spoke came gets its route at the next connect, unless an
aggregate covers it.`,
		Example: "  hubctl clients\n  hubctl clients -o json | jq -r '.clients[] | select(.lacks != []) | .name'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.limited(cmd.Context())
			defer cancel()
			s, err := a.caller().Status(ctx)
			if err != nil {
				return err
			}
			if a.format == "json" {
				return a.printJSON(control.Clients{Schema: control.Schema, Clients: s.Clients})
			}
			t := table{header: []string{"CLIENT", "SERVER", "ADDRESS", "FROM", "SINCE", "LACKS"}}
			for _, c := range s.Clients {
				t.add(clientCells(c)...)
			}
			a.print(t)
			for _, p := range s.Problems {
				if p.Code == "STATUS_UNREAD" {
					a.say("%s: %s; %s", p.Subject, p.Detail, p.Mend)
				}
			}
			return nil
		},
	})
}

func clientCells(c control.Client) []string {
	name, address, since := c.Name, "-", "-"
	if c.Site {
		name += " (office)"
	}
	if c.Address != nil {
		address = c.Address.String()
	}
	if c.Since != nil {
		since = span(time.Since(*c.Since))
	}
	lacks := "-"
	if len(c.Lacks) > 0 {
		lacks = fmt.Sprintf("%s !", join(c.Lacks))
	}
	return []string{name, c.Server, address, c.Real, since, lacks}
}
