package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"peerhub/hub/config"
	"peerhub/hub/control"
)

func configCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Check a config, or show the one in use", RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	c.AddCommand(a.reading(&cobra.Command{
		Use:   "check [FILE]",
		Short: "Report every mistake of a config, with its place and what would be right",
		Long: `Report every mistake of a config at once, with line, column, key, what was found and what
would be right. Files of accounts.d beside it are read, too. Nothing is touched. Exit code 1
when there is a mistake.`,
		Example: "  hubctl config check\n  hubctl config check ./hubd.yaml", Args: atMostOne("file"),
		RunE: func(_ *cobra.Command, args []string) error {
			path := a.config
			if len(args) > 0 {
				path = args[0]
			}
			return a.checkConfig(path)
		},
	}))
	c.AddCommand(a.reading(&cobra.Command{
		Use:   "show",
		Short: "Show every value in use and where it came from",
		Long: `Show every value that is in use and where it came from: a line of a file, the default, or the
instance's metadata. A running hubd is asked; without one, or for another file, it is read.`,
		Example: "  hubctl config show", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.showConfig(cmd) },
	}))
	return c
}

// mistake is one mistake in the answer of config check -o json.
type mistake struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Key    string `json:"key"`
	Found  string `json:"found"`
	Want   string `json:"want"`
}

func (a *app) checkConfig(path string) error {
	_, err := config.Load(path)
	list := config.Find(err)
	if err != nil && list == nil {
		return err
	}
	if a.format == "json" {
		out := struct {
			Schema   string    `json:"schema"`
			OK       bool      `json:"ok"`
			Mistakes []mistake `json:"mistakes"`
		}{control.Schema, err == nil, []mistake{}}
		for _, e := range list {
			out.Mistakes = append(out.Mistakes, mistake(e))
		}
		return errors.Join(a.printJSON(out), err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s: ok\n", path)
	return nil
}

func (a *app) showConfig(cmd *cobra.Command) error {
	ctx, cancel := a.limited(cmd.Context())
	defer cancel()
	shown, err := a.caller().Config(ctx)
	other := err == nil && cmd.Flags().Changed("config") && !sameFile(shown.Path, a.config)
	if errors.Is(err, control.ErrDown) || other {
		c, lerr := config.Load(a.config)
		if lerr != nil {
			return lerr
		}
		if !other {
			a.say("%v; shown is what the file says", err)
		}
		shown, err = control.Config{Schema: control.Schema, Path: c.Path}, nil
		for _, s := range c.Settings() {
			shown.Settings = append(shown.Settings, control.Setting(s))
		}
	}
	if err != nil {
		return err
	}
	for i := range shown.Settings {
		shown.Settings[i].Value = strings.TrimSpace(shown.Settings[i].Value)
	}
	if a.format == "json" {
		return a.printJSON(shown)
	}
	t := table{gives: 1, header: []string{"KEY", "VALUE", "FROM"}}
	for _, s := range shown.Settings {
		t.add(s.Key, orNone(s.Value, `""`), s.From)
	}
	a.print(t)
	return nil
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}
