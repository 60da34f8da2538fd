package daemon

import (
	"context"
	"errors"
	"fmt"

	"peerhub/hub"
	"peerhub/hub/config"
	"peerhub/hub/failpoint"
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

// adoptAfter ends a careful first start when an operator's pass went as far as the config does.
func (d *Daemon) adoptAfter(forced hub.Mode) error {
	d.mu.Lock()
	wanted := d.config.Policy.Mode
	d.mu.Unlock()
	if forced == hub.ModeSync || forced == wanted {
		return d.adopt()
	}
	return nil
}

// Reread reads the config anew, because of a signal. One that cannot be used changes nothing.
func (d *Daemon) Reread() error { return d.reread(because(hub.TriggerReload)) }

func (d *Daemon) reread(why hub.Cause) error {
	before := d.standsNow()
	d.mu.Lock()
	old := d.config.Policy.Mode
	d.mu.Unlock()
	if err := d.takeConfig(); err != nil {
		return err
	}
	d.mu.Lock()
	d.reloaded = before
	careful := d.careful != "" && d.config.Policy.Mode != old
	d.mu.Unlock()
	var err error
	if careful { // the operator set a mode: that is their word
		err = d.adopt()
	}
	d.pokeFor(why) // first, so that a pass after the answer is for both
	d.Look()
	return err
}

// cutShort refuses a config without a single tunnel when the one in force has some: a file
// that is read while it is written is often valid and ends too early. Who means it restarts hubd.
func (d *Daemon) cutShort(fresh config.Config) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(fresh.Policy.VPNs) > 0 || len(d.config.Policy.VPNs) == 0 || failpoint.Off("old-config") {
		return nil
	}
	return fmt.Errorf("%s: no vpn entry is left, and the config in force has %d: a file cut short? Mend it; if it is meant: systemctl restart hubd",
		fresh.Path, len(d.config.Policy.VPNs))
}

// takeConfig reads the config and has it in force from the next pass on.
func (d *Daemon) takeConfig() error {
	fresh, err := d.opts.Load()
	if err == nil {
		err = d.cutShort(fresh)
	}
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
	d.mu.Unlock()
	if d.opts.Reloaded != nil {
		for _, key := range d.opts.Reloaded(old, fresh) {
			d.opts.Log.Warn().Str(keyDetail, key).Msg("config key takes a restart of hubd")
		}
	}
	d.opts.Log.Info().Str(keyMode, string(d.mode())).Str(keyPath, fresh.Path).Msg("config taken")
	return nil
}
