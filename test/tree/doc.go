// Package tree holds the rules about the source tree itself: who may import whom,
// what must be documented, how large a binary may be, and that nothing outside
// test/ and cmd/hublab knows of the lab.
package tree
