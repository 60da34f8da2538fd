// Package vpcroute is the plane of the VPC route tables: on the hub's side the way to
// every spoke's prefixes, on the spokes' side the way back.
//
// Contract: a route with the wanted destination and target is satisfied, whoever made
// it. What we make is written to the ledger before the call and confirmed after it;
// only what the ledger has is replaced or deleted, and blackholes toward an ended
// peering of the hub VPC inside what that peering led to. Everything else is a problem,
// never a change. The ledger is mirrored in tags on our own side of the peerings, so
// that an instance with an empty disk finds it again (Recover).
//
// Be aware:
//   - Tables are read by discovery only. Describe may lag behind our own writes by
//     minutes, so they are laid over what it says until a later survey agrees.
//   - A source that is not fresh is frozen: neither additions nor removals in its
//     tables, because what a table holds now is not known.
//   - A change that is refused waits before it is tried again; it stays in the plan,
//     and its reason is in Problems.
package vpcroute
