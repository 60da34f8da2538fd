// Package kroute is the plane of kernel routes: which way marked traffic out of a
// tunnel takes, that everything else out of it stops, and that site networks lead
// back into their tunnel.
//
//	26740..26798  iif tunN fwmark C<<24/0x7f000000 lookup 26740+C   one per tunnel and way out, priority 26739+C
//	26799         iif tunN lookup 26740                             IPv4 and IPv6; not for tunnels that may go elsewhere
//
//	table 26740    blackhole default
//	table 26740+C  the egress's own subnet on its link, every reach via its gateway, unreachable default
//	table main     NETWORK dev tunN, per site network
//
// What is ours: routes of protocol 104 in the tables 26740-26799 and in main, and rules
// of protocol 104 with priorities 26740-26799. Nothing else is changed or removed. A
// foreign route or rule that stands where ours belongs is left there: when it does the
// same it is enough, otherwise it is a problem.
//
// Be aware:
//   - Rules name tunnels, not interfaces: they stand before the tunnel does and outlive
//     it ([detached] in ip rule). Routes into a tunnel die with it; Watch says when it is back.
//   - A reply is checked (rp_filter) by the way its answer would take: in by the tunnel,
//     with the packet's mark if src_valid_mark is set and without one if not. Without
//     one it ends in table 26740. So rp_filter 1 or 2 on a way out needs src_valid_mark=1
//     there, and masq to restore the mark before routing.
//   - The egress's own subnet stands in its table so that its router's ICMP errors pass that check too.
//   - The kernel drops all routes of an interface that loses its last address or goes down;
//     an event says so and they are put back.
//   - The kernel does not mark a dump of rules that a change interrupted, so rules are read
//     until two dumps agree. Dumps of links and addresses are marked and read again. A dump of
//     IPv4 routes goes on by prefix, so what stays is in it.
//   - No address of an interface is ours: addresses are read, never written. The rules and routes
//     that an address takes with it when it goes come back with it.
//   - src_valid_mark and accept_ra have no event: Watch looks at them each second.
//   - rtnetlink has no generation. A view is kept as long as a subscription saw no
//     foreign event, and is read anew every minute all the same.
package kroute
