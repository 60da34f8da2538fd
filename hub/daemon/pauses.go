package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"peerhub/hub"
	"peerhub/hub/control"
)

// pauses are the places that are left alone, each with its pause. A set of them is never
// changed, only replaced.
type pauses map[control.Place]control.Pause

// with returns p with the pause in force for places.
func (p pauses) with(pause control.Pause, places []control.Place) pauses {
	out := pauses{}
	maps.Copy(out, p)
	for _, place := range places {
		out[place] = pause
	}
	return out
}

// without returns p with the pauses of places ended.
func (p pauses) without(places []control.Place) pauses {
	out := pauses{}
	for place, pause := range p {
		if !slices.Contains(places, place) {
			out[place] = pause
		}
	}
	return out
}

// ended are the places whose pause is over.
func (p pauses) ended(now time.Time) []control.Place {
	var out []control.Place
	for place, pause := range p {
		if pause.Until != nil && !now.Before(*pause.Until) {
			out = append(out, place)
		}
	}
	return out
}

// planes are the planes that are not written.
func (p pauses) planes() []hub.PlaneName {
	_, kernel := p[control.PlaceKernel]
	_, routes := p[control.PlaceRoutes]
	var out []hub.PlaneName
	if kernel {
		out = append(out, hub.PlaneKRoute, hub.PlaneMasq)
	}
	if routes {
		out = append(out, hub.PlaneVPCRoute)
	}
	if kernel && routes {
		out = append(out, hub.PlaneVPNConf)
	}
	return out
}

// list is one pause for each word of an operator, sorted by place.
func (p pauses) list() []control.Pause {
	out := []control.Pause{}
	for _, place := range control.Places() {
		pause, ok := p[place]
		if !ok {
			continue
		}
		if n := len(out); n > 0 && sameWord(out[n-1], pause) {
			out = out[:0] // both at once
			pause.Places, pause.Planes = control.Places(), p.planes()
		} else {
			pause.Places, pause.Planes = []control.Place{place}, pauses{place: pause}.planes()
		}
		out = append(out, pause)
	}
	return out
}

func sameWord(a, b control.Pause) bool {
	same := func(x, y *time.Time) bool { return x == y || x != nil && y != nil && x.Equal(*y) }
	return a.Since.Equal(b.Since) && a.By == b.By && same(a.Until, b.Until)
}

// merged is all pauses as one, nil when there is none: from the first's beginning to the last's end.
func (p pauses) merged() *control.Pause {
	list := p.list()
	if len(list) == 0 {
		return nil
	}
	out := list[0]
	for _, next := range list[1:] {
		if next.Since.Before(out.Since) {
			out.Since = next.Since
		}
		if next.Until == nil || out.Until != nil && next.Until.After(*out.Until) {
			out.Until = next.Until
		}
		if next.By != out.By {
			out.By += ", " + next.By
		}
		if out.Why == nil {
			out.Why = next.Why
		}
	}
	out.Places, out.Planes = slices.Sorted(maps.Keys(p)), p.planes()
	return &out
}

// all reports whether nothing at all is written.
func (p pauses) all() bool { return len(p) == len(control.Places()) }

// refusal says what a pause keeps from being done, and the command that ends just what is paused.
func (p pauses) refusal() error {
	word := p.merged()
	resume := "hubctl resume"
	if !p.all() {
		for _, place := range word.Places {
			resume += " --" + string(place)
		}
	}
	return fmt.Errorf("paused by %s since %s: %s comes first", word.By, word.Since.Format(time.RFC3339), resume)
}

// problems makes one problem of each pause, in place of those of each plane.
func (p pauses) problems(list []hub.Problem, rep hub.Report) []hub.Problem {
	out := slices.DeleteFunc(slices.Clone(list), func(p hub.Problem) bool { return p.Code == hub.Paused })
	for _, pause := range p.list() {
		waiting := 0
		for _, plane := range rep.Planes {
			if slices.Contains(pause.Planes, plane.Plane) {
				waiting += len(plane.Pending)
			}
		}
		subject, what, mend := "hubd", "nothing is written", hub.Mend(hub.Paused)
		if len(pause.Places) == 1 {
			subject, mend = string(pause.Places[0]), mend+" --"+string(pause.Places[0])
			what = map[control.Place]string{control.PlaceKernel: "kernel routes, rules and firewall are not written",
				control.PlaceRoutes: "VPC routes are not written"}[pause.Places[0]]
		}
		detail := fmt.Sprintf("%s: %d changes wait", what, waiting)
		if waiting == 1 {
			detail = what + ": 1 change waits"
		}
		if pause.Why != nil {
			detail += "; " + *pause.Why
		}
		out = append(out, hub.Problem{Code: hub.Paused, Subject: subject, Detail: detail, Mend: mend})
	}
	return out
}

// inForce are the pauses in force.
func (d *Daemon) inForce() pauses {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.situation.pauses
}

func (d *Daemon) loadPauses() error {
	note, err := d.opts.Notes.Note(notePause)
	if errors.Is(err, ErrNotesBroken) {
		return nil // loadCareful keeps still because of it
	}
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	if note == "" {
		return nil
	}
	var all pauses
	if err := json.Unmarshal([]byte(note), &all); err == nil {
		d.situation.pauses = all
		return nil
	}
	var one control.Pause // as an older hubd noted it
	if err := json.Unmarshal([]byte(note), &one); err != nil {
		// A pause nobody can read must not hold for ever, nor be forgotten in silence.
		d.opts.Log.Warn().Str(keyError, err.Error()).Msg("the remembered pause cannot be read, going on without it")
		return nil
	}
	d.situation.pauses = pauses{}.with(one, control.Places())
	return nil
}

// setPauses changes the pauses in force, durably, and returns them.
func (d *Daemon) setPauses(change func(pauses) pauses) (pauses, error) {
	d.pausing.Lock()
	defer d.pausing.Unlock()
	return d.keepPauses(change(d.inForce()))
}

// keepPauses is setPauses for who holds d.pausing.
func (d *Daemon) keepPauses(p pauses) (pauses, error) {
	note := ""
	if len(p) > 0 {
		data, err := json.Marshal(p)
		if err != nil {
			return nil, fmt.Errorf("remember the pause: %w", err)
		}
		note = string(data)
	}
	if err := d.opts.Notes.SetNote(notePause, note); err != nil {
		return nil, fmt.Errorf("remember the pause: %w", err)
	}
	d.mu.Lock()
	d.situation.pauses = p
	d.mu.Unlock()
	return p, nil
}

// endPauses ends the pauses whose time is over, and reports whether there was one.
func (d *Daemon) endPauses() bool {
	d.pausing.Lock() // a new pause set meanwhile is not this one
	defer d.pausing.Unlock()
	now := d.inForce()
	over := now.ended(time.Now())
	if len(over) == 0 {
		return false
	}
	left := now.without(over)
	_, err := d.keepPauses(left)
	d.events.trouble("pause", "the end of a pause cannot be remembered", err)
	if err != nil {
		d.mu.Lock()
		d.situation.pauses = left // its time is over all the same
		d.mu.Unlock()
	}
	d.opts.Log.Info().Msg("pause over")
	return true
}

// orAll are the places that somebody asked for: none are all.
func orAll(places []control.Place) ([]control.Place, error) {
	for _, p := range places {
		if !slices.Contains(control.Places(), p) {
			return nil, fmt.Errorf("%q is no place that can be paused: want routes or kernel", p)
		}
	}
	if len(places) == 0 {
		return control.Places(), nil
	}
	return places, nil
}
