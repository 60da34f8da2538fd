package kroute

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netns"

	"peerhub/hub"
)

const (
	procSys   = "/proc/sys"
	ipForward = "net/ipv4/ip_forward"
	// sysctlLook is how often the sysctls without an event are looked at.
	sysctlLook = time.Second
)

// namespace is a network namespace by its file descriptor; none (not open): our own.
type namespace struct{ fd netns.NsHandle }

// do runs f inside the namespace. /proc/sys/net shows the namespace of the thread that
// looks, so another namespace needs a thread of its own, which ends with f.
func (n namespace) do(f func() error) error {
	if !n.fd.IsOpen() {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		if err := netns.Set(n.fd); err != nil {
			done <- fmt.Errorf("enter the network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// readSysctls reads what the needs are made of.
func (n namespace) readSysctls(links []Interface) (map[string]string, error) {
	paths := []string{ipForward, conf4("all", "rp_filter"), conf4("all", "src_valid_mark"), conf6("all", "forwarding")}
	for _, l := range links {
		paths = append(paths, conf4(l.Name, "forwarding"), conf4(l.Name, "rp_filter"), conf4(l.Name, "src_valid_mark"),
			conf6(l.Name, "forwarding"), conf6(l.Name, "accept_ra"))
	}
	return n.read(paths)
}

// read reads sysctls. What does not exist (no IPv6, an interface that just went) is left out.
func (n namespace) read(paths []string) (map[string]string, error) {
	out := make(map[string]string, len(paths))
	err := n.do(func() error {
		for _, p := range paths {
			b, err := os.ReadFile(filepath.Join(procSys, p))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("read a sysctl: %w", err)
			}
			out[p] = strings.TrimSpace(string(b))
		}
		return nil
	})
	return out, err
}

// writeSysctl sets one sysctl.
func (n namespace) writeSysctl(path, value string) error {
	return n.do(func() error {
		// No O_CREATE: a sysctl that is not there must stay an error.
		f, err := os.OpenFile(filepath.Join(procSys, path), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString(value + "\n")
		return errors.Join(err, f.Close())
	})
}

// lookAtSysctls calls back when a sysctl without an event is not as it was read, until ctx ends.
func (p *Plane) lookAtSysctls(ctx context.Context, changed func()) {
	tick := time.NewTicker(sysctlLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		seen := p.seen
		p.mu.Unlock()
		if seen == nil || p.stale.Load() {
			continue // it is read anew anyway
		}
		// What cannot be read now is for Observe to tell of.
		if now, err := p.in.read(seen.eventless()); err != nil || !subset(now, seen.sysctls) {
			p.stale.Store(true)
			changed()
		}
	}
}

// eventless are the sysctls a need of v may be about whose change no event tells of: those
// of the interfaces that routes of ours leave by.
func (v *view) eventless() []string {
	paths := []string{conf4("all", "src_valid_mark")}
	devs := map[string]bool{"": true}
	last := ""
	for _, r := range v.routes.all() {
		if r.Dev != last && !devs[r.Dev] {
			devs[r.Dev] = true
			paths = append(paths, conf4(r.Dev, "src_valid_mark"), conf6(r.Dev, "accept_ra"))
		}
		last = r.Dev
	}
	return paths
}

// subset reports whether all of a is in b.
func subset(a, b map[string]string) bool {
	for k, v := range a {
		if was, ok := b[k]; !ok || was != v {
			return false
		}
	}
	return true
}

// need is a sysctl that must have a value, and why.
type need struct {
	path, value, why string
	unit             hub.Unit
}

// needs says which sysctls are not as d needs them.
func (v *view) needs(d hub.Desired) []need {
	var out []need
	if len(d.Base.Tunnels) == 0 {
		return nil
	}
	if v.sysctls[ipForward] != "1" {
		out = append(out, need{ipForward, "1", "the hub forwards nothing", hub.Unit{Kind: hub.UnitBase}})
	}
	forwards := func(dev string, unit hub.Unit) {
		if v.sysctls[ipForward] == "1" && v.sysctls[conf4(dev, "forwarding")] == "0" {
			out = append(out, need{conf4(dev, "forwarding"), "1", "the hub forwards nothing that comes in by " + dev, unit})
		}
	}
	for _, t := range d.Base.Tunnels {
		forwards(t.Name, hub.Unit{Kind: hub.UnitBase})
	}
	for _, e := range d.Base.Egresses {
		dev := string(e.ID)
		if _, ok := v.links[dev]; !ok {
			continue
		}
		unit := hub.Unit{Kind: hub.UnitEgress, Egress: e.ID}
		forwards(dev, unit)
		// The kernel takes the larger rp_filter and either src_valid_mark of all and the device.
		filter := max(v.sysctls[conf4("all", "rp_filter")], v.sysctls[conf4(dev, "rp_filter")])
		if filter > "0" && v.sysctls[conf4("all", "src_valid_mark")] != "1" && v.sysctls[conf4(dev, "src_valid_mark")] != "1" {
			out = append(out, need{conf4(dev, "src_valid_mark"), "1",
				"rp_filter=" + filter + " drops every reply that comes in by " + dev, unit})
		}
		if v.sysctls[conf6(dev, "forwarding")] == "1" && v.sysctls[conf6(dev, "accept_ra")] == "1" {
			out = append(out, need{conf6(dev, "accept_ra"), "2",
				"IPv6 forwarding is on, so router advertisements are ignored: the hub's own IPv6 will expire", unit})
		}
	}
	return out
}

// wantSysctls are the needs as objects: what is there and what should be.
func (v *view) wantSysctls(d hub.Desired) (want, have []hub.Object) {
	for _, n := range v.needs(d) {
		key := "sysctl " + sysctlName(n.path)
		hold := d.Base.Hold
		for _, e := range d.Base.Egresses {
			hold = hold || e.Hold && n.unit.Egress == e.ID
		}
		want = append(want, hub.Object{Key: key, Value: n.value, Unit: n.unit, Hold: hold})
		have = append(have, hub.Object{Key: key, Value: v.sysctls[n.path], Unit: n.unit})
	}
	return want, have
}

func conf4(dev, name string) string { return "net/ipv4/conf/" + dev + "/" + name }
func conf6(dev, name string) string { return "net/ipv6/conf/" + dev + "/" + name }

// sysctlName is a path in the words of sysctl(8): dots between, and a slash where a name has a dot.
func sysctlName(path string) string { return swapDots.Replace(path) }

// sysctlPath is the inverse.
func sysctlPath(name string) string { return swapDots.Replace(name) }

var swapDots = strings.NewReplacer("/", ".", ".", "/")
