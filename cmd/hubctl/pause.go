package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"peerhub/hub/control"
)

// placeFlags adds --routes and --kernel; the returned function lists what was chosen, none for all.
func placeFlags(c *cobra.Command, verb string) func() []control.Place {
	var routes, kernel bool
	c.Flags().BoolVar(&routes, "routes", false, verb+" VPC routes, and the accepting of peerings")
	c.Flags().BoolVar(&kernel, "kernel", false, verb+" kernel routes, rules and firewall")
	return func() []control.Place {
		var out []control.Place
		if kernel {
			out = append(out, control.PlaceKernel)
		}
		if routes {
			out = append(out, control.PlaceRoutes)
		}
		return out
	}
}

func pauseCommand(a *app) *cobra.Command {
	var length time.Duration
	var places func() []control.Place
	c := a.reading(&cobra.Command{
		Use:   "pause",
		Short: "Keep hubd from writing VPC routes, the kernel, or anything, also repairs",
		Long: `Keep hubd from writing until hubctl resume, or for a while: VPC routes, the kernel (routes, rules
and firewall), or without a flag everything. What is there stays as it is; what others change is
not repaired. A second pause leaves the first as it is where it says nothing. What OpenVPN pushes
is left alone only while both are paused. A pause outlives a restart of hubd. It does not keep a
sync --confirm from being put back: hubctl confirm does.`,
		Example: "  hubctl pause --for 1h\n  hubctl pause --kernel\n  hubctl resume",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("for") && length <= 0 {
				return usageError{errors.New("--for: want a time such as 1h")}
			}
			ctx, cancel := a.limited(cmd.Context())
			defer cancel()
			call := a.caller()
			p, err := call.Pause(ctx, control.PauseRequest{Seconds: length.Seconds(), Places: places()})
			if err != nil {
				return err
			}
			a.sayWaiting(ctx, call)
			return a.showPaused(p)
		},
	})
	places = placeFlags(c, "leave alone")
	c.Flags().DurationVar(&length, "for", 0, "how long, such as 1h; without it until hubctl resume")
	return c
}

// sayWaiting warns that a sync which waits to be confirmed is put back in spite of the pause. The
// pause has been made: when hubd does not say whether one waits, nothing is lost.
func (a *app) sayWaiting(ctx context.Context, call *control.Caller) {
	if s, err := call.Status(ctx); err == nil && s.Confirm != nil {
		a.say("hubctl: the sync of %s waits for hubctl confirm: unless it comes, that sync is put back at %s in spite of this pause, and everything is paused",
			s.Confirm.By, s.Confirm.Until.Local().Format(time.TimeOnly))
	}
}

// showPaused says what is paused after a pause or a resume.
func (a *app) showPaused(p control.Paused) error {
	if a.format == "json" {
		return a.printJSON(p)
	}
	if p.Pause == nil {
		fmt.Fprintln(a.out, "resumed")
	}
	for _, one := range p.Pauses {
		fmt.Fprintf(a.out, "paused%s %s\n", places(one), ending(one))
	}
	return nil
}

// places names what a pause is about, unless it is everything.
func places(p control.Pause) string {
	if len(p.Places) == 0 || len(p.Places) == len(control.Places()) {
		return ""
	}
	words := make([]string, len(p.Places))
	for i, place := range p.Places {
		words[i] = string(place)
	}
	return " " + strings.Join(words, ", ")
}

func ending(p control.Pause) string {
	if p.Until == nil {
		return "until hubctl resume"
	}
	return "until " + when(*p.Until)
}
