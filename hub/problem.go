package hub

// Code names a kind of problem. The list is closed and documented in docs/problems.md.
type Code string

// Problem is why something that might be reachable is not, or why we cannot tell.
type Problem struct {
	Code    Code   `json:"code"`
	Subject string `json:"subject"` // spoke name, account, table, file: what it is about
	Detail  string `json:"detail"`  // what was seen
	Mend    string `json:"mend"`    // what to do, a command where there is one
}

// The codes.
const (
	// Prefixes that are refused.
	OverlapsHub       Code = "OVERLAPS_HUB"
	OverlapsPool      Code = "OVERLAPS_POOL"
	OverlapsSite      Code = "OVERLAPS_SITE"
	OverlapsProtected Code = "OVERLAPS_PROTECTED"
	ReservedSpace     Code = "RESERVED_SPACE" // link-local, IMDS, loopback, multicast, 0/8, 240/4
	NotAllowed        Code = "NOT_ALLOWED"    // public or CGNAT space outside spokes.allow
	BadLength         Code = "BAD_LENGTH"     // shorter than /16 or longer than /28
	Collision         Code = "COLLISION"      // another spoke holds it
	BadPrefix         Code = "BAD_PREFIX"     // not a prefix at all, or IPv6 before it is supported
	NoPrefix          Code = "NO_PREFIX"      // no prefix of the spoke remains
	SpokeNumbers      Code = "SPOKE_NUMBERS"  // no spoke number is left

	// Peerings.
	PeeringNotActive Code = "PEERING_PENDING"
	PeeringEnded     Code = "PEERING_ENDED"
	NotListed        Code = "NOT_LISTED"

	// Sources.
	RoleDenied  Code = "ROLE_DENIED"
	SourceStale Code = "SOURCE_STALE"
	AnswerDoubt Code = "ANSWER_DOUBT" // complete in form, not believable
	NoTopology  Code = "NO_TOPOLOGY"
	OtherSide   Code = "OTHER_SIDE" // one-sided spoke: its tables are not ours to see

	// VPC routes.
	RouteConflict  Code = "ROUTE_CONFLICT"
	RouteShadowed  Code = "ROUTE_SHADOWED"
	RouteCovered   Code = "ROUTE_COVERED"
	RouteContested Code = "ROUTE_CONTESTED"
	RouteQuota     Code = "ROUTE_QUOTA"
	RouteDenied    Code = "ROUTE_DENIED"
	RouteFailed    Code = "ROUTE_FAILED"
	NoTable        Code = "NO_TABLE"
	Blackhole      Code = "BLACKHOLE"

	// Hub host.
	NoEgress     Code = "NO_EGRESS"
	SysctlWrong  Code = "SYSCTL"
	PlaneFailed  Code = "PLANE_FAILED"
	TunnelAbsent Code = "TUNNEL_ABSENT"
	KernelLacks  Code = "KERNEL_LACKS"

	ForeignChain  Code = "FOREIGN_CHAIN"  // somebody else's nftables chain drops or translates what is ours
	ConntrackFull Code = "CONNTRACK_FULL" // nearly

	// Clients.
	ClientFileHides Code = "CLIENT_FILE_HIDES" // a ccd file of its own hides the pushed routes
	ClientLacks     Code = "CLIENT_LACKS"      // connected before a route was pushed
	StatusUnread    Code = "STATUS_UNREAD"     // OpenVPN's status cannot be read

	// Safety.
	RemovalHeld Code = "REMOVAL_HELD"
	Paused      Code = "PAUSED"
	LedgerDoubt Code = "LEDGER_DOUBT"
	StateFailed Code = "STATE_FAILED" // what must be remembered could not be saved
)
