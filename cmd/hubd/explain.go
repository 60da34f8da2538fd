package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"peerhub/hub"
	"peerhub/hub/awsapi"
	"peerhub/hub/config"
	"peerhub/hub/control"
	"peerhub/hub/state"
)

// complain writes an error for a person: every mistake of a config on a line of its own,
// anything else as one sentence with what to do about it.
func complain(w io.Writer, err error) {
	if list := config.Find(err); list != nil {
		for _, e := range list {
			fmt.Fprintln(w, e)
		}
		plural := "s"
		if len(list) == 1 {
			plural = ""
		}
		fmt.Fprintf(w, "hubd: %d mistake%s in the config, nothing was touched\n", len(list), plural)
		return
	}
	fmt.Fprintf(w, "hubd: %s\n", oneLine(explain(err).Error()))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// explained is an error with its fix.
type explained struct {
	fix string
	err error
}

func (e explained) Error() string { return e.err.Error() + ": " + e.fix }
func (e explained) Unwrap() error { return e.err }

// explain adds what to do about the errors that people meet first.
func explain(err error) error {
	var locked *state.LockedError
	var occupied *OccupiedError
	var done explained
	var dial *net.OpError
	var name *net.DNSError
	switch text := err.Error(); {
	case errors.As(err, &done):
		return err
	case errors.As(err, &locked), errors.As(err, &occupied):
		return explained{"hubctl asks the one that runs; systemctl stop hubd ends it", err}
	case errors.Is(err, control.ErrRunning):
		return explained{"hubctl asks it; systemctl stop hubd ends it", err}
	case awsapi.IsNotFound(err) && strings.Contains(awsapi.Code(err), "Vpc"), strings.Contains(text, "no interface of the hub in VPC"):
		return explained{"check hub.vpc and hub.region in hubd.yaml, and that the credentials are the hub account's", fmt.Errorf("the hub's VPC was not found: %w", err)}
	case strings.Contains(text, "no AWS credentials"), strings.Contains(text, "AWS credentials of the hub"), strings.Contains(text, "no EC2 IMDS role found"):
		return explained{"give the instance the role of deploy/iam/hub-role.json, or set AWS_PROFILE", fmt.Errorf("no AWS credentials: %w", err)}
	case strings.Contains(text, "ask IMDS who we are"):
		return err // it names its fix
	case awsapi.IsDenied(err):
		return explained{"the hub role lacks a permission: see deploy/iam/hub-role.json", err}
	case awsapi.IsNoAnswer(err):
		return explained{"check aws.endpoint, AWS_ENDPOINT_URL and proxies", fmt.Errorf("somebody else than EC2 answers: %w", err)}
	case errors.As(err, &dial), errors.As(err, &name), errors.Is(err, context.DeadlineExceeded):
		return explained{"check the route to the internet or the VPC endpoint, DNS, and aws.endpoint", fmt.Errorf("EC2 is unreachable: %w", err)}
	case errors.Is(err, os.ErrNotExist) && strings.HasPrefix(text, "read config"):
		return explained{"start from the reference in /usr/share/doc/hubd/hubd.yaml, or say --config FILE", err}
	}
	return err
}

// privileged says what is missing to write routes and rules: hubd needs CAP_NET_ADMIN only.
func privileged() error {
	if mayChangeRoutes("/proc/self/status") {
		return nil
	}
	return explained{"run hubd as root, or let systemd give it: systemctl start hubd", errors.New("hubd may not change routes and rules, it lacks CAP_NET_ADMIN")}
}

// tunDriver says that the kernel has no tun driver, without which OpenVPN makes no tunnel.
// "" when it has one, loaded or to be loaded.
func tunDriver(root string) string {
	if misc, err := os.ReadFile(filepath.Join(root, "proc/misc")); err == nil {
		for line := range strings.Lines(string(misc)) {
			if f := strings.Fields(line); len(f) == 2 && f[1] == "tun" {
				return ""
			}
		}
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	release := unix.ByteSliceToString(name.Release[:])
	for _, list := range []string{"modules.dep", "modules.builtin"} {
		data, err := os.ReadFile(filepath.Join(root, "lib/modules", release, list))
		if err != nil || strings.Contains(string(data), "drivers/net/tun.ko") {
			return "" // it is there, or nobody can tell
		}
	}
	return "this kernel has no tun driver, OpenVPN cannot make a tunnel: install the kernel's extra modules (linux-modules-extra-" + release + ") and modprobe tun"
}

// hasTunnel reports whether one of the config's tunnels is there.
func hasTunnel(policy hub.Policy) (string, bool) {
	for _, v := range policy.VPNs {
		for _, name := range v.Interfaces {
			if _, err := net.InterfaceByName(name); err == nil {
				return name, true
			}
		}
	}
	return "", false
}
