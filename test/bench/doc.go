// Bench measures the bars of the design on this machine, in network namespaces, and
// prints each beside its limit. Speeds are ratios or distributions taken in one run:
// rounds are interleaved, the median of at least nine is compared, and a bar whose
// spread is wider than its margin is "not resolved". docs/benchmarks.md says how each
// is measured. With -sabotage each bar runs with its defence or optimisation taken
// away, and must be missed.
package main
