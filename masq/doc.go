// Package masq is the plane that lets tunnel traffic out of the hub with the hub's own
// address, and nothing else: the nftables table inet hubd (and inet hubd_keep).
//
// The chains are a constant skeleton with a version; everything that varies is a set
// element. Prefixes are looked up once a flow, in prerouting; after that two small hash
// sets of marks decide every packet. `nft list table inet hubd` prints what is described
// here, and Text prints the same for a file.
//
//	classify   prerouting mangle   a new flow from a tunnel gets its conntrack mark, or is dropped with a reason;
//	                               packets of marked flows carry the class of the way out in their packet mark
//	gate       forward filter      original direction needs its mark in `out`, replies need it in `back`;
//	                               what else comes out of a tunnel or goes into one is dropped, except as below; MSS of marked flows
//	tunnel_in  input filter        what a tunnel may open on the hub itself
//	translate  postrouting srcnat  source address and port of marked flows
//
// Decisions where the design leaves room:
//   - Every rule matches a tunnel name or a flow with one of our marks. Tunnel traffic that
//     is refused is refused in prerouting already, because the routing rules of a tunnel
//     end in a blackhole, which counts nothing. The gate refuses it once more.
//   - A tunnel with other traffic "leave": what goes neither to a spoke nor to the hub
//     itself is not ours, in both directions. New connections from a spoke's prefix toward
//     such a tunnel are dropped all the same. Link-local destinations (instance metadata),
//     IPv6 and packets that conntrack calls invalid are dropped whatever the tunnel's kind.
//   - A flow is judged by its first packet. Flows that stood before the table did have no
//     mark: they end, except those of a "leave" tunnel, which go on as they began, also
//     when their destination has become a spoke's.
//   - `icmp` toward the hub is echo request; ICMP errors that belong to a flow always pass.
//   - A source outside the pools and sites is dropped when it asks for a spoke.
//   - On flows from a tunnel toward a spoke both marks are ours as a whole; on all other
//     traffic no mark is touched. What tells them apart are the seven bits of the class in
//     the conntrack mark, which belong to hubd on the whole host.
//   - The chain is called translate: `snat` is a keyword that nft prints and refuses to load.
//
// Ownership, Mode: persist (table flags owner,persist) survives `nft flush ruleset` and the
// death of the daemon. plain has a second table, hubd_keep, with the owner flag alone: while
// it stands, a foreign flush does not unhook NAT and conntrack, so established flows live
// until the table is back. auto is persist where the kernel knows it and an installed nft
// can print it: nft 1.0.6 saves the flag as nothing and then refuses the whole file.
//
// hubd_keep ends with the process that made it, for only a living owner keeps it through a
// flush: every start in plain mode makes it anew, which is the one write of a restart.
//
// Other people's chains, foreign.go: what stands in the way of our packets is named as
// FOREIGN_CHAIN. Packets of ours are led through the rules that the kernel lists (trace.go); a
// rule that asks for what is not known of them, such as a port, is nobody's harm. Rules of
// iptables-legacy are in no nftables list and not seen.
//
// Be aware:
//   - Whoever else marks what comes out of a tunnel loses that mark on flows to a spoke: it
//     is replaced when the flow begins, and the packet mark again with every packet. A mark
//     changed behind our back later is in neither `out` nor `back`: the flow is dropped.
//     Others may use the bits 0x80ffffff on traffic that is not ours, never 0x7f000000.
//   - All messages go over one lasting socket of our own; a table with the owner flag
//     belongs to the socket's port. google/nftables encodes the expressions; its Conn cannot
//     put raw messages and rules into one batch, and the first installation is one batch.
//   - A batch is all or nothing. When some changes are refused the rest is sent again
//     without them.
//   - A View is a snapshot; Apply gives the next one.
//   - Nobody else may make or change a table with an owner. A ruleset saved while the daemon
//     runs loads at boot, but not while the daemon runs: nft refuses the whole file.
//   - One change among 10,000 prefixes is one element, and yet 0.5 ms in Linux 6.18: a
//     commit to an interval set costs by its size. Deleting flows walks the conntrack table.
package masq
