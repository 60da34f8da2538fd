// Package lab builds a company on one machine: an office LAN behind a site client,
// two laptops, a hub with a real OpenVPN server, services in accounts of their own
// and a stranger. The cloud is ec2sim, its wires are fabric; kernels, routes,
// OpenVPN, HTTP and the AWS clients are real.
//
// Contract: a Spec is a value and says everything that can be numbered or named;
// Start builds the lab of a Spec and returns when every client is connected; Close
// removes it; Down removes what a killed lab left. Serve and Dial are the same lab
// behind a unix socket, for the program hublab.
//
// Be aware:
//   - Everything happens in namespaces whose names begin with Spec.Prefix. The
//     machine's own rules, routes and switches are never written.
//   - What must be removed is recorded before it is made (record.go): a namespace
//     by its name and inode. Processes need no record: whoever runs inside a
//     recorded namespace is the lab's.
//   - The recipe (recipe.go) is the hub by hand. It proves the lab: with it packets
//     arrive, and without any one line of it they do not.
package lab
