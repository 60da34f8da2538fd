package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"peerhub/test/fabric"
)

// unit is a program of the lab that can be stopped and started by name.
type unit struct {
	name, host string
	args       []string
	before     func(context.Context) error // nil: nothing
	ready      func(p *Process) bool
}

// Names of the units.
const (
	UnitServer  = "openvpn-server"
	UnitLaptop1 = "openvpn-laptop1"
	UnitLaptop2 = "openvpn-laptop2"
	UnitOffice  = "openvpn-office"
	UnitHubd    = "hubd"
)

// readyPatience is how long a unit may take to be ready: an OpenVPN client on a
// loaded machine, with its server just started.
const readyPatience = 30 * time.Second

// startVPN writes the OpenVPN files and brings up the server, then all clients.
func (l *Lab) startVPN(ctx context.Context) error {
	include := ""
	if !l.opt.WithoutHubd {
		include = l.VPN.include()
	}
	if err := l.VPN.write(l.Spec, include); err != nil {
		return err
	}
	if err := l.writeHubdConfig(); err != nil {
		return err
	}
	l.defineUnits()
	if !l.opt.WithoutHubd {
		if err := l.runFailClosed(ctx); err != nil {
			return err
		}
	}
	if err := l.StartUnit(ctx, UnitServer); err != nil {
		return err
	}
	for _, u := range []string{UnitLaptop1, UnitLaptop2, UnitOffice} {
		if err := l.launch(ctx, u); err != nil {
			return err
		}
	}
	for _, u := range []string{UnitLaptop1, UnitLaptop2, UnitOffice} {
		if err := l.awaitUnit(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) startOwnHubd(ctx context.Context) error {
	if l.opt.WithoutHubd {
		return nil
	}
	return l.StartUnit(ctx, UnitHubd)
}

func (l *Lab) defineUnits() {
	vpn := func(name, host, config string) unit {
		return unit{name: name, host: host, args: []string{l.opt.OpenVPN, "--config", filepath.Join(l.VPN.Dir, config+".conf")}, ready: connected}
	}
	l.units = []unit{
		vpn(UnitServer, HostHub, "server"),
		vpn(UnitLaptop1, HostLaptop1, HostLaptop1),
		vpn(UnitLaptop2, HostLaptop2, HostLaptop2),
		vpn(UnitOffice, HostOfficeGW, l.Spec.OfficeClient),
		{name: UnitHubd, host: HostHub, args: []string{l.opt.Hubd, "--config", l.hubdConfig()},
			before: l.runFailClosed, ready: func(*Process) bool { return answers(l.HubdSocket()) }},
	}
}

// connected tells whether OpenVPN, in this life of its process, has said that it works.
func connected(p *Process) bool {
	b, err := os.ReadFile(p.Log)
	return err == nil && len(b) >= int(p.logStart) && strings.Contains(string(b[p.logStart:]), "Initialization Sequence Completed")
}

// answers tells whether somebody listens on a unix socket.
func answers(socket string) bool {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// Units lists the names of the units.
func (l *Lab) Units() []string {
	var out []string
	for _, u := range l.units {
		out = append(out, u.name)
	}
	return out
}

func (l *Lab) unit(name string) (unit, error) {
	i := slices.IndexFunc(l.units, func(u unit) bool { return u.name == name })
	if i < 0 {
		return unit{}, fmt.Errorf("no unit %q; there are %s", name, strings.Join(l.Units(), ", "))
	}
	return l.units[i], nil
}

// Process is the running process of a unit, nil if it does not run.
func (l *Lab) Process(unit string) *Process {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.processes {
		if p.Name == unit && !p.ended() {
			return p
		}
	}
	return nil
}

// Processes lists the programs that run.
func (l *Lab) Processes() []*Process {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.processes = slices.DeleteFunc(l.processes, (*Process).ended)
	return slices.Clone(l.processes)
}

// StartUnit starts a unit that does not run and waits until it is ready.
func (l *Lab) StartUnit(ctx context.Context, name string) error {
	if err := l.launch(ctx, name); err != nil {
		return err
	}
	return l.awaitUnit(ctx, name)
}

func (l *Lab) launch(ctx context.Context, name string) error {
	u, err := l.unit(name)
	if err != nil {
		return err
	}
	if p := l.Process(name); p != nil {
		return fmt.Errorf("%s runs already, as process %d", name, p.PID)
	}
	if u.before != nil {
		if err := u.before(ctx); err != nil {
			return err
		}
	}
	_, err = l.start(u.name, u.host, nil, u.args...)
	return err
}

func (l *Lab) awaitUnit(ctx context.Context, name string) error {
	u, err := l.unit(name)
	if err != nil {
		return err
	}
	p := l.Process(name)
	if p == nil {
		return fmt.Errorf("%s ended at once; see %s", name, filepath.Join(l.Dir, name+".log"))
	}
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	return await(ctx, name+" is ready", func() bool { return u.ready(p) }, p)
}

// StopUnit ends a unit as its service manager would, KillUnit with SIGKILL. A unit
// that does not run is no error.
func (l *Lab) StopUnit(name string) error {
	if _, err := l.unit(name); err != nil {
		return err
	}
	if p := l.Process(name); p != nil {
		p.stop()
	}
	return nil
}

// KillUnit ends a unit with SIGKILL.
func (l *Lab) KillUnit(name string) error {
	if _, err := l.unit(name); err != nil {
		return err
	}
	if p := l.Process(name); p != nil {
		if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
			return fmt.Errorf("kill %s: %w", name, err)
		}
		<-p.done
	}
	return nil
}

// RestartUnit stops a unit and starts it again.
func (l *Lab) RestartUnit(ctx context.Context, name string) error {
	if err := l.StopUnit(name); err != nil {
		return err
	}
	return l.StartUnit(ctx, name)
}

// runFailClosed does what the boot does before OpenVPN: once in a lab's life.
func (l *Lab) runFailClosed(ctx context.Context) error {
	l.mu.Lock()
	done := l.failClosed
	l.failClosed = true
	l.mu.Unlock()
	if done {
		return nil
	}
	_, err := fabric.Exec(ctx, l.Spec.Prefix+HostHub, l.opt.Hubd, "--config", l.hubdConfig(), "--fail-closed")
	return err
}
