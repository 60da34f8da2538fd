package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"peerhub/test/ec2sim"
	"peerhub/test/fabric"
)

// Hosts lists the hosts as they are now: a replaced hub has another instance, interface
// and address than Spec.Hosts says.
func (l *Lab) Hosts() []Host {
	hosts := l.Spec.Hosts()
	now := l.hub.Load()
	for i := range hosts {
		if now != nil && hosts[i].Name == HostHub {
			hosts[i] = *now
		}
	}
	return hosts
}

// Host is the host of that name as it is now.
func (l *Lab) Host(name string) (Host, bool) {
	for _, h := range l.Hosts() {
		if h.Name == name {
			return h, true
		}
	}
	return Host{}, false
}

// Replace ends a host's instance and puts a new one in its place, as a launch template
// does: another instance, interface, hardware address and private address in the same
// subnet, with the same role, groups and Elastic IP; a kernel that knows nothing; and a disk
// on which hubd has never run. Of the OpenVPN server the disk has what its backup has: keys,
// configuration and the site's own file. What ran before is started in the order of
// a boot: hubd --fail-closed, hubd, and once routes for clients are written the OpenVPN
// server. Only the hub can be replaced.
func (l *Lab) Replace(ctx context.Context, name string) (Host, error) {
	if name != HostHub {
		return Host{}, fmt.Errorf("replace %s: only %s can be replaced", name, HostHub)
	}
	old, _ := l.Host(HostHub)
	ran := map[string]bool{UnitHubd: l.Process(UnitHubd) != nil, UnitServer: l.Process(UnitServer) != nil}
	now, err := l.otherMachine(ctx, old)
	if err != nil {
		return Host{}, fmt.Errorf("replace %s: %w", name, err)
	}
	if ran[UnitHubd] {
		if _, err := fabric.Exec(ctx, now.Namespace, l.opt.Hubd, "--config", l.hubdConfig(), "--fail-closed"); err != nil {
			return now, err
		}
		if err := l.startOwnHubd(ctx); err != nil {
			return now, err
		}
	}
	if ran[UnitServer] {
		return now, l.StartUnit(ctx, UnitServer)
	}
	return now, nil
}

// otherMachine shuts the hub's machine down and boots another, on which nothing runs.
func (l *Lab) otherMachine(ctx context.Context, old Host) (Host, error) {
	// EC2 shuts the system down before it takes the machine away: programs are stopped.
	for _, u := range []string{UnitServer, UnitHubd} {
		if err := l.StopUnit(u); err != nil {
			return Host{}, err
		}
	}
	address, err := l.freeBeside(old.Addresses[0])
	if err != nil {
		return Host{}, err
	}
	id, err := l.Sim.ReplaceInstance(old.Instance, ec2sim.InstanceSpec{Name: HostHub, Address: address})
	if err != nil {
		return Host{}, err
	}
	l.obey()
	now := old
	now.Instance, now.Addresses = id, []netip.Addr{address}
	for _, i := range l.network.Load().Interfaces {
		if i.Instance == id {
			now.ENI = i.ID
		}
	}
	l.mu.Lock()
	l.names[now.ENI], l.names[now.Instance] = HostHub, HostHub
	l.mu.Unlock()
	l.services.closeIn(old.Namespace)
	err = errors.Join(
		l.Fabric.Detach(old.Namespace, l.Spec.HubInterface),
		l.record.renewNamespace(old.Namespace),
		l.looseFilter(ctx),
		l.emptyDisk())
	if err != nil {
		return Host{}, err
	}
	err = errors.Join(
		l.Fabric.AttachENI(now.Namespace, l.Spec.HubInterface, now.ENI),
		l.Fabric.ConfigureENI(now.ENI),
		l.services.ssh(now.Namespace, HostHub))
	l.hub.Store(&now)
	return now, err
}

// freeBeside is the next address of the hub's subnet that nobody has.
func (l *Lab) freeBeside(old netip.Addr) (netip.Addr, error) {
	used := map[netip.Addr]bool{}
	for _, i := range l.network.Load().Interfaces {
		for _, a := range i.Addresses {
			used[a] = true
		}
	}
	for a := old.Next(); l.Spec.HubSubnet().Contains(a.Next()); a = a.Next() { // the last one is AWS's
		if !used[a] {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address after %s is free in %s", old, l.Spec.HubSubnet())
}

// emptyDisk removes what hubd has written, and files that others have put beside it.
func (l *Lab) emptyDisk() error {
	gone := []string{filepath.Join(l.HubdDir(), "state"), l.HubdSocket(), l.VPN.Management, l.VPN.Status}
	entries, err := os.ReadDir(l.VPN.ClientDir)
	if err != nil {
		return fmt.Errorf("empty the hub's disk: %w", err)
	}
	for _, e := range entries {
		if e.Name() != l.Spec.OfficeClient {
			gone = append(gone, filepath.Join(l.VPN.ClientDir, e.Name()))
		}
	}
	for _, path := range gone {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("empty the hub's disk: %w", err)
		}
	}
	return nil
}
