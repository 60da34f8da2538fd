package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"time"

	"peerhub/discovery"
	"peerhub/hub"
	"peerhub/hub/awsapi"
	"peerhub/hub/config"
	"peerhub/hub/control"
	"peerhub/hub/daemon"
	"peerhub/hub/failpoint"
	"peerhub/hub/kroute"
	"peerhub/hub/peering"
	"peerhub/hub/state"
	"peerhub/hub/vpcroute"
	"peerhub/masq"
	"peerhub/vpnconf"
)

// parts is everything a hubd is put together from.
type parts struct {
	state     *state.State
	saved     daemon.Saved
	sessions  *awsapi.Sessions
	discovery *discovery.Discovery
	kroute    *kroute.Plane
	masq      *masq.Plane
	vpcroute  *vpcroute.Plane
	vpnconf   *vpnconf.Plane
	acceptor  *peering.Acceptor
	topology  atomic.Pointer[hub.Topology] // the last one
	arrived   atomic.Pointer[func()]       // what to do when a slow source has answered
}

// hasty is how patient a command is for which a person waits; the daemon takes the defaults.
var hasty = awsapi.Limits{MaxAttempts: 2, Attempt: 10 * time.Second, Call: 20 * time.Second}

// purpose is what parts are opened for.
type purpose struct {
	dryRun bool // a copy of the state is used, nothing is written
	once   bool // for one pass, which leaves nothing behind that needs a living process
}

// open opens the state, the kernel and AWS's configuration. It writes nothing but the state
// directory and asks no service.
func open(ctx context.Context, c config.Config, limits awsapi.Limits, do purpose) (p *parts, err error) {
	p = &parts{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
			p = nil
		}
	}()
	openState := state.Open
	if do.dryRun {
		openState = state.OpenCopy
	}
	if p.state, err = openState(c.State); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			err = explained{"run hubd as root or as the owner of " + c.State, err}
		}
		return p, err
	}
	if err := handBack(p.state.Dir()); err != nil {
		return p, err
	}
	failpoint.Hit("start.opened")
	if err := p.load(ctx); err != nil {
		return p, err
	}
	if p.kroute, err = kroute.Open(kroute.Options{}); err != nil {
		return p, err
	}
	if p.masq, err = masq.Open(ctx, masq.Options{Ownership: c.Policy.Masq.Ownership, Once: do.once}); err != nil {
		return p, err
	}
	if p.sessions, err = awsapi.New(ctx, awsapi.Options{Endpoint: c.AWS.Endpoint, AllowInsecure: c.AWS.AllowInsecureEndpoint, Limits: limits}); err != nil {
		return p, err
	}
	p.discovery = discovery.New(discovery.Options{
		Sessions: p.sessions, Roles: awsapi.Roles{Default: c.AWS.Role, ExternalID: c.AWS.ExternalID},
		Hub: factsOf(c.Hub), Regions: c.AWS.Regions, Interval: c.Poll, Kernel: p.interfaces, Ledger: p.state,
		Now: time.Now, LastGood: p.saved.Topology, Arrived: p.slowSource,
	})
	p.vpcroute = vpcroute.New(vpcroute.Options{
		Open:   func(ctx context.Context, s hub.Scope) (vpcroute.RouteAPI, error) { return p.discovery.EC2(ctx, s) },
		Ledger: p.state, Topology: p.lastTopology, Now: time.Now, LastGood: p.saved.Topology,
	})
	p.acceptor = peering.NewAcceptor(func(ctx context.Context, s hub.Scope) (peering.API, error) { return p.discovery.EC2(ctx, s) }, time.Now)
	status := map[string]string{}
	for _, v := range c.Policy.VPNs {
		if v.Status != "" {
			status[v.Name] = v.Status
		}
	}
	p.vpnconf = vpnconf.New(vpnconf.Options{Servers: baseOf(c.Policy).Servers, Status: status})
	return p, nil
}

// baseOf is the part of a want that needs no topology: tunnels and servers.
func baseOf(policy hub.Policy) hub.Base {
	want, _, _ := hub.Decide(policy, hub.Topology{}, hub.Remembered{})
	return want.Base
}

// load reads what an earlier hubd left.
func (p *parts) load(ctx context.Context) (err error) {
	if p.saved.Remembered, err = p.state.LoadRemembered(ctx); err != nil {
		return err
	}
	if p.saved.Desired, err = p.state.LoadDesired(ctx); err != nil {
		return err
	}
	topology, known, err := p.state.LoadTopology(ctx)
	if err != nil {
		return err
	}
	if known {
		p.saved.Topology = &topology
		p.topology.Store(&topology)
	}
	if p.saved.Window, err = p.state.LoadWindow(ctx); err != nil {
		return err
	}
	p.saved.Doubt = p.state.Doubt()
	return nil
}

func (p *parts) close() error {
	var errs []error
	if p.discovery != nil {
		p.discovery.Close()
	}
	if p.masq != nil {
		errs = append(errs, p.masq.Close())
	}
	if p.kroute != nil {
		errs = append(errs, p.kroute.Close())
	}
	if p.state != nil {
		errs = append(errs, p.state.Close(), handBack(p.state.Dir()))
	}
	return errors.Join(errs...)
}

