package kroute

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netns"

	"peerhub/hub"
)

// fullRead is how old a view may get although no event spoke against it.
const fullRead = time.Minute

// Options say where the plane works.
type Options struct {
	NetNS int // file descriptor of the network namespace; 0 or less: the one we are in
}

// Plane is the plane of kernel routes.
type Plane struct {
	ns   netns.NsHandle
	in   namespace
	conn *conn

	mu     sync.Mutex // one reader or writer of the kernel at a time
	seen   *view      // what the last Observe or Apply ended with
	seenAt time.Time

	watching atomic.Int32 // running Watches
	stale    atomic.Bool  // an event since seen was read
}

var _ hub.Plane = (*Plane)(nil)

// Open opens the sockets. It changes nothing.
func Open(o Options) (*Plane, error) {
	ns := netns.None()
	if o.NetNS > 0 {
		ns = netns.NsHandle(o.NetNS)
	}
	c, err := dial(ns)
	if err != nil {
		return nil, err
	}
	return &Plane{ns: ns, in: namespace{ns}, conn: c}, nil
}

// Close closes the sockets. What was made stays.
func (p *Plane) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn.close()
	return nil
}

// Name is kroute.
func (p *Plane) Name() hub.PlaneName { return hub.PlaneKRoute }

// Observe reads the kernel, or returns the last view while a Watch runs, no event came
// and the view is not older than a minute.
func (p *Plane) Observe(ctx context.Context) (hub.View, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen != nil && p.watching.Load() > 0 && !p.stale.Load() && time.Since(p.seenAt) < fullRead {
		return p.seen, nil
	}
	v, err := p.read()
	if err != nil {
		return nil, err
	}
	return v, nil
}

// read takes the whole picture. The mark of staleness goes first: an event that comes
// while reading counts for the next time.
func (p *Plane) read() (*view, error) {
	p.stale.Store(false)
	v, err := p.conn.read(p.in)
	if err != nil {
		p.stale.Store(true)
		return nil, fmt.Errorf("read kernel routes: %w", err)
	}
	p.seen, p.seenAt = v, time.Now()
	return v, nil
}

// Facts returns the namespace's interfaces, by name.
func (p *Plane) Facts(ctx context.Context) ([]Interface, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conn.interfaces()
}

// FailClosed makes the rules and tables that keep the tunnels' traffic in, and removes
// nothing. With setForward it then switches IPv4 forwarding on. It needs to know nothing
// but the tunnels, so it can run at boot, before anything else does.
func FailClosed(ctx context.Context, ns int, tunnels []hub.Tunnel, setForward bool) error {
	p, err := Open(Options{NetNS: ns})
	if err != nil {
		return err
	}
	seen, err := p.Observe(ctx)
	if err == nil {
		changes := hub.Additions(seen.Plan(hub.Desired{Base: hub.Base{Tunnels: tunnels}}))
		_, err = p.Apply(ctx, seen, changes)
	}
	if err == nil && setForward {
		if err = p.in.writeSysctl(ipForward, "1"); err != nil {
			err = fmt.Errorf("set %s: %w", sysctlName(ipForward), err)
		}
	}
	return errors.Join(err, p.Close())
}

// Cleanup removes what is ours and nothing else. What keeps tunnels closed goes last.
// Sysctls stay: nobody knows who else needs them by now.
func (p *Plane) Cleanup(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	v, err := p.read()
	if err != nil {
		return err
	}
	var open, shut []hub.Change
	sort := func(table uint32, c hub.Change) {
		if table == closedTable {
			shut = append(shut, c)
		} else {
			open = append(open, c)
		}
	}
	for _, r := range v.rules {
		sort(r.Table, hub.Change{Verb: hub.VerbRemove, Object: r.object()})
	}
	for _, r := range v.routes.all() {
		sort(r.Table, hub.Change{Verb: hub.VerbRemove, Object: r.object()})
	}
	v, err = p.apply(ctx, v, open)
	if err != nil {
		return err
	}
	_, err = p.apply(ctx, v, shut)
	return err
}
