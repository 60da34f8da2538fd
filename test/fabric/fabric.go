package fabric

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"peerhub/test/ec2sim"
)

// Options of a Fabric; the zero value works.
type Options struct {
	// Logf gets a line for what goes wrong outside the rules, such as a TAP
	// that vanished. Nil: nothing is said.
	Logf func(string, ...any)
	// API is the public address of the EC2 API, delivered to the cloud
	// namespace. Zero: DefaultAPI.
	API netip.Addr
}

// DefaultAPI is the public address of the API unless Options says otherwise
// (TEST-NET-2, RFC 5737, so that it never exists elsewhere).
var DefaultAPI = netip.MustParseAddr("198.51.100.1")

// Fabric is the router between all attached namespaces.
type Fabric struct {
	opt     Options
	start   time.Time
	snap    atomic.Pointer[snapshot]
	wires   atomic.Pointer[wiring]
	faults  atomic.Pointer[faults]
	aliases aliasTable
	dropped dropCounts

	mu       sync.Mutex // Update, Attach, Detach, SetFault
	trackers map[string]*tracker
	done     chan struct{} // closed by Close
	readers  sync.WaitGroup
}

// New starts with an empty Network.
func New(opt Options) *Fabric {
	if opt.Logf == nil {
		opt.Logf = func(string, ...any) {}
	}
	if !opt.API.IsValid() {
		opt.API = DefaultAPI
	}
	f := &Fabric{opt: opt, start: time.Now(), trackers: make(map[string]*tracker), done: make(chan struct{})}
	f.dropped.counts = make(map[dropKey]*Drop)
	f.aliases.init()
	f.wires.Store(&wiring{})
	f.faults.Store(&faults{})
	f.Update(ec2sim.Network{})
	return f
}

// Update makes n the truth for every packet read from now on. The caller must not
// change what n refers to.
func (f *Fabric) Update(n ec2sim.Network) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := make(map[string]*tracker, len(n.Interfaces))
	f.snap.Store(compile(n, func(eniID string) *tracker {
		t := f.trackers[eniID]
		if t == nil {
			t = newTracker()
		}
		kept[eniID] = t
		return t
	}))
	f.trackers = kept
}

// AttachENI plugs a network interface into a namespace (a name or a path): it
// creates the TAP ifname there with the interface's MAC and MTU 9001, down and
// without addresses. The interface must be in the last Network.
func (f *Fabric) AttachENI(ns, ifname, eniID string) error {
	e := f.snap.Load().interfaces[eniID]
	if e == nil {
		return fmt.Errorf("attach %s to %s: no such interface in the network", eniID, ns)
	}
	return f.attach(&port{kind: portENI, ns: ns, ifname: ifname, eni: eniID, mac: e.mac}, mtuRegion)
}

// AttachInternet plugs a host of the public internet in, MTU 1500.
func (f *Fabric) AttachInternet(ns, ifname string, addr netip.Addr, mac net.HardwareAddr) error {
	return f.attach(&port{kind: portInternet, ns: ns, ifname: ifname, addr: addr, mac: mac}, mtuInternet)
}

// AttachCloud plugs in the namespace where AWS itself lives: the API on
// Options.API, the IMDS on 169.254.169.254:80, the resolver on 169.254.169.253:53.
func (f *Fabric) AttachCloud(ns, ifname string) error {
	mac := net.HardwareAddr{0x02, 0xc1, 0x00, 0xd0, 0x00, 0x01}
	return f.attach(&port{kind: portCloud, ns: ns, ifname: ifname, addr: f.opt.API, mac: mac}, mtuInternet)
}

// ConfigureENI does for an attached interface what DHCP does on EC2: the primary
// address, a default route via the subnet's first address, up. IPv6 addresses
// and secondary ones are left to the host, as on EC2.
func (f *Fabric) ConfigureENI(eniID string) error {
	p := f.wires.Load().enis[eniID]
	e := f.snap.Load().interfaces[eniID]
	if p == nil || e == nil || len(e.addrs) == 0 {
		return fmt.Errorf("configure %s: not attached, or not in the network", eniID)
	}
	address := netip.PrefixFrom(e.addrs[0], e.subnet.prefix.Bits())
	return configure(p.ns, p.ifname, []netip.Prefix{address}, e.subnet.router())
}

// ConfigureInternet gives a host of the internet its address and default route.
func (f *Fabric) ConfigureInternet(addr netip.Addr) error {
	p := f.wires.Load().internet[addr]
	if p == nil {
		return fmt.Errorf("configure internet host %s: not attached", addr)
	}
	return configure(p.ns, p.ifname, []netip.Prefix{single(addr)}, outsideRouter)
}

// ConfigureCloud gives the cloud namespace the addresses of its services.
func (f *Fabric) ConfigureCloud() error {
	p := f.wires.Load().cloud
	if p == nil {
		return errors.New("configure cloud: not attached")
	}
	return configure(p.ns, p.ifname, []netip.Prefix{single(f.opt.API), single(imdsAddr), single(resolverAddr)}, outsideRouter)
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// Close unplugs everything; all TAPs vanish.
func (f *Fabric) Close() {
	f.mu.Lock()
	if !f.isClosed() {
		close(f.done)
	}
	old := f.wires.Swap(&wiring{})
	f.mu.Unlock()
	for _, p := range old.all {
		p.file.Close()
	}
	f.readers.Wait()
}

func (f *Fabric) isClosed() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

func (f *Fabric) now() time.Duration { return time.Since(f.start) }
