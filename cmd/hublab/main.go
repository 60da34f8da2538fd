package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"peerhub/test/lab"
)

// Exit codes, as hubctl's.
const (
	exitFailed = 1
	exitUsage  = 64
)

func main() { os.Exit(run()) }

// run is main with an exit code.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	signal.Ignore(syscall.SIGPIPE) // a reader that closed its end: the write fails with EPIPE instead
	root := newRoot()
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil, errors.Is(err, syscall.EPIPE):
		return 0
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitFailed
	}
	fmt.Fprintln(os.Stderr, "hublab:", err)
	if errors.Is(err, lab.ErrNotUp) {
		fmt.Fprintln(os.Stderr, "hint: hublab up")
	}
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// usageError is a mistake in the command line.
type usageError struct{ error }

// app is what the commands share.
type app struct {
	prefix string
	format string // of tables: table or json
}

func newRoot() *cobra.Command {
	a := &app{}
	root := &cobra.Command{
		Use:           "hublab",
		Short:         "A company on one machine: office, laptops, hub, services, and an AWS that says why",
		SilenceErrors: true, SilenceUsage: true,
		// Without this an unknown command would print help and succeed.
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q; see hublab --help", args[0])}
			}
			return c.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	root.PersistentFlags().StringVar(&a.prefix, "prefix", lab.DefaultSpec().Prefix, "of the namespaces' names: one lab per prefix")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(a.up(), a.serve(), a.down(), a.status(), a.hosts(), a.exec(), a.env(), a.aws(),
		a.fault(), a.drops(), a.log(), a.unit(), a.replace(), a.recipe())
	return root
}

// dir is the run directory of the chosen lab.
func (a *app) dir() string { return lab.RunDir(a.prefix) }

func (a *app) dial() (*lab.Client, error) { return lab.Dial(a.dir()) }

// formatFlag adds -o table|json.
func (a *app) formatFlag(c *cobra.Command) {
	c.Flags().StringVarP(&a.format, "output", "o", "table", "table or json")
	c.PreRunE = func(*cobra.Command, []string) error {
		if a.format != "table" && a.format != "json" {
			return usageError{fmt.Errorf("output %q: want table or json", a.format)}
		}
		return nil
	}
}

// args makes cobra's complaints about arguments usage errors.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, a []string) error {
		if err := check(c, a); err != nil {
			return usageError{fmt.Errorf("%w; usage: %s", err, c.UseLine())}
		}
		return nil
	}
}

func say(w io.Writer, format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
