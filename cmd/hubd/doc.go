// Command hubd keeps a VPN reachable into every VPC that is peered with the hub's.
//
//	hubd                    the daemon, for systemd
//	hubd --once             one survey and one pass, then the end
//	hubd --once --dry-run   what that pass would change; exit 2 when it would
//	hubd --fail-closed      at boot: rules that keep tunnel traffic in, then forwarding
//	hubd --cleanup          remove exactly what is ours (with --dry-run: list it)
//
// This package is wiring: it decides nothing.
package main
