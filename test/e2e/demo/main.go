// Demo tells the story of the README with proof: a lab comes up, the office is refused
// before hubd runs and reaches the services after, accounts come and go. Each claim is
// printed with the command that proves it, its raw output, and ok; demo.json holds the
// same. The proof is made by curl, ping, nft, ip, nc and aws, not by programs of ours.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	keep := flag.Bool("keep", false, "leave the lab up")
	bin := flag.String("bin", "bin", "folder of hubd, hubctl and hublab")
	out := flag.String("o", "demo.json", "where to write the claims")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *bin, *out, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, out string, keep bool) error {
	if os.Geteuid() != 0 {
		return errors.New("not root: the demo makes network namespaces; run make demo as root")
	}
	s := &story{ctx: ctx, bin: bin, start: time.Now()}
	err := s.tell()
	if werr := s.write(out); werr != nil {
		err = errors.Join(err, werr)
	}
	if !keep {
		// A context of its own: an interrupted demo cleans up too.
		s.ctx = context.WithoutCancel(ctx)
		if _, code := s.exec(s.lab("down")); code != 0 {
			err = errors.Join(err, errors.New("hublab down failed; make demo-down tries again"))
		}
	} else {
		fmt.Printf("\nThe lab is up: %s/hublab --help. make demo-down removes it.\n", bin)
	}
	if err != nil {
		return err
	}
	bad := 0
	for _, c := range s.claims {
		if !c.OK {
			bad++
		}
	}
	fmt.Printf("\n%d claims, %d shown, %d not, %.0f s\n", len(s.claims), len(s.claims)-bad, bad, time.Since(s.start).Seconds())
	if bad > 0 {
		return fmt.Errorf("%d claims could not be shown", bad)
	}
	return nil
}

// write puts the claims into a file.
func (s *story) write(path string) error {
	text, err := json.MarshalIndent(s.claims, "", "  ")
	if err != nil {
		return fmt.Errorf("write the claims: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the claims: %w", err)
	}
	return nil
}
