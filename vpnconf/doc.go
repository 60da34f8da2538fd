// Package vpnconf is the plane of OpenVPN: the routes that clients are given when they
// connect. It also reads who is connected, and tells who lacks which route.
//
// In each client directory two files are ours, and only if they begin with our header:
//
//	peerhub.routes  push "route 10.96.0.0 255.224.0.0" # since 2026-03-01T02:41:07Z
//	DEFAULT         config /etc/openvpn/ccd/peerhub.routes # since 2026-03-01T02:41:07Z
//
// OpenVPN reads DEFAULT for a client without a file of its own, at every connect, with
// no restart. A file of its own hides DEFAULT, so it needs the same config line; whether
// it has one is checked and told, the file is never changed.
//
// Be aware (all seen with 2.6.14):
//   - The path after config must be absolute: a relative one is looked up where OpenVPN
//     was started. Under chroot the path inside differs, which is not supported.
//   - A config line that leads nowhere, or a line OpenVPN does not know, is logged and
//     passed over; the client connects all the same.
//   - push-reset, and push-remove of routes, take away what was pushed before them, the
//     included lines too.
//   - "since" is when a line was first written. A client that connected earlier never
//     read it. OpenVPN tells connects by the second, so a client that comes within the
//     second of a write counts as lacking.
//   - Lines over 255 characters are cut by OpenVPN: nothing of ours gets near.
package vpnconf
