package fabric

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 keeps named network namespaces.
const netnsDir = "/run/netns"

// nsPath accepts the name of a namespace or a path to one.
func nsPath(ns string) string {
	if strings.Contains(ns, "/") {
		return ns
	}
	return filepath.Join(netnsDir, ns)
}

// NewNS creates the network namespace /run/netns/NAME with its loopback up.
// A new namespace copies the IPv4 switches of the machine's first one; those
// that decide what a host forwards are put back to the kernel's own defaults, so
// that a lab behaves the same on a machine that runs containers.
func NewNS(name string) error {
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		return fmt.Errorf("create namespace %s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	err := InNS(name, func() error {
		for key, value := range map[string]string{
			"ip_forward":             "0",
			"conf/all/rp_filter":     "0",
			"conf/default/rp_filter": "0",
		} {
			if err := os.WriteFile("/proc/sys/net/ipv4/"+key, []byte(value), 0); err != nil {
				return fmt.Errorf("set net/ipv4/%s: %w", key, err)
			}
		}
		return linkUp("lo")
	})
	if err != nil {
		return errors.Join(fmt.Errorf("prepare namespace %s: %w", name, err), Delete(name))
	}
	return nil
}

// Delete removes the namespace; deleting what is not there is no error.
// Processes that still run inside keep it alive until they end.
func Delete(name string) error {
	if _, err := os.Stat(nsPath(name)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if out, err := exec.Command("ip", "netns", "delete", name).CombinedOutput(); err != nil {
		return fmt.Errorf("delete namespace %s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Command prepares a program to run inside the namespace. The process is the
// program itself, not a wrapper: signals and its pid are the program's.
func Command(ctx context.Context, ns string, argv ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", ns}, argv...)...)
}

// Exec runs a program inside the namespace and returns what it printed on both
// outputs, also when it failed.
func Exec(ctx context.Context, ns string, argv ...string) (string, error) {
	out, err := Command(ctx, ns, argv...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("in namespace %s: %s: %w: %s",
			ns, strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// InNS calls fn on a thread inside the namespace (a name or a path). Sockets and
// devices that fn opens belong to the namespace for as long as they live;
// goroutines that fn starts run outside.
func InNS(ns string, fn func() error) error {
	target, err := os.Open(nsPath(ns))
	if err != nil {
		return fmt.Errorf("enter namespace %s: %w", ns, err)
	}
	defer target.Close()
	done := make(chan error, 1)
	go func() { done <- onThread(target, ns, fn) }()
	return <-done
}

// onThread enters the namespace, calls fn and goes back. A thread that cannot go
// back stays locked and ends with its goroutine, so no other code runs on it.
func onThread(target *os.File, ns string, fn func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("enter namespace %s: %w", ns, err)
	}
	defer home.Close()
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter namespace %s: %w", ns, err)
	}
	err = fn()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, fmt.Errorf("leave namespace %s: %w", ns, back))
	}
	runtime.UnlockOSThread()
	return err
}

// patience is the receive buffer of a socket that must not lose datagrams while its
// process waits for a processor: two seconds at thousands a second.
const patience = 8 << 20

// Patient gives a UDP socket a receive buffer that a busy machine does not fill.
func Patient(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return fmt.Errorf("reach the socket %s: %w", c.LocalAddr(), err)
	}
	var set error
	if err := raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, patience)
	}); err != nil {
		return fmt.Errorf("reach the socket %s: %w", c.LocalAddr(), err)
	}
	if set != nil {
		return fmt.Errorf("widen the receive buffer of %s: %w", c.LocalAddr(), set)
	}
	return nil
}
