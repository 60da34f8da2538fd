// Package ec2sim is a simulated AWS: the EC2 Query protocol, STS and IMDSv2 over
// HTTP, with the rules of the real one as far as docs/lab-rules.md lists them,
// each with its source and the test that shows it refusing. It uses the standard
// library only and knows nothing of the hub.
//
// Contract: New makes an empty cloud; the Add methods seed it without HTTP, with
// ids of the caller's choice; APIHandler and IMDSHandler serve it to unchanged
// clients (aws-sdk-go-v2, the aws CLI); Network hands the data plane a value; Log
// tells every request; SetFault makes it misbehave while it runs.
//
// Be aware:
//   - All accounts and regions live in one Sim. The account is found by access
//     key, the region by the scope of the request's SigV4 credential.
//   - Objects are values in maps and the slices inside them are never written in
//     place, so an old version of the state is a shallow copy. Reads from the past
//     (read-after-write lag, stale replica, data-plane lag) rest on that.
//   - Time-driven changes are data: state.advance moves every object whose time
//     has come. A Clock that jumps needs no further help, except that watchers hear
//     of it at the next request, the next Network or the next Tick.
package ec2sim
