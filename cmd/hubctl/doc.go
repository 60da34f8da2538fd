// Command hubctl asks and tells a running hubd, and adds spokes.
//
// One file per command. Answers go to stdout, talk to stderr. Exit codes:
//
//	0   it was done, or the answer is yes
//	1   it could not be done or answered
//	2   the answer is no: changes are pending, a check fails, something is left over
//	64  wrong usage
package main
