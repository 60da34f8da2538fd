// Package peering makes peerings: step by step for `hubctl add-spoke` (Run), and by
// accepting the pending requests of listed accounts for hubd (Acceptor).
//
// Contract: every step looks first and is done only if it is still to do, so that a run
// may be broken off and repeated at any point. What AWS refuses is told in a sentence
// that names what to change. Routes and translation are hubd's business, not done here.
//
// Be aware:
//   - A request says nothing about who sent it but the account: a request is accepted
//     only when its account is listed and the hub VPC is the accepter.
//   - AWS has no waiter for "active": an answer with status 200 proves nothing, so the
//     state is polled. A new peering may be invisible on the other side for seconds.
package peering
