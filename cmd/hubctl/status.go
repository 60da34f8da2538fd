package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"peerhub/hub"
	"peerhub/hub/control"
)

func statusCommand(a *app) *cobra.Command {
	var check string
	c := a.reading(&cobra.Command{
		Use:   "status",
		Short: "Show how everything stands",
		Long: `Show how everything stands: the hub, its spokes, who is connected, and every problem with
what to do about it. When hubd does not run, its last report is shown, and as root what the
kernel still does; the exit code is 1 then.

--check answers with the exit code alone, 0 or 2:
  live    hubd runs and answers
  ready   and has made a pass of what AWS says, not too long ago
  clean   and nothing is pending, held, paused or waits for confirm, and no problem is ours to
          end (see the exit codes in hubctl --help)`,
		Example: `  hubctl status
  hubctl status -o json | jq -r '.spokes[] | select(.works | not) | .name'
  hubctl status --check clean || page-somebody`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := a.limited(cmd.Context())
			defer cancel()
			if check != "" {
				return a.check(ctx, check)
			}
			s, err := a.caller().Status(ctx)
			if errors.Is(err, control.ErrDown) {
				return a.offline(ctx, err)
			}
			if err != nil {
				return err
			}
			return a.showStatus(s)
		},
	})
	c.Flags().StringVar(&check, "check", "", "live, ready or clean: answer with the exit code")
	return c
}

// check answers with an error: nil is yes, errNo is no.
func (a *app) check(ctx context.Context, level string) error {
	if level != "live" && level != "ready" && level != "clean" {
		return usageError{fmt.Errorf("--check %s: want live, ready or clean", level)}
	}
	s, err := a.caller().Status(ctx)
	reason := ""
	switch {
	case errors.Is(err, control.ErrRefused):
		return err // whether it lives is not for us to see
	case err != nil:
		reason = err.Error()
	case level == "live":
	case !s.Ready:
		reason = "no pass has been made of what AWS says"
	case s.LastPass == nil || time.Since(s.LastPass.At) > readyWithin(s):
		reason = "the last pass is too long ago"
	case level == "ready":
	default:
		reason = s.Unclean()
	}
	if reason != "" {
		a.say("not %s: %s", level, reason)
		return errNo
	}
	return nil
}

func readyWithin(s control.Status) time.Duration {
	return max(time.Duration(3*s.Poll*float64(time.Second)), time.Minute)
}

func (a *app) showStatus(s control.Status) error {
	if a.format == "json" {
		return a.printJSON(s)
	}
	a.headline(s)
	if len(s.Spokes) > 0 || s.HubVPC != nil {
		fmt.Fprintln(a.out)
		a.print(spokeTable(s))
	}
	problems := s.Problems
	if s.Paused != nil { // said above already, once
		problems = slices.DeleteFunc(slices.Clone(problems), func(p hub.Problem) bool { return p.Code == hub.Paused })
	}
	a.problems(problems)
	a.held(s.Held)
	return nil
}

