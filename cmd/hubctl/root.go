package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func rootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "hubctl",
		Short: "Ask and tell the hubd of this host, and add spokes",
		Long: `hubctl asks and tells the hubd of this host, and adds spokes.

exit codes: 0 done, or the answer is yes; 1 could not be done or answered; 2 the answer is no:
changes are pending, a check fails, something is left over; 64 wrong usage. A problem that only
somebody else can end and that touches no spoke, such as a stranger's pending request
(PEERING_PENDING, PEERING_ENDED, NOT_LISTED, OTHER_SIDE), is shown and makes nothing fail`,
		Example: `  hubctl status                  how everything stands
  hubctl plan                    what a pass would change now
  hubctl add-spoke --account 444444444444 --vpc vpc-0abc1234 --name search --wait`,
		SilenceErrors: true, SilenceUsage: true, SuggestionsMinimumDistance: 2,
		Args: noArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.timeout <= 0 {
				return usageError{fmt.Errorf("--timeout %s: want more than none", a.timeout)}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(a.out)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := root.PersistentFlags()
	f.StringVar(&a.socket, "socket", "", "hubd's control socket (default: the config's, else "+defaultSocket+")")
	f.StringVar(&a.config, "config", defaultConfig, "hubd's config, for what is read from it")
	f.DurationVar(&a.timeout, "timeout", time.Minute, "how long to wait for hubd")
	for _, c := range []func(*app) *cobra.Command{
		statusCommand, planCommand, syncCommand, adoptCommand, confirmCommand, historyCommand, pauseCommand, resumeCommand, spokesCommand,
		addSpokeCommand, clientsCommand, configCommand, exportCommand, versionCommand,
	} {
		root.AddCommand(c(a))
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion":
			c.Args, c.RunE = noArgs, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		case "help":
			c.Run, c.RunE = nil, helpOn
			continue
		}
		if c.Args == nil {
			c.Args = noArgs
		}
	}
	return root
}

// helpOn shows the help of a command; cobra's own finds nothing wrong with one that is not there.
func helpOn(cmd *cobra.Command, args []string) error {
	about, rest, err := cmd.Root().Find(args)
	switch {
	case err != nil:
		return usageError{err}
	case len(rest) > 0:
		return noArgs(about, rest)
	}
	return about.Help()
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasSubCommands() {
		text := fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0])
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			text += fmt.Sprintf("; did you mean %s?", near[0])
		}
		return usageError{errors.New(text)}
	}
	return usageError{fmt.Errorf("%s takes no argument, found %q", cmd.CommandPath(), args[0])}
}

func atMostOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usageError{fmt.Errorf("%s takes one %s, found %d", cmd.CommandPath(), what, len(args))}
		}
		return nil
	}
}

// reading adds -o to a command that prints data.
func (a *app) reading(c *cobra.Command) *cobra.Command {
	c.Flags().StringVarP(&a.format, "output", "o", "table", "table or json")
	inner := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if a.format != "table" && a.format != "json" {
			return usageError{fmt.Errorf("-o %s: want table or json", a.format)}
		}
		return inner(cmd, args)
	}
	return c
}
