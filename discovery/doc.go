// Package discovery reads the topology from AWS: who the hub is (IMDS or the config),
// the peerings of its VPC, and the route tables of the hub and of the spokes whose
// accounts we may enter. It never writes.
//
// Contract: every source (account and region) is complete or frozen. A read that
// fails half way, repeats a page token, lacks the hub's own VPC or the main table of
// a VPC changes nothing: the source keeps its last good answer, with its age and the
// reason. The hub's own source is read by every Survey, the others on timers of their
// own, spread over the interval, a few at a time; Survey waits for them only briefly.
//
// Be aware:
//   - An account is entered only when it has an active peering with the hub VPC (and
//     is listed, if the policy asks for that) or when the ledger says that routes of
//     ours are still in it. A pending stranger causes no call.
//   - Calls on the hub's side do not grow with the number of spokes, but for pages.
//   - The values in a Topology are shared with later ones: do not write to them.
package discovery
