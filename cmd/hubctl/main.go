package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"peerhub/hub/config"
)

// version is set by the build.
var version = "dev"

// Exit codes of the contract.
const (
	exitDone   = 0
	exitFailed = 1
	exitNo     = 2
	exitUsage  = 64
)

// errNo ends a command whose answer is no, which has been given already.
var errNo = errors.New("no")

// usageError is a command line that cannot be meant.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	// A reader that has seen enough is no error: writes then fail with EPIPE, which is dropped.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	a := newApp(os.Stdin, os.Stdout, os.Stderr)
	root := rootCommand(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if ferr := a.flush(); err == nil {
		err = ferr
	}
	return a.exit(err)
}

// exit says what went wrong, and gives the code.
func (a *app) exit(err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errNo):
		return exitNo
	case errors.Is(err, errSaid):
		return exitFailed
	case errors.As(err, &usage):
		fmt.Fprintf(a.stderr, "hubctl: %v\nhubctl --help shows the commands\n", err)
		return exitUsage
	}
	if list := config.Find(err); list != nil {
		fmt.Fprintln(a.stderr, list)
		return exitFailed
	}
	fmt.Fprintf(a.stderr, "hubctl: %s\n", strings.Join(strings.Fields(err.Error()), " "))
	return exitFailed
}