// planes in the order of additions.
func (p *parts) planes() []hub.Plane {
	return []hub.Plane{p.kroute, p.masq, p.vpcroute, p.vpnconf}
}

func (p *parts) lastTopology() hub.Topology {
	if t := p.topology.Load(); t != nil {
		return *t
	}
	return hub.Topology{}
}

func (p *parts) slowSource() {
	if f := p.arrived.Load(); f != nil {
		(*f)()
	}
}

// interfaces tells discovery what the kernel calls the hub's interfaces.
func (p *parts) interfaces() ([]discovery.KernelInterface, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	list, err := p.kroute.Facts(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]discovery.KernelInterface, len(list))
	for i, f := range list {
		out[i] = discovery.KernelInterface{Name: f.Name, MAC: f.MAC, Addresses: addresses(f.Addresses)}
	}
	return out, nil
}

func addresses(list []netip.Prefix) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, p := range list {
		out[i] = p.Addr()
	}
	return out
}

func factsOf(h config.Hub) discovery.HubFacts {
	out := discovery.HubFacts{Name: h.Name, Region: h.Region, VPC: h.VPC, Instance: h.Instance}
	for _, i := range h.Interfaces {
		out.Interfaces = append(out.Interfaces, discovery.InterfaceFact{Name: i.Name, ENI: i.ENI})
	}
	return out
}

// surveyor is discovery as the daemon sees it: it remembers the topology for vpcroute,
// rebuilds a lost ledger from tags, and says what is wrong in a sentence.
type surveyor struct {
	parts *parts
	// lost: the state came without a trace of an earlier hubd, so the ledger may be lost too.
	lost bool
}

func (s *surveyor) Survey(ctx context.Context, policy hub.Policy) (hub.Topology, error) {
	t, err := s.parts.discovery.Survey(ctx, policy)
	if err != nil {
		return t, explain(err)
	}
	if s.lost && fresh(t) && !failpoint.Off("recover") {
		if err := s.recover(ctx, t); err != nil {
			return t, err
		}
		s.lost = false
	}
	s.parts.topology.Store(&t)
	return t, nil
}

// fresh reports whether the hub's own source has answered completely.
func fresh(t hub.Topology) bool {
	for _, s := range t.Sources {
		if s.Scope == t.Hub.Scope && s.Fresh {
			return true
		}
	}
	return false
}

// recover writes into the ledger the routes that the tags on our side of the peerings name.
func (s *surveyor) recover(ctx context.Context, t hub.Topology) error {
	have, err := s.parts.state.Entries(ctx)
	if err != nil {
		return fmt.Errorf("rebuild the ledger: %w", err)
	}
	known := map[hub.LedgerKey]bool{}
	for _, e := range have {
		known[e.LedgerKey] = true
	}
	living, err := s.parts.living(ctx, t.Hub.Scope, vpcroute.Writers(t))
	if err != nil {
		return fmt.Errorf("rebuild the ledger: %w", err)
	}
	for _, e := range vpcroute.Recover(t, living...) {
		if known[e.LedgerKey] {
			continue
		}
		if err := s.parts.state.Intend(ctx, e); err != nil {
			return fmt.Errorf("rebuild the ledger: %w", err)
		}
		failpoint.Hit("start.recover")
		if err := s.parts.state.Confirm(ctx, e.LedgerKey); err != nil {
			return fmt.Errorf("rebuild the ledger: %w", err)
		}
	}
	return nil
}

// counters joins the firewall's counters by spoke number: a spoke may have several ways out.
func (p *parts) counters(ctx context.Context) (map[uint16]daemon.Counter, error) {
	marks, err := p.masq.Counters(ctx)
	if err != nil {
		return nil, err
	}
	out := map[uint16]daemon.Counter{}
	for mark, t := range marks {
		c := out[uint16(mark&hub.MarkSpokeMask)]
		c.Packets.Out += t.Out.Packets
		c.Packets.In += t.Back.Packets
		c.Bytes.Out += t.Out.Bytes
		c.Bytes.In += t.Back.Bytes
		out[uint16(mark&hub.MarkSpokeMask)] = c
	}
	return out, nil
}

func (p *parts) conntrack(ctx context.Context) (entries, limit uint32, err error) {
	o, err := p.masq.Conntrack(ctx)
	return o.Entries, o.Limit, err
}

// clients joins OpenVPN's status with the config's sites.
func (p *parts) clients(ctx context.Context, want hub.Desired) ([]control.Client, []hub.Problem) {
	list, problems := p.vpnconf.Clients(ctx, want.Base.Servers)
	sites := map[string]bool{}
	for _, server := range want.Base.Servers {
		for _, site := range server.Sites {
			sites[server.Name+" "+site.Client] = true
		}
	}
	out := make([]control.Client, len(list))
	for i, c := range list {
		out[i] = control.Client{Server: c.Server, Name: c.Name, Real: c.Real, Site: sites[c.Server+" "+c.Name], Lacks: c.Lacks}
		if c.Lacks == nil {
			out[i].Lacks = []netip.Prefix{}
		}
		if c.Address.IsValid() {
			out[i].Address = &list[i].Address
		}
		if !c.Since.IsZero() {
			since := c.Since.UTC()
			out[i].Since = &since
		}
	}
	return out, problems
}

func notesIn(dir string) *notes { return &notes{path: filepath.Join(dir, "notes.json")} }
