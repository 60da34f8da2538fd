package fabric

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
)

type portKind int

const (
	portENI portKind = iota
	portInternet
	portCloud
)

// port is one plugged-in TAP.
type port struct {
	kind       portKind
	ns, ifname string
	eni        string     // portENI: id of the interface
	addr       netip.Addr // portInternet, portCloud: the public address
	mac        net.HardwareAddr
	file       *os.File

	// Of the reading goroutine alone:
	pk    packet
	frags fragments
}

// name is the place of drops that happen at the plug.
func (p *port) name() string {
	switch p.kind {
	case portENI:
		return p.eni
	case portInternet:
		return p.addr.String()
	}
	return "cloud"
}

// wiring is who is plugged in; never changed after it was stored.
type wiring struct {
	all      []*port
	enis     map[string]*port
	internet map[netip.Addr]*port
	cloud    *port
}

func wire(ports []*port) *wiring {
	w := &wiring{all: ports, enis: make(map[string]*port), internet: make(map[netip.Addr]*port)}
	for _, p := range ports {
		switch p.kind {
		case portENI:
			w.enis[p.eni] = p
		case portInternet:
			w.internet[p.addr] = p
		case portCloud:
			w.cloud = p
		}
	}
	return w
}

// attach creates the TAP of p and starts its reader.
func (f *Fabric) attach(p *port, mtu int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.isClosed() {
		return fmt.Errorf("attach %s to %s: the fabric is closed", p.name(), p.ns)
	}
	old := f.wires.Load()
	for _, other := range old.all {
		if other.name() == p.name() {
			return fmt.Errorf("attach %s to %s: already attached to %s", p.name(), p.ns, other.ns)
		}
	}
	file, err := openTAP(p.ns, p.ifname, p.mac, mtu)
	if err != nil {
		return fmt.Errorf("attach %s: %w", p.name(), err)
	}
	p.file = file
	f.wires.Store(wire(append(slices.Clone(old.all), p)))
	f.readers.Add(1)
	go f.read(p)
	return nil
}

// Detach unplugs the TAP ifname of a namespace, given as in Attach.
func (f *Fabric) Detach(ns, ifname string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.wires.Load().all
	i := slices.IndexFunc(old, func(p *port) bool { return nsPath(p.ns) == nsPath(ns) && p.ifname == ifname })
	if i < 0 {
		return fmt.Errorf("detach %s from %s: not attached", ifname, ns)
	}
	f.wires.Store(wire(slices.Delete(slices.Clone(old), i, i+1)))
	return old[i].file.Close()
}

// read carries the frames of one port until its TAP is gone.
func (f *Fabric) read(p *port) {
	defer f.readers.Done()
	line := make(delayLine, delayed)
	defer close(line)
	f.readers.Add(1)
	go f.runLate(*p, line)
	buf := make([]byte, 1<<16)
	for {
		n, err := p.file.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			f.opt.Logf("fabric: read %s in %s: %v; detaching it", p.ifname, p.ns, err)
			f.forget(p)
			return
		}
		if n < ethLen {
			continue
		}
		if latency := f.faults.Load().latency; latency == 0 {
			f.receive(p, buf[:n])
		} else if !line.put(buf[:n], latency) {
			f.drop(p.name(), ReasonLoss, "latency: too many frames on their way")
		}
	}
}

// forget unplugs a port whose TAP vanished under us, as when somebody deleted it.
func (f *Fabric) forget(p *port) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(f.wires.Load().all), func(o *port) bool { return o == p })
	f.wires.Store(wire(rest))
	p.file.Close()
}

// send writes the packet's frame to a port; src is who it comes from on the wire.
func (f *Fabric) send(to *port, src net.HardwareAddr, pk *packet) {
	copy(pk.frame, to.mac)
	copy(pk.frame[6:], src)
	if _, err := to.file.Write(pk.frame); err != nil {
		f.drop(to.name(), ReasonNoHost, pk.String()) // the host's link is down
	}
}

// fragments remembers the ports that the first fragment of a datagram showed, so
// that its other fragments are judged alike.
type fragments struct {
	heads map[fragKey]header
}

type fragKey struct {
	src, dst netip.Addr
	proto    uint8
	id       uint32
}

// fragmentsMax bounds the memory; forgetting costs a datagram at worst.
const fragmentsMax = 1024

// complete fills in the transport fields of a later fragment. False: its first
// fragment was not seen.
func (fr *fragments) complete(h *header) bool {
	if h.first && !h.more {
		return true
	}
	key := fragKey{h.src, h.dst, h.proto, h.fragID}
	if h.first {
		if len(fr.heads) >= fragmentsMax {
			clear(fr.heads)
		}
		if fr.heads == nil {
			fr.heads = make(map[fragKey]header)
		}
		fr.heads[key] = *h
		return true
	}
	head, ok := fr.heads[key]
	if !ok {
		return false
	}
	h.known, h.srcPort, h.dstPort = head.known, head.srcPort, head.dstPort
	h.kind, h.code, h.id = head.kind, head.code, head.id
	return true
}
