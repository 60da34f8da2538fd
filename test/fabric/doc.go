// Package fabric is the data plane of a simulated AWS: real packets between
// Linux network namespaces, carried by a router in this process which keeps the
// rules of a VPC and says why it drops what it drops.
//
// A host's interface is a TAP device inside the host's namespace; what the
// kernel sends there is read here, judged against an ec2sim.Network and written
// to the TAP of whoever gets it. There is no bridge, no broadcast and no shared
// layer 2: the router answers ARP and nothing else.
//
// The way of a packet from an interface, and who may refuse it where:
//
//	source check (eni) -> services of the cloud (IMDS, resolver: no groups, no ACLs)
//	-> security group out (eni) -> route (table) -> [network ACL out (acl)]
//	-> peering (pcx) | internet gateway (igw) | interface as target | local
//	-> mtu -> [network ACL in (acl)] -> destination check (eni) -> security group in (eni)
//
// Be aware:
//   - Network ACLs stand at the border of a subnet, never inside it.
//   - A removed security group rule does not end flows that are tracked already;
//     AWS behaves so too.
//   - TTL is not lowered: a VPC router is invisible to traceroute.
//   - An open TAP keeps its namespace alive: Detach before deleting a namespace.
//   - Hosts with their link down, or not attached, are no-host.
//   - What a TAP's own queue drops, when this process cannot keep up (above 100,000
//     packets/s), only the host's "ip -s link" counts.
//   - Nothing is fragmented on the way: too big and without DF is mtu.
package fabric
