package control

import (
	"net/netip"
	"time"

	"peerhub/hub"
)

// Schema is the version of every answer.
const Schema = "peerhub/1"

// Status is what hubd knows about itself and the network.
type Status struct {
	Schema     string        `json:"schema"`
	Hub        Hub           `json:"hub"`
	Mode       hub.Mode      `json:"mode"`      // in force
	ModeNote   *string       `json:"mode_note"` // why it is not the configured one
	Version    string        `json:"version"`
	Running    bool          `json:"running"`  // false: from the last report of a hubd that is gone
	UpSince    *time.Time    `json:"up_since"` // null when not running
	Ready      bool          `json:"ready"`    // a pass has been made with an answer of AWS or a remembered one
	Paused     *Pause        `json:"paused"`   // all pauses as one
	Pauses     []Pause       `json:"pauses"`   // each of them, when the places were paused one by one
	Confirm    *Confirm      `json:"confirm"`  // the sync that waits for hubctl confirm
	Poll       float64       `json:"poll_seconds"`
	LastPass   *Pass         `json:"last_pass"`
	LastChange *Changed      `json:"last_change"`
	Sources    []Source      `json:"sources"`
	Spokes     []Spoke       `json:"spokes"`
	HubVPC     *Spoke        `json:"hub_vpc"` // the hub's own VPC is reachable like a spoke; null before it is known
	Clients    []Client      `json:"clients"`
	Problems   []hub.Problem `json:"problems"`
	Held       []hub.Held    `json:"held"`
	ConfigNote *string       `json:"config_note"` // why the config on disk is not in force
	StateNote  *string       `json:"state_note"`  // what was wrong with the state that this hubd found when it started, and where it is kept
}

// Hub is the VPN instance and its VPC.
type Hub struct {
	Name    string      `json:"name"`
	Account string      `json:"account"`
	Region  hub.Region  `json:"region"`
	VPC     hub.VPCID   `json:"vpc"`
	Address *netip.Addr `json:"address"` // primary address of device 0
}

// Pass is the last pass in short.
type Pass struct {
	At      time.Time `json:"at"`
	TookMS  int64     `json:"took_ms"`
	Changes int       `json:"changes"`
	Pending int       `json:"pending"`
}

// Changed is the last pass that changed something.
type Changed struct {
	At   time.Time `json:"at"`
	What string    `json:"what"` // in short: +search, -billing, 3 changes
}

// Source is a place we read from.
type Source struct {
	Account hub.AccountID `json:"account"`
	Region  hub.Region    `json:"region"`
	Fresh   bool          `json:"fresh"`
	At      *time.Time    `json:"at"` // of the answer in use; null: never
	Error   *string       `json:"error"`
}

// Spoke is a peered VPC, or the hub's own, and how far it is reachable.
type Spoke struct {
	Name       string           `json:"name"`
	Number     uint16           `json:"number"` // in the marks of its packets
	Account    hub.AccountID    `json:"account"`
	Region     hub.Region       `json:"region"`
	VPC        hub.SpokeID      `json:"vpc"`
	Peering    *hub.PeeringID   `json:"peering"`
	State      hub.PeeringState `json:"state"` // of the peering; active for the hub VPC
	Works      bool             `json:"works"` // everything wanted is in place, as far as we may see; of AWS as of AsOf when Stale
	Stale      bool             `json:"stale"` // the hub's account or the spoke's does not answer now
	AsOf       *time.Time       `json:"as_of"` // when Stale, the oldest of the last complete answers; else, and when there was none, null
	Prefixes   []netip.Prefix   `json:"prefixes"`
	Excluded   []netip.Prefix   `json:"excluded"`
	KRoute     *hub.Health      `json:"kroute"` // null: not known
	Masq       *hub.Health      `json:"masq"`
	VPCRoute   Sides            `json:"vpcroute"`
	Pushed     *hub.Health      `json:"pushed"`
	Packets    *Traffic         `json:"packets"` // null: not counted
	Bytes      *Traffic         `json:"bytes"`
	ClientsGot *hub.Count       `json:"clients_got"` // connected clients that have its routes, of all
}

// Sides are the two ends of a peering: the routes there and back.
type Sides struct {
	Hub         *hub.Health `json:"hub"`
	Spoke       *hub.Health `json:"spoke"` // null: the spoke's tables are not ours to see
	HubRoutes   hub.Count   `json:"hub_routes"`
	SpokeRoutes hub.Count   `json:"spoke_routes"`
}

// Traffic is counted by the firewall per spoke, since the spoke's elements were made.
type Traffic struct {
	Out uint64 `json:"out"` // from clients
	In  uint64 `json:"in"`  // back to them
}

// Client is a connection of a VPN user or site.
type Client struct {
	Server  string         `json:"server"`
	Name    string         `json:"name"`
	Address *netip.Addr    `json:"address"` // inside the tunnel
	Real    string         `json:"real"`    // where it connects from
	Since   *time.Time     `json:"since"`
	Site    bool           `json:"site"`
	Lacks   []netip.Prefix `json:"lacks"` // reachable prefixes whose route it was not given
}

// Clients is the answer of hubctl clients.
type Clients struct {
	Schema  string   `json:"schema"`
	Clients []Client `json:"clients"`
}

// Spokes is the answer of hubctl spokes.
type Spokes struct {
	Schema string  `json:"schema"`
	Spokes []Spoke `json:"spokes"`
}

// Change is one step of a plan.
type Change struct {
	Plane  hub.PlaneName `json:"plane"`
	Verb   hub.Verb      `json:"verb"`
	Object string        `json:"object"`
	Spoke  *string       `json:"spoke"` // its name; null: the shared part
	Detail string        `json:"detail"`
}

// Plan is what a pass would do now.
type Plan struct {
	Schema   string        `json:"schema"`
	Mode     hub.Mode      `json:"mode"`
	Changes  []Change      `json:"changes"`
	Cuts     []Cut         `json:"cuts"`
	Problems []hub.Problem `json:"problems"`
	Held     []hub.Held    `json:"held"`
}

// Cut is a live flow that would stop working.
type Cut struct {
	Client   string         `json:"client"` // who it belongs to, or its source address
	Source   netip.AddrPort `json:"source"`
	Target   netip.AddrPort `json:"target"`
	Protocol string         `json:"protocol"`
	Reason   string         `json:"reason"`
}

// Synced is what a pass did.
type Synced struct {
	Schema   string        `json:"schema"`
	Pass     Pass          `json:"pass"`
	Mode     hub.Mode      `json:"mode"`
	Changes  []Change      `json:"changes"` // made
	Pending  []Change      `json:"pending"` // not made
	Problems []hub.Problem `json:"problems"`
	Held     []hub.Held    `json:"held"`
	Confirm  *Confirm      `json:"confirm"` // what now waits for hubctl confirm
}

// Done is the answer to a verb that has nothing else to say.
type Done struct {
	Schema string `json:"schema"`
}

// Setting is one value of the config in use.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	From  string `json:"from"`
}

// Config is the config in use.
type Config struct {
	Schema   string    `json:"schema"`
	Path     string    `json:"path"`
	Settings []Setting `json:"settings"`
}

// failure is the body of every answer that is not 200.
type failure struct {
	Schema string `json:"schema"`
	Error  string `json:"error"`
}