// headline is the hub in three lines, and what is out of the ordinary.
func (a *app) headline(s control.Status) {
	place := []string{a.paint(bold, orNone(s.Hub.Name, "(hub not known yet)"))}
	for _, p := range []string{address(s.Hub), strings.TrimSpace(fmt.Sprintf("%s %s", s.Hub.VPC, s.Hub.Region))} {
		if p != "" {
			place = append(place, p)
		}
	}
	up := "not running"
	if s.UpSince != nil {
		up = "up " + span(time.Since(*s.UpSince))
	}
	first, second := strings.Join(place, "  "), fmt.Sprintf("hubd %s, %s, mode %s", s.Version, up, s.Mode)
	gap := "   "
	if len([]rune(first+gap+second)) > width {
		gap = "\n"
	}
	fmt.Fprintln(a.out, first+gap+second)
	people, offices := 0, 0
	for _, c := range s.Clients {
		if c.Site {
			offices++
		} else {
			people++
		}
	}
	crowd := fmt.Sprintf("%d people", people)
	if people == 1 {
		crowd = "1 person"
	}
	fmt.Fprintf(a.out, "%s. %s. %s and %s connected.\n", s.Working(time.Local), plural(len(s.Problems), "problem"), crowd, plural(offices, "office"))
	fmt.Fprintln(a.out, lastPass(s))
	if s.ModeNote != nil {
		wrap(a.out, a.paint(yellow, "NOTE")+"  ", "      ", *s.ModeNote)
	}
	if s.StateNote != nil {
		wrap(a.out, a.paint(yellow, "NOTE")+"  ", "      ", "hubd began with a new state: "+*s.StateNote)
	}
	if s.ConfigNote != nil {
		wrap(a.out, a.paint(yellow, "NOTE")+"  ", "      ", "the config on disk has mistakes and is not in force:")
		for line := range strings.Lines(*s.ConfigNote) {
			wrap(a.out, "      ", "        ", line)
		}
	}
	pauses := s.Pauses
	if len(pauses) == 0 && s.Paused != nil { // of an older hubd
		pauses = []control.Pause{*s.Paused}
	}
	for _, p := range pauses {
		fmt.Fprintf(a.out, "%s%s by %s since %s, %s\n", a.paint(yellow, "PAUSED"), places(p), p.By, when(p.Since), ending(p))
		if p.Why != nil {
			wrap(a.out, "      ", "      ", *p.Why)
		}
	}
	if w := s.Confirm; w != nil && w.Undoing {
		fmt.Fprintf(a.out, "%s the sync of %s was not confirmed by %s: it is being put back\n", a.paint(yellow, "CONFIRM"), w.By, w.Until.Local().Format(time.TimeOnly))
	} else if w != nil {
		fmt.Fprintf(a.out, "%s the sync of %s is put back at %s unless: hubctl confirm\n", a.paint(yellow, "CONFIRM"), w.By, w.Until.Local().Format(time.TimeOnly))
	}
	for _, src := range s.Sources {
		if !src.Fresh {
			at := "never"
			if src.At != nil {
				at = span(time.Since(*src.At)) + " ago"
			}
			wrap(a.out, a.paint(yellow, "STALE")+" ", "      ", fmt.Sprintf("%s %s: last complete answer %s; %s", src.Account, src.Region, at, cut(deref(src.Error), reason)))
		}
	}
}

func lastPass(s control.Status) string {
	if s.LastPass == nil {
		return "no pass yet"
	}
	text := fmt.Sprintf("last pass %s ago", span(time.Since(s.LastPass.At)))
	switch {
	case s.LastPass.Pending > 0:
		text += ", " + plural(s.LastPass.Pending, "change") + " pending"
	case s.LastPass.Changes > 0:
		text += ", " + plural(s.LastPass.Changes, "change") + " made"
	default:
		text += ", nothing to change"
	}
	if s.LastChange != nil {
		text += fmt.Sprintf("; last change %s %s", when(s.LastChange.At), s.LastChange.What)
	}
	return text
}

func address(h control.Hub) string {
	if h.Address == nil {
		return ""
	}
	return h.Address.String()
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func orNone(s, none string) string {
	if s == "" {
		return none
	}
	return s
}

// problems lists problems with what to do about each.
func (a *app) problems(list []hub.Problem) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(a.out, "\n%s\n", a.paint(bold, "PROBLEMS"))
	subject, code := 0, 0
	for _, p := range list {
		subject, code = max(subject, len(p.Subject)), max(code, len(p.Code))
	}
	subject = min(subject, 24)
	seen := map[hub.Code]int{}
	for _, p := range list {
		if seen[p.Code]++; seen[p.Code] > alike {
			continue
		}
		head := fmt.Sprintf("  %-*s  %-*s  ", subject, cutSubject(p.Subject, subject), code, p.Code)
		rest := strings.Repeat(" ", len([]rune(head)))
		wrap(a.out, head, rest, p.Detail)
		switch {
		case strings.Contains(p.Mend, " '"): // a quoted word, so a command for a shell, to be copied whole
			fmt.Fprintf(a.out, "    mend: %s\n", p.Mend)
		case p.Mend != "":
			wrap(a.out, rest+"mend: ", rest+"      ", p.Mend)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(seen)) {
		if n := seen[code] - alike; n > 0 {
			fmt.Fprintf(a.out, "  and %d more %s: hubctl status -o json\n", n, code)
		}
	}
}

// cutSubject shortens a subject; of a path the end tells more.
func cutSubject(s string, n int) string {
	if r := []rune(s); len(r) > n && strings.HasPrefix(s, "/") {
		return "…" + string(r[len(r)-n+1:])
	}
	return cut(s, n)
}

// reason is how much of AWS's words stands above the table; all of them are in -o json.
const reason = 160

// alike is how many problems of one code are shown.
const alike = 8

// held lists what is left alone on purpose.
func (a *app) held(list []hub.Held) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(a.out, "\n%s\n", a.paint(bold, "HELD"))
	for _, h := range list {
		wrap(a.out, "  "+h.Unit+"  ", "    ", h.Reason)
	}
}
