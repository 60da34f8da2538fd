package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"peerhub/test/ec2sim"
	"peerhub/test/lab"
)

// serve is the background process: it holds the lab until a signal ends it.
func (a *app) serve() *cobra.Command {
	return &cobra.Command{
		Use: "serve", Hidden: true, Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			var o order
			if err := json.NewDecoder(c.InOrStdin()).Decode(&o); err != nil {
				return usageError{fmt.Errorf("read the order on standard input: %w", err)}
			}
			l, err := lab.Start(c.Context(), o.Spec, lab.Options{
				WithoutHubd: o.WithoutHubd, Hubd: o.Hubd, HubdConfig: o.Config, OpenVPN: o.OpenVPN,
				Sim: ec2sim.Options{Throttle: o.Throttle}, Talk: os.Stderr,
			})
			if err != nil {
				return err
			}
			return errors.Join(l.ServeControl(c.Context()), l.Close())
		},
	}
}

func (a *app) down() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Remove the lab, or what a killed one left", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			err := lab.Down(a.dir())
			if errors.Is(err, lab.ErrNotUp) {
				say(c.ErrOrStderr(), "nothing to remove")
				return nil
			}
			return err
		},
	}
}
