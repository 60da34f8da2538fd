package main

import (
	"os"
	"path/filepath"
	"regexp"

	"peerhub/hub/config"
)

// What is believed of a config that cannot be read as a whole: hubd goes on with the last good
// one, and must be found where that one put it.
var (
	stateLine   = regexp.MustCompile(`(?m)^state: *["']?([^"'\s#]+)["']?[ \t]*(?:#.*)?$`)
	socketFlow  = regexp.MustCompile(`(?m)^control: *\{(?:[^}\n]*[, \t])?socket: *["']?([^"'\s#,}]+)`)
	socketBlock = regexp.MustCompile(`(?m)^control:[ \t]*(?:#.*)?\n(?:(?:[ \t].*|#.*)?\n)*?[ \t]+socket: *["']?([^"'\s#]+)`)
)

// located finds the socket and the state directory of the config, or the usual ones when it
// names none or there is none to read. One with mistakes is believed in these two alone, and it is said.
func (a *app) located() (socket, state string) {
	if a.looked {
		return a.foundSocket, a.foundState
	}
	c, err := config.Load(a.config)
	socket, state = c.Control.Socket, c.State
	if err != nil {
		socket, state = defaultSocket, defaultState
		if list := config.Find(err); len(list) > 0 {
			socket, state = tornPlaces(a.config)
			a.say("hubctl: %s has mistakes, the first is %s (see all with hubctl config check %s)", a.config, list[0], a.config)
		}
	}
	a.looked, a.foundSocket, a.foundState = true, socket, state
	return socket, state
}

// tornPlaces looks for the two in a file that need not be YAML any more.
func tornPlaces(path string) (socket, state string) {
	socket, state = defaultSocket, defaultState
	text, err := os.ReadFile(path)
	if err != nil {
		return socket, state
	}
	absolute := func(m [][]byte) string {
		if found := string(m[1]); filepath.IsAbs(found) {
			return found
		}
		return filepath.Join(filepath.Dir(path), string(m[1]))
	}
	if m := stateLine.FindSubmatch(text); m != nil {
		state = absolute(m)
	}
	for _, form := range []*regexp.Regexp{socketFlow, socketBlock} {
		if m := form.FindSubmatch(text); m != nil {
			socket = absolute(m)
		}
	}
	return socket, state
}
