package hub

import (
	"net/netip"
	"time"
)

// Mode says how far a pass may go.
type Mode string

// The modes. Observe writes nothing anywhere; add never removes.
const (
	ModeObserve Mode = "observe"
	ModeAdd     Mode = "add"
	ModeSync    Mode = "sync"
)

// Policy is what the operator wants: the config file with its defaults, as types.
type Policy struct {
	Mode        Mode
	HubName     string
	Accounts    map[AccountID]Account
	ListedOnly  bool           // spokes.from: listed
	Allow       []netip.Prefix // outside RFC 1918, refused unless inside one of these
	Protect     []netip.Prefix // never reachable through a spoke
	HubTables   TableChoice
	SpokeTables TableChoice // default of accounts without their own
	ReturnRoute ReturnRoute
	Override    []netip.Prefix // destinations of foreign VPC routes that spokes' routes may be inside of
	VPNs        []VPN
	Safety      Safety
	Masq        MasqPolicy
	SetSysctls  bool // kernel.sysctls: set; otherwise they are checked only
}

// Account is one entry of accounts: a listed account.
type Account struct {
	Name        string
	Exclude     []netip.Prefix
	Role        string // full ARN, "" = the default role with {account} filled in; RoleNone = one-sided
	ExternalID  string
	SpokeTables TableChoice // zero: the policy's
}

// RoleNone is the role of an account we may not enter.
const RoleNone = "none"

// TableChoice says which route tables of a VPC we write to.
type TableChoice struct {
	Kind   TableKind
	Tag    string    // TablesTag: KEY=VALUE
	Tables []TableID // TablesListed
}

// TableKind is the kind of a TableChoice.
type TableKind string

// The ways to choose tables. The zero value means: not chosen here.
const (
	TablesOwnSubnet TableKind = "own-subnet" // the hub interface's subnet's table
	TablesAll       TableKind = "all"        // every ordinary table of the VPC
	TablesTag       TableKind = "tag"
	TablesListed    TableKind = "listed"
)

// ReturnRoute says how wide the route back to the hub is.
type ReturnRoute string

// The widths of the return route: the interface's address, its subnet, the hub VPC's prefixes.
const (
	ReturnAddress ReturnRoute = "address"
	ReturnSubnet  ReturnRoute = "subnet"
	ReturnVPC     ReturnRoute = "vpc"
)

// VPN is one OpenVPN server on the hub.
type VPN struct {
	Name       string
	Interfaces []string // tunnel names, no patterns
	Pools      []netip.Prefix
	Sites      []Site
	ClientDir  string // "" = pushed routes are not ours to write
	OwnFiles   OwnFiles
	Status     string // management socket or status file
	Aggregates []netip.Prefix
	ToHub      []Service
	Other      OtherTraffic
}

// Site is an office network behind a client.
type Site struct {
	Name, Client string
	Networks     []netip.Prefix
}

// OwnFiles says what becomes of clients that have a ccd file of their own.
type OwnFiles string

// Include expects one config line in own files; leave lets them be.
const (
	OwnFilesInclude OwnFiles = "include"
	OwnFilesLeave   OwnFiles = "leave"
)

// Service is something a tunnel may open on the hub itself.
type Service struct {
	Protocol string // icmp, tcp, udp
	Port     uint16 // 0 for icmp
}

// OtherTraffic says what becomes of tunnel traffic toward neither spoke nor hub VPC.
type OtherTraffic string

// Drop it (the default), or leave it to whoever else routes on this host.
const (
	OtherDrop  OtherTraffic = "drop"
	OtherLeave OtherTraffic = "leave"
)

// Safety bounds what a pass may take away.
type Safety struct {
	RemovalsAfter int // agreeing complete answers before a mere absence counts
	MaxRemoved    int // percent of the reaches that one pass, or a run of passes, may remove
}

// MasqPolicy is how translation is done.
type MasqPolicy struct {
	Ownership  Ownership
	Masquerade bool // source: masquerade, the kernel chooses the address
	MaxFlows   int  // toward spokes, of one source address at a time; 0: any number
}

// Ownership is how our nftables table survives foreign flushes.
type Ownership string

// The ownership modes; auto picks persist where kernel and nft both know it.
const (
	OwnershipAuto    Ownership = "auto"
	OwnershipPersist Ownership = "persist"
	OwnershipPlain   Ownership = "plain"
)

// Marks is the layout of the packet mark: class<<24 | spoke number.
const (
	MarkClassShift = 24
	MarkClassMask  = 0x7f000000
	MarkSpokeMask  = 0x0000ffff
)

// Remembered is what Decide must not forget between passes and restarts. It is
// saved before anything is applied.
type Remembered struct {
	Numbers map[SpokeID]uint16         // spoke numbers, 1..65535, allotted once
	Names   map[SpokeID]string         // of spokes that had a reach: a newcomer does not rename them
	Winners map[netip.Prefix]PeeringID // who holds a prefix: keeps it when another spoke announces it too
	Absent  map[SpokeID]Absence        // spokes that vanished without an explicit end
	// AbsentPrefixes are prefixes that vanished from spokes that are still there.
	AbsentPrefixes map[SpokeID]map[netip.Prefix]Absence
	// Run is the present run of removals; the limit of Safety.MaxRemoved bounds all of it.
	Run Run
}

// Run is a run of passes that removed reaches on the word of AWS. It ends after
// Safety.RemovalsAfter complete answers that removed nothing.
type Run struct {
	Reaches int             // how many there were when it began; 0 = no run
	Removed map[SpokeID]int // how many went, by spoke
	Quiet   Absence         // complete answers since the last removal
}

// Absence counts complete answers in which something that was there is missing.
type Absence struct {
	Survey uint64 // of the last answer counted
	Count  int
	Since  time.Time
}
