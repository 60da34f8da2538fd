package main

import (
	"os"
	"path/filepath"
	"testing"
)

// Of a config with mistakes the socket and the state directory are believed, and nothing else.
func TestPlacesOfATornConfig(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ text, socket, state string }{
		{"version: 1\ncontrol: {socket: /run/x/s}\nstate: /srv/hubd\nvpn: [{na", "/run/x/s", "/srv/hubd"},
		{"control: {group: hubadmin, socket: \"/run/x/s\"}  # ours\nmode: syn\n", "/run/x/s", defaultState},
		{"control:\n  # where\n\n  group: hubadmin\n  socket: '/run/x/s' # ours\nstate: \"here\"\nx", "/run/x/s", filepath.Join(dir, "here")},
		{"control: # two\n  socket: s\nx: {", filepath.Join(dir, "s"), defaultState},
		{"control:\n  group: hubadmin\nmetrics:\n  socket: /not/this/one\n  {", defaultSocket, defaultState},
		{"# control: {socket: /a/comment}\n#state: /a/comment\n{", defaultSocket, defaultState},
		{" control: {socket: /not/at/the/top}\n state: /x\n", defaultSocket, defaultState},
		{"control: {mysocket: /not/this/one}\n{", defaultSocket, defaultState},
	} {
		path := filepath.Join(dir, "hubd.yaml")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if socket, state := tornPlaces(path); socket != c.socket || state != c.state {
			t.Errorf("%q: %s and %s, want %s and %s", c.text, socket, state, c.socket, c.state)
		}
	}
}
