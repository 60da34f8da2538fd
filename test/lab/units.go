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
	env        []string // beside this program's own
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

// startVPN writes the OpenVPN files and brings up the server, hubd if wanted, then
// all clients: whoever connects before hubd has written its routes lacks them.
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
		// As at boot: before any tunnel is there.
		if _, err := fabric.Exec(ctx, l.Spec.Prefix+HostHub, l.opt.Hubd, "--config", l.hubdConfig(), "--fail-closed"); err != nil {
			return err
		}
	}
	if err := l.StartUnit(ctx, UnitServer); err != nil {
		return err
	}
	if !l.opt.WithoutHubd {
		if err := l.startOwnHubd(ctx); err != nil {
			return err
		}
	}
	clients := []string{UnitLaptop1, UnitLaptop2, UnitOffice}
	for _, u := range clients {
		if err := l.launch(u); err != nil {
			return err
		}
	}
	for _, u := range clients {
		if err := l.awaitUnit(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// startOwnHubd starts hubd and, with the lab's own config, waits for its first pass:
// its last step is the file of routes.
func (l *Lab) startOwnHubd(ctx context.Context) error {
	if err := l.StartUnit(ctx, UnitHubd); err != nil || l.opt.HubdConfig != "" {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	// OpenVPN tells connects by the second: a client that came within the second of the
	// write would count as lacking the routes.
	written := func() bool {
		fi, err := os.Stat(l.VPN.include())
		return err == nil && time.Now().Unix() > fi.ModTime().Unix()
	}
	p := l.Process(UnitHubd)
	if p == nil {
		return fmt.Errorf("hubd ended at once; see %s", filepath.Join(l.Dir, UnitHubd+".log"))
	}
	return await(ctx, "hubd has written the routes for clients", written, p)
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
		{name: UnitHubd, host: HostHub, args: []string{l.opt.Hubd, "--config", l.hubdConfig()}, env: l.opt.HubdEnv,
			ready: func(*Process) bool { return answers(l.HubdSocket()) }},
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
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unitNames()
}

func (l *Lab) unitNames() []string {
	var out []string
	for _, u := range l.units {
		out = append(out, u.name)
	}
	return out
}

// SetUnitEnv sets the variables that a unit is started with from now on, beside this
// program's own.
func (l *Lab) SetUnitEnv(name string, env ...string) error {
	if _, err := l.unit(name); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.units {
		if l.units[i].name == name {
			l.units[i].env = env
		}
	}
	return nil
}

func (l *Lab) unit(name string) (unit, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.units, func(u unit) bool { return u.name == name })
	if i < 0 {
		return unit{}, fmt.Errorf("no unit %q; there are %s", name, strings.Join(l.unitNames(), ", "))
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
	if err := l.launch(name); err != nil {
		return err
	}
	return l.awaitUnit(ctx, name)
}

func (l *Lab) launch(name string) error {
	u, err := l.unit(name)
	if err != nil {
		return err
	}
	if p := l.Process(name); p != nil {
		return fmt.Errorf("%s runs already, as process %d", name, p.PID)
	}
	_, err = l.start(u.name, u.host, u.env, u.args...)
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
