// Package daemon runs hubd: it asks for the topology, makes passes, repairs what others
// break, answers the control socket, and tells what it does by log, metrics and systemd.
//
// Tasks of one group, each with an owner and an end:
//
//	survey   the discoverer on its own timer; accepts pending requests of listed accounts
//	pass     one goroutine makes all passes: on a new topology, a request, a timer
//	watch    one per plane: repairs it at once when somebody else wrote to it
//	serve    control socket, metrics listener
//	beat     systemd's watchdog, fed as long as the pass task moves
//
// The first start beside a working VPN is careful: when a tunnel of the config is there, no
// state of an earlier hubd is, and the rules of hubd --fail-closed do not stand already, hubd
// observes, whatever the config says. `hubctl sync` ends that, and so does another mode in
// the config than the one it had at that first start. Both are remembered.
//
// Be aware:
//   - A pass never waits for AWS: it takes the last topology there is.
//   - A config that cannot be read changes nothing; the one in force stays.
//   - Ending hubd leaves the data path up: nothing is removed on the way out.
//   - Planes are seen as hub.Plane only.
package daemon
