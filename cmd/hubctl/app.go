package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"peerhub/hub/config"
	"peerhub/hub/control"
)

const (
	defaultConfig = config.DefaultPath
	defaultSocket = "/run/hubd/hubd.sock"
	defaultState  = "/var/lib/hubd"
)

// app is what all commands share.
type app struct {
	stdin   *os.File
	stderr  io.Writer
	out     *bufio.Writer
	colour  bool // stdout is a terminal and nobody forbade it
	talks   bool // a person is there to be asked
	socket  string
	config  string
	format  string
	timeout time.Duration

	looked                  bool // the config has been looked at
	foundSocket, foundState string
}

func newApp(stdin, stdout, stderr *os.File) *app {
	terminal := term.IsTerminal(int(stdout.Fd()))
	return &app{
		stdin: stdin, stderr: stderr, out: bufio.NewWriter(stdout),
		colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
		talks:  terminal && term.IsTerminal(int(stdin.Fd())),
	}
}

// flush writes what is left. A closed pipe is not an error: its reader has seen enough.
func (a *app) flush() error {
	if err := a.out.Flush(); err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// caller opens nothing yet: the first question does.
func (a *app) caller() *control.Caller { return control.NewCaller(a.socketPath()) }

// socketPath is --socket, else what the config says, else the default.
func (a *app) socketPath() string {
	if a.socket != "" {
		return a.socket
	}
	socket, _ := a.located()
	return socket
}

// stateDir is where hubd leaves its last report.
func (a *app) stateDir() string {
	_, state := a.located()
	return state
}

// limited is ctx with the patience of --timeout.
func (a *app) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, a.timeout)
}

// printJSON writes v as the one object of the answer.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

// say writes a line of talk.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.stderr, format+"\n", args...) }

// confirm asks a person. Without one, or with --yes, the command line is word enough.
func (a *app) confirm(yes bool, question string) (bool, error) {
	if yes || !a.talks {
		return true, nil
	}
	if err := a.flush(); err != nil {
		return false, err
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	a.say("nothing was changed")
	return false, nil
}
