package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"peerhub/hub"
	"peerhub/hub/config"
	"peerhub/hub/control"
)

// Options is what a daemon is made of. Functions that are nil are left out.
type Options struct {
	Version string
	Config  config.Config
	Load    func() (config.Config, error) // reads the config anew
	// Reloaded tells the rest of the program about a new config. It returns the keys whose
	// change takes a restart.
	Reloaded func(old, fresh config.Config) []string

	Planes     []hub.Plane // in the order of additions
	Discoverer hub.Discoverer
	Store      Store
	Notes      Notes
	Saved      Saved
	WriteLast  func(any) error // keeps the last report where hubctl finds it when hubd is gone

	// Force makes the next survey read everything, and the next pass try everything again.
	Force func()
	// Accept accepts the pending requests of listed accounts, and says which.
	Accept func(context.Context, hub.Policy, hub.Topology) ([]hub.PeeringID, error)
	// Clients lists who is connected, which reachable prefix each was not given, and what is wrong with that.
	Clients func(context.Context, hub.Desired) ([]control.Client, []hub.Problem)
	// Counters reads the firewall's counters by spoke number.
	Counters func(context.Context) (map[uint16]Counter, error)
	// Conntrack tells how many flows the kernel tracks and how many it can.
	Conntrack func(context.Context) (entries, limit uint32, err error)
	// Flows lists the live flows that come out of a tunnel.
	Flows func(context.Context, hub.Desired) ([]Flow, error)
	// Occupied says why a first start must be careful; "" when it need not.
	Occupied func(context.Context, hub.Policy) (string, error)

	Handmade Handmade // what to do about things that a person made

	Control *control.Listener // nil: none
	Metrics net.Listener      // nil: none
	Notify  func(...string)   // systemd, nil: none
	Beat    time.Duration     // of systemd's watchdog; 0: none
	Log     zerolog.Logger
}

// Saved is what an earlier hubd left.
type Saved struct {
	Remembered hub.Remembered
	Desired    *hub.Desired    // nil: nothing known
	Topology   *hub.Topology   // nil: nothing known
	Doubt      string          // why it is not to be trusted
	Window     json.RawMessage // of SaveWindow; nil: nothing waits to be confirmed
}

// Store is the durable memory.
type Store interface {
	// Save is called before anything is applied.
	Save(context.Context, hub.Remembered, hub.Desired) error
	SaveTopology(context.Context, hub.Topology) error
	// SaveWindow keeps what is to be put back unless somebody confirms; nil: nothing is.
	SaveWindow(context.Context, json.RawMessage) error
	// AppendHistory keeps what changed; losing it loses nothing else.
	AppendHistory(context.Context, hub.HistoryEntry) error
	History(context.Context, hub.HistoryQuery) ([]hub.HistoryEntry, error)
}

// Notes keeps small words durably. One that was never set is "". Note fails with ErrNotesBroken
// when what was set cannot be understood any more; SetNote begins anew then.
type Notes interface {
	Note(key string) (string, error)
	SetNote(key, value string) error
}

// ErrNotesBroken says that something was noted, and nobody can tell what.
var ErrNotesBroken = errors.New("what was noted here cannot be understood any more")

// Counter is one spoke's traffic.
type Counter struct{ Packets, Bytes control.Traffic }

// Flow is one connection that conntrack knows.
type Flow struct {
	Protocol       string
	Source, Target netip.AddrPort // before translation
	Ours           bool           // carries a mark of ours
	Translated     bool           // somebody else gave it an address of the hub
	Local          bool           // its target is the hub itself
}

// Tempo. Bounds of our own, not of the config.
const (
	passGap     = 200 * time.Millisecond // between two passes that nobody asked for
	passTime    = 2 * time.Minute        // of one pass
	surveyGap   = time.Second            // between two surveys
	surveyTime  = 2 * time.Minute        // of one survey
	askTime     = 20 * time.Second       // that a sync waits for AWS before it takes what is known
	firstWait   = 3 * time.Second        // for a first topology, before a pass is made without one
	clientsAge  = 10 * time.Second       // of the list of clients
	clientsTime = 3 * time.Second        // to read it
	healthyAge  = 3                      // polls without a pass before hubd is not ready
	maxLogged   = 200                    // changes of one pass that get a line each
)

// errNotReady says why readiness is refused.
var errNotReady = errors.New("no pass has been made yet")
