package masq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"peerhub/hub"

	"golang.org/x/sys/unix"
)

// DefaultTable is the name of our table in the inet family.
const DefaultTable = "hubd"

// Options say where the plane works and how.
type Options struct {
	NetNS     int           // descriptor of a network namespace, needed only during Open; 0: the caller's
	Ownership hub.Ownership // for wants that name none; "" is auto
	Table     string        // "" is DefaultTable
	Once      bool          // the process ends after one pass: nothing is made that goes with it
}

// Plane is the nftables plane. It implements hub.Plane and may be used by several
// goroutines.
type Plane struct {
	table     string
	asked     hub.Ownership
	keep      program
	once      bool
	abilities abilities
	watch     *listener

	mu        sync.Mutex
	programs  map[shape]program // compiled skeletons
	sock      *socket
	last      *state // what the last Observe or Apply saw
	inForce   Mode
	scanned   bool     // conntrack was read once
	flows     []uint32 // marks found there that `out` did not have
	conntrack error
	occupied  Occupancy // at the last Observe
	judged    *state    // for which harmed was found
	harmed    []hub.Problem
	index     func(name string) (uint32, bool) // of an interface
}

var (
	_ hub.Plane    = (*Plane)(nil)
	_ hub.View     = (*View)(nil)
	_ hub.Troubled = (*View)(nil)
)

// Open opens the sockets and asks the kernel what it can do. It writes nothing.
func Open(ctx context.Context, o Options) (*Plane, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	p := &Plane{table: o.Table, asked: o.Ownership, once: o.Once, programs: make(map[shape]program), index: interfaceIndex}
	if o.NetNS != 0 {
		p.index = func(string) (uint32, bool) { return 0, false } // of another namespace
	}
	if p.table == "" {
		p.table = DefaultTable
	}
	var err error
	if p.keep, err = compile(keepChains()); err != nil {
		return nil, err
	}
	if p.sock, err = dial(o.NetNS); err != nil {
		return nil, explain(err)
	}
	if _, err = p.sock.generation(); err == nil {
		p.abilities, err = probe(p.sock, p.table, os.DirFS("/"))
	}
	if err == nil {
		p.watch, err = listen(o.NetNS, p.sock.port())
	}
	if err != nil {
		return nil, errors.Join(explain(err), p.sock.close())
	}
	p.inForce = p.abilities.choose(p.asked)
	return p, nil
}

func interfaceIndex(name string) (uint32, bool) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, false
	}
	return uint32(i.Index), true
}

// program is the skeleton of a shape.
func (p *Plane) program(s shape) (program, error) {
	if c, ok := p.programs[s]; ok {
		return c, nil
	}
	c, err := compile(chains(s))
	if err == nil {
		p.programs[s] = c
	}
	return c, err
}

// explain turns the kernel's first refusals into what to do about them.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("nftables needs root or CAP_NET_ADMIN: %w", err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("this kernel has no nf_tables (try: modprobe nf_tables): %w", err)
	}
	return fmt.Errorf("open nftables: %w", err)
}

// Close closes the sockets. In plain mode the second table goes with them; the main table
// and the data path stay.
func (p *Plane) Close() error {
	err := p.watch.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := errors.Join(err, p.sock.close()); err != nil {
		return fmt.Errorf("close nftables: %w", err)
	}
	return nil
}

// Name is hub.PlaneMasq.
func (p *Plane) Name() hub.PlaneName { return hub.PlaneMasq }

// Mode says which ownership is in force: of the table as it was last made by this plane,
// before that what Options ask for.
func (p *Plane) Mode() Mode {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inForce
}

// Observe reads our tables. While the ruleset's generation is the one that the last
// Observe or Apply left behind it costs one small request.
func (p *Plane) Observe(ctx context.Context) (hub.View, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read table inet %s: %w", p.table, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.occupied, _ = p.sock.occupancy() // a kernel without conntrack netlink: scanConntrack says so
	if p.last != nil {
		now, err := p.sock.generation()
		if err != nil {
			return nil, fmt.Errorf("read the ruleset generation: %w", err)
		}
		if now == p.last.generation {
			p.judgeForeign()
			return p.view(p.last), nil
		}
	}
	st, err := p.observe()
	if err != nil {
		return nil, err
	}
	if !p.scanned {
		p.scanConntrack(st)
	}
	st.flows = p.flows
	p.last = st
	p.judgeForeign()
	return p.view(st), nil
}

// judgeForeign looks at other people's chains once for every state. What a change of ours
// means for them is seen by the next Observe.
func (p *Plane) judgeForeign() {
	if p.judged != p.last {
		p.judged, p.harmed = p.last, p.judge(p.last)
	}
}

func (p *Plane) view(st *state) *View {
	return &View{state: st, table: p.table, once: p.once, port: p.sock.port(), abilities: p.abilities, asked: p.asked, conntrack: p.conntrack, occupied: p.occupied, harmed: p.harmed}
}

// Cleanup removes our two tables and nothing else. Tables that are not there are fine.
func (p *Plane) Cleanup(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("remove table inet %s: %w", p.table, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = nil
	var reqs []request
	var names []string
	for _, name := range []string{p.table, keepName(p.table)} {
		t, err := p.readTable(name)
		if err != nil {
			return err
		}
		if t.exists {
			reqs, names = append(reqs, delTable(name)), append(names, name)
		}
	}
	refused, err := p.sock.batch(reqs)
	if err != nil {
		return fmt.Errorf("remove our tables: %w", err)
	}
	var errs []error
	for i, err := range refused {
		errs = append(errs, fmt.Errorf("remove table inet %s: %w", names[i], owned(err)))
	}
	return errors.Join(errs...)
}

// owned explains EPERM on a table: only the owner's socket may change it.
func owned(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("it belongs to another process, is another hubd running? %w", err)
	}
	return err
}
