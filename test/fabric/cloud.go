package fabric

import (
	"net/netip"
	"sync"
	"time"
)

var (
	imdsAddr     = netip.MustParseAddr("169.254.169.254")
	resolverAddr = netip.MustParseAddr("169.254.169.253")
	linkLocal    = netip.MustParsePrefix("169.254.0.0/16")
	aliasSpace   = netip.MustParsePrefix("100.127.0.0/16")
)

// aliasTable gives every interface an address of its own inside the cloud
// namespace, so that the IMDS can tell instances apart whose private addresses
// may be equal, and remembers what its requests were addressed to.
type aliasTable struct {
	mu      sync.Mutex
	byENI   map[string]netip.Addr
	byAddr  map[netip.Addr]string
	next    netip.Addr
	flows   map[aliasFlow]aliasOrigin
	sweepAt int
}

// aliasFlow is a conversation as the cloud namespace sees it.
type aliasFlow struct {
	alias, service netip.Addr
	proto          uint8
	port           uint16 // of the instance
}

// aliasOrigin is what the instance sees of it.
type aliasOrigin struct {
	src, dst netip.Addr
	expires  time.Duration
}

// aliasIdle ends a conversation with a service of the cloud.
const aliasIdle = 5 * time.Minute

func (t *aliasTable) init() {
	t.byENI = make(map[string]netip.Addr)
	t.byAddr = make(map[netip.Addr]string)
	t.flows = make(map[aliasFlow]aliasOrigin)
	t.next = aliasSpace.Addr().Next()
	t.sweepAt = sweepMin
}

// ENIOf tells which interface a client address in the cloud namespace stands
// for; "" if none.
func (f *Fabric) ENIOf(addr netip.Addr) string {
	f.aliases.mu.Lock()
	defer f.aliases.mu.Unlock()
	return f.aliases.byAddr[addr.Unmap()]
}

// remember notes a request of an interface and returns the alias to send it from.
func (t *aliasTable) remember(eniID string, h *header, service netip.Addr, now time.Duration) netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	alias, ok := t.byENI[eniID]
	if !ok {
		alias = t.next
		t.next = alias.Next()
		t.byENI[eniID], t.byAddr[alias] = alias, eniID
	}
	if len(t.flows) >= t.sweepAt {
		for key, o := range t.flows {
			if o.expires <= now {
				delete(t.flows, key)
			}
		}
		t.sweepAt = max(sweepMin, 2*len(t.flows))
	}
	t.flows[aliasFlow{alias, service, h.proto, h.srcPort}] = aliasOrigin{h.src, h.dst, now + aliasIdle}
	return alias
}

// origin finds the request that an answer belongs to.
func (t *aliasTable) origin(h *header) (string, aliasOrigin, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o, ok := t.flows[aliasFlow{h.dst, h.src, h.proto, h.dstPort}]
	return t.byAddr[h.dst], o, ok
}

// toService carries requests to the IMDS and the resolver, which neither groups,
// ACLs nor routes can forbid, and drops what else is link-local. False: the
// packet is an ordinary one.
func (f *Fabric) toService(e *eni, pk *packet) bool {
	var service netip.Addr
	switch {
	case pk.dst == imdsAddr && pk.proto == protoTCP && pk.dstPort == 80:
		service = imdsAddr
	case (pk.dst == resolverAddr || pk.dst == e.subnet.vpc.resolver) && pk.dstPort == 53:
		service = resolverAddr
	case linkLocal.Contains(pk.dst):
		f.drop(e.id, ReasonNoHost, pk.String())
		return true
	default:
		return false
	}
	cloud := f.wires.Load().cloud
	if cloud == nil {
		f.drop("cloud", ReasonNoHost, pk.String())
		return true
	}
	pk.rewriteSource(f.aliases.remember(e.id, &pk.header, service, f.now()))
	pk.rewriteDest(service)
	f.send(cloud, routerMAC, pk)
	return true
}

// fromCloud carries the API's packets to the internet and the services' answers
// to the instances that asked. An IMDS answer starts with the TTL that the
// interface's hop limit says.
func (f *Fabric) fromCloud(pk *packet) {
	s := f.snap.Load()
	if pk.src == f.opt.API {
		f.overInternet(s, pk, internetPlace)
		return
	}
	eniID, origin, ok := f.aliases.origin(&pk.header)
	e, p := s.interfaces[eniID], f.wires.Load().enis[eniID]
	if !ok || e == nil || p == nil {
		f.drop("cloud", ReasonNoHost, pk.String())
		return
	}
	if pk.src == imdsAddr {
		pk.setTTL(e.hopLimit)
	}
	pk.rewriteSource(origin.dst)
	pk.rewriteDest(origin.src)
	f.send(p, routerMAC, pk)
}
