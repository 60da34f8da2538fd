// Hublab is the lab as a program: a simulated AWS, an office, laptops, a hub and
// services in network namespaces, left up to play with. docs/lab.md is its manual.
//
// Contract: data on stdout, talk on stderr; exit 0 when it was done, 1 when it could
// not be done, 64 for wrong usage; exec and aws exit as the program they run does.
//
// Be aware: `up` starts itself as a background process, `hublab serve`, which holds
// the lab; every other command speaks with it over a unix socket in its run
// directory, one per prefix.
package main
