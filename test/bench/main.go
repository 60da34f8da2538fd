package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	sabotage := flag.Bool("sabotage", false, "take each bar's defence or optimisation away; every bar must be missed")
	only := flag.String("only", "", "run the bars whose name matches this regular expression")
	out := flag.String("o", "bench.json", "where to write the results")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	if err := run(ctx, *sabotage, *only, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, sabotage bool, only, out string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("not root: the bench makes network namespaces; run it as root")
	}
	pick, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only %q: %w", only, err)
	}
	if err := sweep(ctx); err != nil {
		return err
	}
	if err := prefer(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: others on this machine will disturb more:", err)
	}
	var all []Result
	for _, b := range bars() {
		if !pick.MatchString(b.name) {
			continue
		}
		start := time.Now()
		fmt.Printf("== %s\n", b.name)
		results, err := b.run(ctx, sabotage)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		under := load()
		for i := range results {
			results[i].Note = join(results[i].Note, under)
			results[i].print(os.Stdout)
		}
		fmt.Printf("   took %.0f s\n", time.Since(start).Seconds())
		all = append(all, results...)
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	if err := os.WriteFile(out, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return verdict(all, sabotage)
}

// prefer has the kernel run this process, and what it starts from here on, before
// everybody else: what is measured is not to be how busy the machine is with other things.
func prefer() error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("list the threads: %w", err)
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		const first = -20
		if err := unix.Setpriority(unix.PRIO_PROCESS, id, first); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("raise the priority: %w", err)
		}
	}
	return nil
}

// load says how busy the machine was in the last minute, the bench included.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "load unknown"
	}
	one, _, _ := strings.Cut(string(b), " ")
	return fmt.Sprintf("load %s on %d processors", one, runtime.NumCPU())
}

// verdict is nil when every bar is met, or with sabotage when every bar is missed.
func verdict(all []Result, sabotage bool) error {
	wrong := 0
	for _, r := range all {
		if r.OK == sabotage {
			wrong++
		}
	}
	switch {
	case wrong == 0 && sabotage:
		fmt.Printf("sabotage: all %d bars are missed, as they must be\n", len(all))
	case wrong == 0:
		fmt.Printf("all %d bars are met\n", len(all))
	case sabotage:
		return fmt.Errorf("%d of %d bars are met although their defence is off: they measure nothing", wrong, len(all))
	default:
		return fmt.Errorf("%d of %d bars are missed", wrong, len(all))
	}
	return nil
}
