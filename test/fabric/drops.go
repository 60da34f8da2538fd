package fabric

import (
	"cmp"
	"slices"
	"sync"
)

// Why a packet was dropped. The place says where: the id of the interface,
// subnet, table, peering, ACL or gateway that refused it.
const (
	ReasonSourceCheck = "eni-source-check"      // neither from nor to the interface (place: interface)
	ReasonNoRoute     = "no-route"              // no route in the table, or private space on the internet (table, gateway)
	ReasonBlackhole   = "blackhole"             // the route's target is gone (table)
	ReasonNoPublic    = "igw-no-public-address" // the internet gateway has nothing to map the source to (gateway)
	ReasonPeerSource  = "pcx-source"            // source outside the sending VPC (peering)
	ReasonPeerDest    = "pcx-dest"              // destination outside the receiving VPC: transit, edge (peering)
	ReasonPeerDown    = "pcx-inactive"          // the peering is not active (peering)
	ReasonGroup       = "sg"                    // no rule of the interface's security groups (interface)
	ReasonACL         = "nacl"                  // the network ACL (ACL)
	ReasonNoHost      = "no-host"               // nobody holds the address, or the holder is not running (subnet, interface, internet)
	ReasonMTU         = "mtu"                   // too big for the path, and the sender was not told (peering, gateway)
	ReasonTarget      = "unsupported-target"    // a route to something that is not simulated: nat, tgw, vgw (table)
	ReasonBroadcast   = "no-broadcast"          // broadcast or multicast (interface)
	ReasonNoInterface = "no-interface"          // sent by an interface that AWS no longer has (interface)
	ReasonSpoofed     = "internet-source"       // a host of the internet used an address not its own (its address)
	ReasonMalformed   = "malformed"             // not an IP packet one can read, or a fragment without a beginning
	ReasonLoss        = "fault-loss"            // the loss fault (sender)
)

// Drop counts the packets that one place dropped for one reason.
type Drop struct {
	Place, Reason string
	Count         uint64
	Last          string // "proto src:port > dst:port" of the latest one
}

type dropKey struct{ place, reason string }

type dropCounts struct {
	mu     sync.Mutex
	counts map[dropKey]*Drop
	hooks  []func(place, reason, packet string)
}

// Drops lists what was dropped so far, sorted by place and reason.
func (f *Fabric) Drops() []Drop {
	f.dropped.mu.Lock()
	defer f.dropped.mu.Unlock()
	out := make([]Drop, 0, len(f.dropped.counts))
	for _, d := range f.dropped.counts {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b Drop) int {
		return cmp.Or(cmp.Compare(a.Place, b.Place), cmp.Compare(a.Reason, b.Reason))
	})
	return out
}

// OnDrop registers a function that is called for every dropped packet, on the
// goroutine that carries packets: it must be quick and must not call the Fabric.
func (f *Fabric) OnDrop(fn func(place, reason, packet string)) {
	f.dropped.mu.Lock()
	defer f.dropped.mu.Unlock()
	f.dropped.hooks = append(f.dropped.hooks, fn)
}

// drop counts a packet that goes no further.
func (f *Fabric) drop(place, reason, packet string) {
	d := &f.dropped
	d.mu.Lock()
	key := dropKey{place, reason}
	entry := d.counts[key]
	if entry == nil {
		entry = &Drop{Place: place, Reason: reason}
		d.counts[key] = entry
	}
	entry.Count++
	entry.Last = packet
	hooks := d.hooks
	d.mu.Unlock()
	for _, fn := range hooks {
		fn(place, reason, packet)
	}
}
