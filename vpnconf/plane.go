package vpnconf

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"peerhub/hub"
)

// fullRead is how old a view may get although no event spoke against it.
const fullRead = time.Minute

// Options say where the plane looks.
type Options struct {
	// Servers are the servers whose directories are watched and written: Name and
	// ClientDir count. A server without a ClientDir is none of ours.
	Servers []hub.Server
	// Status is, by server name, a status file or the unix socket of the management interface.
	Status map[string]string
	// Now is the clock, time.Now when nil.
	Now func() time.Time
}

// Plane is the plane of OpenVPN's client directories.
type Plane struct {
	labels map[string]string // client directory -> the servers that share it, joined
	status map[string]string
	now    func() time.Time

	mu     sync.Mutex
	seen   *view
	seenAt time.Time

	watching atomic.Int32
	stale    atomic.Bool

	wroteMu sync.Mutex
	wrote   map[string][]byte // path -> what we last wrote, so that its event is not somebody else's
}

var _ hub.Plane = (*Plane)(nil)

// New makes the plane. It opens nothing.
func New(o Options) *Plane {
	p := &Plane{labels: map[string]string{}, status: o.Status, now: o.Now, wrote: map[string][]byte{}}
	if p.now == nil {
		p.now = time.Now
	}
	for dir, servers := range byDir(o.Servers) {
		p.labels[dir] = label(servers)
	}
	return p
}

// Name is vpnconf.
func (p *Plane) Name() hub.PlaneName { return hub.PlaneVPNConf }

// byDir groups servers by the directory they read: several may share one.
func byDir(servers []hub.Server) map[string][]hub.Server {
	out := map[string][]hub.Server{}
	for _, s := range servers {
		if s.ClientDir != "" {
			dir := filepath.Clean(s.ClientDir)
			out[dir] = append(out[dir], s)
		}
	}
	return out
}

// label names the servers of one directory.
func label(servers []hub.Server) string {
	var names []string
	for _, s := range servers {
		names = append(names, s.Name)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
}

// Observe reads the directories, or returns the last view while a Watch runs, no event
// came and the view is not older than a minute. A directory that cannot be read is a
// problem of the view, not an error: the others go on.
func (p *Plane) Observe(ctx context.Context) (hub.View, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.observe(), nil
}

func (p *Plane) observe() *view {
	if p.seen != nil && p.watching.Load() > 0 && !p.stale.Load() && time.Since(p.seenAt) < fullRead {
		return p.seen
	}
	return p.read()
}

func (p *Plane) read() *view {
	p.stale.Store(false)
	v := &view{dirs: map[string]*dir{}}
	for path, name := range p.labels {
		v.dirs[path] = readDir(path, name)
	}
	p.seen, p.seenAt = v, time.Now()
	return v
}

// Cleanup removes our files from the servers' directories, and no others. A config line
// of a person that included them leads nowhere then, which OpenVPN logs and passes over.
func (p *Plane) Cleanup(ctx context.Context, servers []hub.Server) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stale.Store(true)
	var errs []error
	for dir := range byDir(servers) {
		for _, name := range []string{defaultName, routesName} {
			if err := p.remove(filepath.Join(dir, name)); err != nil {
				errs = append(errs, fmt.Errorf("remove %s from %s: %w", name, dir, err))
			}
		}
	}
	return errors.Join(errs...)
}
