package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"peerhub/hub/config"
)

// version is set by the build.
var version = "dev"

// Exit codes of the contract.
const (
	exitDone   = 0
	exitFailed = 1
	exitNo     = 2 // changes are pending, or not all could be done
	exitUsage  = 64
)

// flags are the command line.
type flags struct {
	config                                  string
	once, dryRun, cleanup, closed, version_ bool
	keepRoutes                              bool
}

// gcPercent trades processor time, of which hubd needs hardly any, for memory: 125 spokes
// leave 5 MB of live data and make twice that of garbage in each survey.
const gcPercent = 25

func main() {
	// A closed stdout or stderr would end the process in the middle of what it does.
	signal.Ignore(syscall.SIGPIPE)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	out := &output{w: os.Stdout}
	code := run(os.Args[1:], out, os.Stderr)
	if out.err != nil {
		complain(os.Stderr, out.err)
		code = exitFailed
	}
	os.Exit(code)
}

func run(args []string, stdout, stderr io.Writer) int {
	f, code, ok := parseFlags(args, stdout, stderr)
	if !ok {
		return code
	}
	if f.version_ {
		fmt.Fprintf(stdout, "hubd %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return exitDone
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	code, err := dispatch(ctx, f, stdout, stderr)
	if err != nil {
		complain(stderr, err)
		return exitFailed
	}
	return code
}

func dispatch(ctx context.Context, f flags, stdout, stderr io.Writer) (int, error) {
	if f.closed {
		return exitDone, failClosed(ctx, f.config, stderr)
	}
	c, err := config.Load(f.config)
	if err != nil {
		return exitFailed, err
	}
	if err := privileged(); err != nil {
		return exitFailed, err
	}
	if !f.dryRun {
		h, note, err := takeHost("/proc")
		if err != nil {
			return exitFailed, err
		}
		defer h.release()
		if note != "" {
			fmt.Fprintln(stderr, "hubd:", note)
		}
	}
	if !f.cleanup {
		if err := cutShort(c); err != nil {
			return exitFailed, err
		}
	}
	switch {
	case f.cleanup:
		return cleanup(ctx, c, f.dryRun, f.keepRoutes, stdout, stderr)
	case f.once:
		return once(ctx, c, f.dryRun, stdout, stderr)
	}
	return exitDone, serve(ctx, c, f.config, stderr)
}

func parseFlags(args []string, stdout, stderr io.Writer) (f flags, code int, ok bool) {
	set := flag.NewFlagSet("hubd", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&f.config, "config", config.DefaultPath, "")
	set.BoolVar(&f.once, "once", false, "")
	set.BoolVar(&f.dryRun, "dry-run", false, "")
	set.BoolVar(&f.cleanup, "cleanup", false, "")
	set.BoolVar(&f.keepRoutes, "keep-vpc-routes", false, "")
	set.BoolVar(&f.closed, "fail-closed", false, "")
	set.BoolVar(&f.version_, "version", false, "")
	err := set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return f, exitDone, false
	}
	if err == nil {
		err = f.check(set.Args())
	}
	if err != nil {
		fmt.Fprintf(stderr, "hubd: %v\nhubd --help shows the flags\n", err)
		return f, exitUsage, false
	}
	return f, exitDone, true
}

func (f flags) check(rest []string) error {
	kinds := 0
	for _, k := range []bool{f.once, f.cleanup, f.closed} {
		if k {
			kinds++
		}
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected %q: hubd takes flags only", rest[0])
	case kinds > 1:
		return errors.New("--once, --cleanup and --fail-closed exclude each other")
	case f.keepRoutes && !f.cleanup:
		return errors.New("--keep-vpc-routes goes with --cleanup")
	case f.dryRun && !f.once && !f.cleanup:
		return errors.New("--dry-run goes with --once or --cleanup; a running hubd is asked by hubctl plan")
	}
	return nil
}

const usage = `hubd keeps a VPN reachable into every VPC that is peered with the hub's.

usage: hubd [--config FILE] [--once | --cleanup [--keep-vpc-routes] | --fail-closed] [--dry-run] [--version]

  --config FILE   the config (default ` + config.DefaultPath + `)
  --once          one survey and one pass, then the end; exit 2 when something is left to do
  --dry-run       with --once or --cleanup: say what would change, change nothing
  --cleanup       remove exactly what is ours; what cannot be removed is listed as commands
  --keep-vpc-routes
                  with --cleanup: VPC routes stay and are not ours any more; for who leaves with hubctl export
  --fail-closed   set up the rules that keep tunnel traffic in, and forwarding; for the boot
  --version       print the version

signals: TERM and INT end hubd, the data path stays up; HUP reads the config anew.

examples:
  hubd --once --dry-run      what would hubd do here?
  hubd --cleanup --dry-run   what would be removed?
`
