// Package e2e tests the whole: real hubd and hubctl in a lab with real OpenVPN, real
// kernels and packets. What is claimed is shown by programs that are not ours (ping,
// curl, nft, ip, conntrack, tcpdump, aws) or by packets counted one by one, and every
// claim has a control: the same packets with that one defence off.
//
// Be aware:
//   - Each test has labs of its own, named after the test and this process.
//   - A test that drops what it must not drop is slow, not wrong: nothing here measures
//     time. Deadlines only end what would wait for ever.
package e2e
