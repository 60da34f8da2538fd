package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

var errUnitName = errors.New("a verb needs the name of a unit")

func (a *app) recipe() *cobra.Command {
	var apply bool
	var without int
	var aws string
	c := &cobra.Command{
		Use: "recipe", Short: "The hub by hand: print the lines, or type them",
		Example: `  hublab recipe
  hublab recipe --apply
  hublab recipe --apply --without 2   and see what is missing in hublab drops -f`,
		Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			info, err := client.Info(c.Context())
			if err != nil {
				return err
			}
			lines := info.Spec.Recipe(info.Dir)
			if without < 0 || without > len(lines) {
				return usageError{fmt.Errorf("no line %d; there are %d", without, len(lines))}
			}
			w := c.OutOrStdout()
			if !apply {
				if a.format == "json" {
					return writeJSON(w, "recipe", lines)
				}
				for _, l := range lines {
					say(w, "%s\n", l)
				}
				return nil
			}
			r := client.Runner(c.Context(), info.Spec)
			r.AWS = aws
			for _, l := range lines {
				if l.N == without {
					say(c.ErrOrStderr(), "%2d. left out: %s", l.N, l.Shell)
					continue
				}
				say(c.ErrOrStderr(), "%2d. %s", l.N, l.Shell)
				if err := r.Do(c.Context(), l); err != nil {
					return err
				}
			}
			return nil
		},
	}
	a.formatFlag(c)
	c.Flags().BoolVar(&apply, "apply", false, "type the lines")
	c.Flags().IntVar(&without, "without", 0, "leave out the line of that number")
	c.Flags().StringVar(&aws, "aws", "aws", "the aws program of its lines")
	return c
}
