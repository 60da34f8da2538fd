package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// unit is what is obeyed of a service's unit file. The rest (users, sandbox, dependencies)
// is systemd's business.
type unit struct {
	exec        []string
	environment []string
	watchdog    time.Duration // 0: none
	pause       time.Duration // before a restart
	patience    time.Duration // of a stop
	restart     bool
	memory      int64 // bytes, 0: no limit
}

// readUnit reads a unit file and then the lines of drop-ins, in order.
func readUnit(path string, dropIns []string) (unit, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return unit{}, fmt.Errorf("read the unit: %w", err)
	}
	u := unit{pause: 100 * time.Millisecond, patience: 90 * time.Second}
	section := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", line[0] == '#':
		case line[0] == '[':
			section = line
		case section == "[Service]":
			if err := u.set(line); err != nil {
				return u, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	for _, line := range dropIns {
		if err := u.set(line); err != nil {
			return u, err
		}
	}
	if len(u.exec) == 0 {
		return u, errors.New("no ExecStart")
	}
	return u, nil
}

// set obeys one line.
func (u *unit) set(line string) (err error) {
	key, value, _ := strings.Cut(line, "=")
	switch key {
	case "Type":
		if value != "notify" {
			return fmt.Errorf("%s: only Type=notify is known", line)
		}
	case "ExecStart":
		u.exec = strings.Fields(value)
	case "Environment":
		if value == "" {
			u.environment = nil
			break
		}
		u.environment = append(u.environment, strings.Fields(value)...)
	case "WatchdogSec":
		u.watchdog, err = seconds(value)
	case "RestartSec":
		u.pause, err = seconds(value)
	case "TimeoutStopSec":
		u.patience, err = seconds(value)
	case "Restart":
		u.restart = value == "on-failure" || value == "always"
	case "MemoryMax":
		u.memory, err = bytes(value)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}

// seconds reads a time span, in seconds or with a unit. "" is none.
func seconds(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		return time.Duration(n * float64(time.Second)), nil
	}
	return time.ParseDuration(s)
}

// bytes reads a size such as 96M. "" and infinity are no limit.
func bytes(s string) (int64, error) {
	if s == "" || s == "infinity" {
		return 0, nil
	}
	shift := strings.IndexByte("KMG", s[len(s)-1])
	if shift >= 0 {
		s = s[:len(s)-1]
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n << (10 * (shift + 1)), err
}
