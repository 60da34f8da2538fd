package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"peerhub/hub"
	"peerhub/hub/config"
	"peerhub/hub/kroute"
)

// tunnelsFile, in the state directory, lists the tunnels that the last good config closes at
// boot, one name a line.
const tunnelsFile = "tunnels"

// failClosed makes the rules that keep tunnel traffic in, before any tunnel is there. In
// mode observe it makes none: nothing is written anywhere, and the bastion works as it did.
// With a config that cannot be used the tunnels are those of the last one that could: they
// come up all the same, and no hubd runs that would make the rules later.
func failClosed(ctx context.Context, path string, stderr io.Writer) error {
	c, err := config.Load(path)
	if err == nil {
		err = cutShort(c)
	}
	if err == nil {
		if err := privileged(); err != nil {
			return err
		}
		if c.Policy.Mode == hub.ModeObserve {
			fmt.Fprintln(stderr, "hubd: mode is observe: no rules are made, tunnels are as open as they were")
			return nil
		}
		return kroute.FailClosed(ctx, 0, baseOf(c.Policy).Tunnels, true)
	}
	complain(stderr, err)
	if err := privileged(); err != nil {
		return err
	}
	file := filepath.Join(stateOf(path), tunnelsFile)
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("see which tunnels the last good config had: %w", err)
	}
	var tunnels []hub.Tunnel
	for name := range strings.FieldsSeq(string(text)) {
		tunnels = append(tunnels, hub.Tunnel{Name: name})
	}
	if len(tunnels) == 0 {
		return explained{"mend the config, then systemctl restart hubd-fail-closed; until then keep the VPN stopped",
			fmt.Errorf("%s lists no tunnel of an earlier good config: no rules are made, forwarding is not switched on", file)}
	}
	if err := kroute.FailClosed(ctx, 0, tunnels, true); err != nil {
		return err
	}
	fmt.Fprintf(stderr, "hubd: the tunnels of the last good config are closed: %s; mend the config, then systemctl restart hubd-fail-closed hubd\n", oneLine(string(text)))
	return nil
}

// cutShort refuses a config without a single tunnel where the last good one closed some: a
// file cut short is often valid, and taking it would open the hub.
func cutShort(c config.Config) error {
	if len(c.Policy.VPNs) > 0 {
		return nil
	}
	file := filepath.Join(c.State, tunnelsFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(text) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("see which tunnels the last good config had: %w", err)
	}
	return explained{"mend the file; if it is meant, remove " + file,
		fmt.Errorf("%s has no vpn entry, and the last good config had %s: a file cut short?", c.Path, oneLine(string(text)))}
}

// noteTunnels keeps for a boot with a torn config which tunnels this one closes: none in
// mode observe, in which nothing is written.
func noteTunnels(dir string, c config.Config) error {
	var names []string
	if c.Policy.Mode != hub.ModeObserve {
		for _, t := range baseOf(c.Policy).Tunnels {
			names = append(names, t.Name+"\n")
		}
	}
	path, text := filepath.Join(dir, tunnelsFile), []byte(strings.Join(names, ""))
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := replaceFile(path, text); err != nil {
		return fmt.Errorf("note the tunnels for the next boot: %w", err)
	}
	return nil
}

// stateLine is the key of the state directory in a file that need not be YAML any more.
var stateLine = regexp.MustCompile(`(?m)^state: *["']?([^"'\s#]+)["']?[ \t]*(?:#.*)?$`)

// stateOf is the state directory that a config names which cannot be read as a whole, or
// the usual one. Nothing else is believed of such a file.
func stateOf(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return config.DefaultState
	}
	m := stateLine.FindSubmatch(data)
	switch {
	case m == nil:
		return config.DefaultState
	case filepath.IsAbs(string(m[1])):
		return string(m[1])
	}
	return filepath.Join(filepath.Dir(path), string(m[1]))
}
