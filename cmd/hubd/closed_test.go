package main

import (
	"os"
	"path/filepath"
	"testing"

	"peerhub/hub/config"
)

// Of a config that cannot be read as a whole only the state directory is believed.
func TestStateOfATornConfig(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ text, want string }{
		{"version: 1\nstate: /srv/hubd\nvpn: [{na", "/srv/hubd"},
		{"version: 1\nstate: \"/srv/hubd\"   # ours\nmode: syn", "/srv/hubd"},
		{"state: here\nx", filepath.Join(dir, "here")},
		{"version: 1\nvpn: [{na", config.DefaultState},
		{"  state: /not/at/the/top\n", config.DefaultState},
		{"state: /srv/hu bd\n", config.DefaultState},
		{"# state: /a/comment\n", config.DefaultState},
		{"", config.DefaultState},
	} {
		path := filepath.Join(dir, "hubd.yaml")
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := stateOf(path); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.text, got, tt.want)
		}
	}
	if got := stateOf(filepath.Join(dir, "none")); got != config.DefaultState {
		t.Errorf("without a file: %s", got)
	}
}
