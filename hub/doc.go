// Package hub is the core of peerhub: the words of the domain, the decision what
// should be reachable, and the pass that brings every plane there.
//
// It is pure: it imports the standard library without its I/O packages, never
// asks for the time, never logs. Everything outside is reached through four
// interfaces that are declared here and implemented elsewhere: Plane, View,
// Discoverer and Ledger.
//
// Be aware:
//   - A Desired is the whole want, never a delta. A plane may get the same one again.
//   - Hold means: neither add nor remove. Guard, frozen source, failed plane and
//     pause all end there (Desired.Holding).
//   - Prefixes are always masked, slices always sorted; no map order leaks.
package hub
