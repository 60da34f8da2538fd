package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"peerhub/hub"
	"peerhub/hub/control"
)

// mode is how far a pass may go now.
func (d *Daemon) mode() hub.Mode {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.careful != "" {
		return hub.ModeObserve
	}
	return d.config.Policy.Mode
}

// loadCareful finds out whether this is a first start beside a working VPN, or goes on with one.
func (d *Daemon) loadCareful(ctx context.Context) error {
	mode := string(d.config.Policy.Mode)
	note, err := d.opts.Notes.Note(noteAdopt)
	if errors.Is(err, ErrNotesBroken) { // perhaps hubd was to observe, perhaps it was paused
		d.careful = err.Error() + ": hubctl plan says what would change, hubctl sync does it"
		return d.opts.Notes.SetNote(noteAdopt, mode)
	}
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	switch {
	case note == adopted:
		return nil
	case note != "" && note != mode:
		return d.opts.Notes.SetNote(noteAdopt, adopted) // the operator set another mode
	case note == "" && (d.opts.Occupied == nil || d.prev != nil && len(d.prev.Reaches) > 0):
		return nil // nobody can tell, or an earlier hubd worked here and its notes are lost
	}
	if note != "" {
		d.careful = "not adopted yet: hubctl plan says what would change, hubctl sync does it"
		return nil
	}
	reason, err := d.opts.Occupied(ctx, d.config.Policy)
	if err != nil {
		return fmt.Errorf("see whether a VPN works here already: %w", err)
	}
	if reason == "" {
		return d.opts.Notes.SetNote(noteAdopt, adopted)
	}
	d.careful = reason + "; hubctl plan says what would change, hubctl sync does it"
	return d.opts.Notes.SetNote(noteAdopt, mode)
}

// adopt ends a careful first start.
func (d *Daemon) adopt() error {
	d.mu.Lock()
	careful := d.careful != ""
	d.mu.Unlock()
	if !careful {
		return nil
	}
	if err := d.opts.Notes.SetNote(noteAdopt, adopted); err != nil {
		return fmt.Errorf("remember that this hub is adopted: %w", err)
	}
	d.mu.Lock()
	d.careful = ""
	d.mu.Unlock()
	return nil
}

// paused returns the pause in force, or nil.
func (d *Daemon) paused() *control.Pause {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.situation.pause
}

func (d *Daemon) loadPause() error {
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
	var p control.Pause
	if err := json.Unmarshal([]byte(note), &p); err != nil {
		// A pause nobody can read must not hold for ever, nor be forgotten in silence.
		d.opts.Log.Warn().Str(keyError, err.Error()).Msg("the remembered pause cannot be read, going on without it")
		return nil
	}
	d.situation.pause = &p
	return nil
}

// setPause begins or, with nil, ends a pause, durably.
func (d *Daemon) setPause(p *control.Pause) error {
	d.pausing.Lock()
	defer d.pausing.Unlock()
	return d.keepPause(p)
}

// keepPause is setPause for who holds d.pausing.
func (d *Daemon) keepPause(p *control.Pause) error {
	note := ""
	if p != nil {
		data, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("remember the pause: %w", err)
		}
		note = string(data)
	}
	if err := d.opts.Notes.SetNote(notePause, note); err != nil {
		return fmt.Errorf("remember the pause: %w", err)
	}
	d.mu.Lock()
	d.situation.pause = p
	d.mu.Unlock()
	return nil
}

// endPause ends a pause whose time is over.
func (d *Daemon) endPause() {
	d.pausing.Lock() // a new pause set meanwhile is not this one
	defer d.pausing.Unlock()
	p := d.paused()
	if p == nil || p.Until == nil || time.Now().Before(*p.Until) {
		return
	}
	err := d.keepPause(nil)
	d.events.trouble("pause", "the end of a pause cannot be remembered", err)
	if err != nil {
		d.mu.Lock()
		d.situation.pause = nil // its time is over all the same
		d.mu.Unlock()
	}
	d.opts.Log.Info().Msg("pause over")
}

// Reread reads the config anew. One that cannot be used changes nothing.
func (d *Daemon) Reread() error {
	fresh, err := d.opts.Load()
	if err != nil {
		d.mu.Lock()
		d.configNote = err.Error()
		d.mu.Unlock()
		for _, line := range mistakes(err) {
			d.opts.Log.Error().Str(keyError, line).Msg("config not taken, the old one stays")
		}
		return err
	}
	d.mu.Lock()
	old := d.config
	d.config, d.configNote = fresh, ""
	careful := d.careful != "" && fresh.Policy.Mode != old.Policy.Mode
	d.mu.Unlock()
	if careful { // the operator set a mode: that is their word
		err = errors.Join(err, d.adopt())
	}
	if d.opts.Reloaded != nil {
		for _, key := range d.opts.Reloaded(old, fresh) {
			d.opts.Log.Warn().Str(keyDetail, key).Msg("config key takes a restart of hubd")
		}
	}
	d.opts.Log.Info().Str(keyMode, string(d.mode())).Str(keyPath, fresh.Path).Msg("config taken")
	d.Look()
	d.Poke()
	return err
}
