package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"peerhub/hub"
	"peerhub/hub/control"
	"peerhub/hub/state"
)

// shownChanges is how many changes of an entry the table shows.
const shownChanges = 12

func historyCommand(a *app) *cobra.Command {
	var q hub.HistoryQuery
	var since string
	c := a.reading(&cobra.Command{
		Use:   "history",
		Short: "Show what hubd changed, when and why",
		Long: `Show passes and repairs that changed something, the newest first: when, what they were made for
and who asked for it, what was changed, and which problems appeared or cleared. hubd keeps the
last 1,000. When it does not run, root reads them from the state directory; the exit code is 1 then.`,
		Example: "  hubctl history -n 5\n  hubctl history --since 24h --spoke billing\n  hubctl history --since 2026-11-20",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.Limit < 0 {
				return usageError{fmt.Errorf("-n %d: want a number, 0 for all", q.Limit)}
			}
			var err error
			if q.Since, err = moment(since); err != nil {
				return usageError{fmt.Errorf("--since %s: %w", since, err)}
			}
			ctx, cancel := a.limited(cmd.Context())
			defer cancel()
			h, err := a.caller().History(ctx, q)
			if errors.Is(err, control.ErrDown) {
				return a.offlineHistory(ctx, q, err)
			}
			if err != nil {
				return err
			}
			return a.showHistory(h)
		},
	})
	c.Flags().IntVarP(&q.Limit, "number", "n", 20, "how many at most, 0 for all")
	c.Flags().StringVar(&since, "since", "", "only since: a length of time such as 24h, a date, or a date and time")
	c.Flags().StringVar(&q.Spoke, "spoke", "", "only what touched this spoke, by name")
	return c
}

// moment reads a length of time before now, or a time; "" is the zero time.
func moment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return time.Now().Add(-d), nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("want a time such as 24h, 2026-11-20 or \"2026-11-20 14:05\"")
}

// offlineHistory reads the history of a hubd that is gone.
func (a *app) offlineHistory(ctx context.Context, q hub.HistoryQuery, cause error) error {
	entries, err := state.ReadHistory(ctx, a.stateDir(), q)
	if err != nil {
		return fmt.Errorf("%w; %w", cause, whoMay(err))
	}
	if entries == nil {
		entries = []hub.HistoryEntry{}
	}
	err = a.showHistory(control.History{Schema: control.Schema, Entries: entries})
	a.say("hubctl: %v", cause)
	return errors.Join(err, errSaid)
}

func (a *app) showHistory(h control.History) error {
	if a.format == "json" {
		return a.printJSON(h)
	}
	if len(h.Entries) == 0 {
		fmt.Fprintln(a.out, "nothing was changed")
	}
	for _, e := range h.Entries {
		a.showEntry(e)
	}
	return nil
}

func (a *app) showEntry(e hub.HistoryEntry) {
	head := fmt.Sprintf("%s  ", e.At.Local().Format(time.DateTime))
	wrap(a.out, a.paint(bold, head), "                     ", why(e))
	for i, c := range e.Changes {
		if i == shownChanges {
			fmt.Fprintf(a.out, "  and %s more: hubctl history -o json\n", plural(e.Count-i, "change"))
			break
		}
		sign := map[hub.Verb]string{hub.VerbAdd: "+", hub.VerbRemove: a.paint(red, "-"), hub.VerbReplace: "~"}[c.Verb]
		spoke := ""
		if c.Spoke != nil {
			spoke = "  (" + *c.Spoke + ")"
		}
		wrap(a.out, fmt.Sprintf("  %s %-8s ", sign, c.Plane), "               ", c.Object+"  "+c.Detail+spoke)
	}
	for _, p := range e.Appeared {
		wrap(a.out, fmt.Sprintf("  ! %s %s  ", p.Subject, p.Code), "      ", p.Detail)
	}
	for _, p := range e.Cleared {
		wrap(a.out, fmt.Sprintf("  * %s %s  ", p.Subject, p.Code), "      ", "is over")
	}
	if e.Error != nil {
		wrap(a.out, "  ! ", "    ", *e.Error)
	}
}

// why says what an entry was made for, and how much it was.
func why(e hub.HistoryEntry) string {
	words := make([]string, len(e.Causes))
	for i, c := range e.Causes {
		words[i] = string(c.Trigger)
		if c.By != nil {
			words[i] += " by " + *c.By
		}
	}
	text := strings.Join(words, ", ")
	if e.Plane != nil {
		text = fmt.Sprintf("repair of %s after somebody else's write", *e.Plane)
		if e.Times > 1 {
			text += fmt.Sprintf(", %d times until %s", e.Times, e.Last.Local().Format(time.TimeOnly))
		}
	}
	return fmt.Sprintf("%s: %s, mode %s", text, plural(e.Count, "change"), e.Mode)
}
