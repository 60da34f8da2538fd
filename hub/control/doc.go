// Package control is how hubctl talks to hubd: HTTP and JSON on a unix socket.
// It holds the types of both ends, the server and the client.
//
// Reading verbs are for everybody who can connect (the socket is 0660, group hubadmin);
// writing verbs are for root and that group, by the peer's credentials as the kernel
// tells them. Nothing that a peer sends says who it is.
//
// Be aware:
//   - The types are the contract of `hubctl -o json`: snake_case, RFC 3339 in UTC,
//     prefixes masked, lists sorted and never null, what is not known is null.
//   - A peer that does nothing or little is cut off after seconds, and a user has a
//     share of connections: nobody can shut root out.
package control
