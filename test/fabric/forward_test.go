package fabric_test

import (
	"net/netip"
	"slices"
	"testing"

	"peerhub/test/ec2sim"
)

// edits chains changes of the world.
func edits(all ...func(*ec2sim.Network)) func(*ec2sim.Network) {
	return func(n *ec2sim.Network) {
		for _, edit := range all {
			edit(n)
		}
	}
}

func same(*ec2sim.Network) {}

func dropRoute(table, dst string) func(*ec2sim.Network) {
	return func(n *ec2sim.Network) {
		t := theTable(n, table)
		t.Routes = slices.DeleteFunc(t.Routes, func(r ec2sim.NetRoute) bool { return r.Destination.String() == dst })
	}
}

func withRoute(table, dst, kind, target string) func(*ec2sim.Network) {
	return func(n *ec2sim.Network) { addRoute(n, table, dst, kind, target) }
}

func checkOff(eni string) func(*ec2sim.Network) {
	return func(n *ec2sim.Network) { theENI(n, eni).SourceDestCheck = false }
}

func ingress(group string, rules ...ec2sim.NetRule) func(*ec2sim.Network) {
	return func(n *ec2sim.Network) { theGroup(n, group).Ingress = rules }
}

func egress(group string, rules ...ec2sim.NetRule) func(*ec2sim.Network) {
	return func(n *ec2sim.Network) { theGroup(n, group).Egress = rules }
}

func icmpFrom(prefix string) ec2sim.NetRule {
	return ec2sim.NetRule{Protocol: 1, FromPort: 8, ToPort: -1, Prefix: netip.MustParsePrefix(prefix)}
}

func fromGroup(id string) ec2sim.NetRule {
	return ec2sim.NetRule{Protocol: -1, FromPort: -1, ToPort: -1, Group: id}
}

// aclRule puts one more entry before all others.
func aclRule(acl string, in bool, e ec2sim.NetACLEntry) func(*ec2sim.Network) {
	return func(n *ec2sim.Network) {
		a := theACL(n, acl)
		if in {
			a.Ingress = append([]ec2sim.NetACLEntry{e}, a.Ingress...)
		} else {
			a.Egress = append([]ec2sim.NetACLEntry{e}, a.Egress...)
		}
	}
}

func entry(allow bool, prefix string) ec2sim.NetACLEntry {
	return ec2sim.NetACLEntry{Number: 10, Allow: allow, Protocol: 1, Prefix: netip.MustParsePrefix(prefix), FromPort: -1, ToPort: -1}
}

// pool is a VPN client's address that the hub forwards untranslated.
const pool = "172.27.240.7"

// TestRules shows for each rule a packet that is refused, where and why, and a
// near twin that arrives: the same ping after the network changed, or, where twin
// is set, another ping in the network that refused the first.
func TestRules(t *testing.T) {
	t.Parallel()
	asPool := []string{"-I", pool}
	for _, c := range []struct {
		name          string
		from, to      string
		args          []string
		refused       func(*ec2sim.Network)
		place, reason string
		answer        bool // it is the answer that is refused
		arrives       func(*ec2sim.Network)
		twinTo        string   // "" = to
		twinArgs      []string // nil = args
	}{
		{name: "no route", from: "eni-other", to: "10.110.0.10",
			refused: same, place: "rtb-other", reason: "no-route",
			arrives: edits(withRoute("rtb-other", "10.110.0.0/16", "pcx", "pcx-svc"), withRoute("rtb-svc", "10.100.1.0/24", "pcx", "pcx-svc"))},
		{name: "private space by way of the internet gateway", from: "eni-hub", to: "10.110.0.10",
			refused: dropRoute("rtb-hub", "10.110.0.0/16"), place: "igw-hub", reason: "no-route", arrives: same},
		{name: "the longest prefix wins", from: "eni-hub", to: "10.110.0.10",
			refused: withRoute("rtb-hub", "10.110.0.10/32", "pcx", "pcx-far"), place: "pcx-far", reason: "pcx-dest",
			arrives: withRoute("rtb-hub", "10.110.0.10/32", "pcx", "pcx-svc")},
		{name: "local yields to an interface route and not to a peering", from: "eni-hub", to: "10.100.1.20",
			refused: withRoute("rtb-hub", "10.100.1.0/24", "eni", "eni-mate"), place: "eni-mate", reason: "eni-source-check",
			arrives: withRoute("rtb-hub", "10.100.1.0/24", "pcx", "pcx-svc")},
		{name: "the way back needs a route too", from: "eni-hub", to: "10.110.0.10",
			refused: dropRoute("rtb-svc", "10.100.0.0/24"), place: "rtb-svc", reason: "no-route", answer: true, arrives: same},
		{name: "inactive peering", from: "eni-hub", to: "10.110.0.10",
			refused: func(n *ec2sim.Network) { thePeering(n, "pcx-svc").Active = false }, place: "pcx-svc", reason: "pcx-inactive", arrives: same},
		{name: "source outside the sending VPC", from: "eni-hub", to: "10.110.0.10", args: asPool,
			refused: checkOff("eni-hub"), place: "pcx-svc", reason: "pcx-source", arrives: checkOff("eni-hub"), twinArgs: []string{}},
		{name: "no transit", from: "eni-svc", to: "10.120.0.10",
			refused: withRoute("rtb-svc", "10.120.0.0/16", "pcx", "pcx-svc"), place: "pcx-svc", reason: "pcx-dest",
			arrives: same, twinTo: "10.100.0.10"},
		{name: "no edge", from: "eni-svc", to: "192.0.2.7",
			refused: withRoute("rtb-svc", "0.0.0.0/0", "pcx", "pcx-svc"), place: "pcx-svc", reason: "pcx-dest",
			arrives: same, twinTo: "10.100.0.10"},
		{name: "a source that is not the interface's", from: "eni-hub", to: "10.100.0.11", args: asPool,
			refused: same, place: "eni-hub", reason: "eni-source-check",
			arrives: edits(checkOff("eni-hub"), withRoute("rtb-hub", pool+"/32", "eni", "eni-hub"))},
		{name: "a destination that is not the interface's", from: "eni-mate", to: pool,
			refused: withRoute("rtb-hub", "172.27.240.0/22", "eni", "eni-hub"), place: "eni-hub", reason: "eni-source-check",
			arrives: edits(withRoute("rtb-hub", "172.27.240.0/22", "eni", "eni-hub"), checkOff("eni-hub"))},
		{name: "an address nobody holds", from: "eni-hub", to: "10.110.0.99",
			refused: same, place: "subnet-svc", reason: "no-host",
			arrives: func(n *ec2sim.Network) {
				e := theENI(n, "eni-svc")
				e.Addresses = append(e.Addresses, netip.MustParseAddr("10.110.0.99"))
			}},
		{name: "an address of no subnet", from: "eni-hub", to: "10.110.9.9", refused: same, place: "vpc-svc", reason: "no-host", arrives: same, twinTo: "10.110.0.10"},
		{name: "a neighbour that is not plugged in", from: "eni-hub", to: "10.120.0.10", refused: same, place: "eni-far", reason: "no-host", arrives: same, twinTo: "10.110.0.10"},
		{name: "blackhole", from: "eni-hub", to: "10.110.0.10",
			refused: func(n *ec2sim.Network) {
				for i := range theTable(n, "rtb-hub").Routes {
					r := &theTable(n, "rtb-hub").Routes[i]
					r.Blackhole = r.Target == "pcx-svc"
				}
			}, place: "rtb-hub", reason: "blackhole", arrives: same},
		{name: "a gateway that is detached", from: "eni-hub", to: "192.0.2.7",
			refused: func(n *ec2sim.Network) { n.VPCs[1].InternetGateway = "" }, place: "rtb-hub", reason: "blackhole", arrives: same},
		{name: "a target that is not simulated", from: "eni-hub", to: "192.0.2.7",
			refused: withRoute("rtb-hub", "192.0.2.0/24", "other", "nat-1"), place: "rtb-hub", reason: "unsupported-target", arrives: same},
		{name: "no public address", from: "eni-mate", to: "192.0.2.7",
			refused: same, place: "igw-hub", reason: "igw-no-public-address",
			arrives: func(n *ec2sim.Network) {
				e := theENI(n, "eni-mate")
				e.Public = map[netip.Addr]netip.Addr{e.Addresses[0]: netip.MustParseAddr("203.0.113.11")}
			}},
		{name: "a forwarded source has no public address", from: "eni-hub", to: "192.0.2.7", args: asPool,
			refused: checkOff("eni-hub"), place: "igw-hub", reason: "igw-no-public-address", arrives: checkOff("eni-hub"), twinArgs: []string{}},
		{name: "security group in", from: "eni-hub", to: "10.110.0.10",
			refused: ingress("sg-svc", icmpFrom("10.100.1.0/24")), place: "eni-svc", reason: "sg",
			arrives: ingress("sg-svc", icmpFrom("10.100.0.0/24"))},
		{name: "security group out", from: "eni-hub", to: "10.110.0.10",
			refused: egress("sg-hub", icmpFrom("10.120.0.0/16")), place: "eni-hub", reason: "sg",
			arrives: egress("sg-hub", icmpFrom("10.110.0.0/16"))},
		{name: "an answer needs no rule", from: "eni-svc", to: "10.100.0.10",
			refused: ingress("sg-hub"), place: "eni-hub", reason: "sg", arrives: edits(ingress("sg-svc"), egress("sg-hub"))},
		{name: "group reference over a peering", from: "eni-hub", to: "10.110.0.10",
			refused: ingress("sg-svc", fromGroup("sg-far")), place: "eni-svc", reason: "sg",
			arrives: ingress("sg-svc", fromGroup("sg-hub"))},
		{name: "group reference between regions", from: "eni-hub", to: "10.110.0.10",
			refused: edits(ingress("sg-svc", fromGroup("sg-hub")), func(n *ec2sim.Network) { thePeering(n, "pcx-svc").InterRegion = true }),
			place:   "eni-svc", reason: "sg", arrives: ingress("sg-svc", fromGroup("sg-hub"))},
		{name: "group reference inside a VPC", from: "eni-mate", to: "10.100.0.10",
			refused: ingress("sg-hub", fromGroup("sg-svc")), place: "eni-hub", reason: "sg",
			arrives: ingress("sg-hub", fromGroup("sg-hub"))},
		{name: "network ACL in", from: "eni-hub", to: "10.110.0.10",
			refused: aclRule("acl-svc", true, entry(false, "10.100.0.0/24")), place: "acl-svc", reason: "nacl",
			arrives: edits(aclRule("acl-svc", true, entry(false, "10.100.0.0/24")), aclRule("acl-svc", true, entry(true, "10.100.0.10/32")))},
		{name: "network ACL out", from: "eni-hub", to: "10.110.0.10",
			refused: aclRule("acl-hub", false, entry(false, "10.110.0.0/16")), place: "acl-hub", reason: "nacl",
			arrives: aclRule("acl-hub", false, entry(false, "10.120.0.0/16"))},
		{name: "a network ACL knows no answers", from: "eni-hub", to: "10.110.0.10",
			refused: aclRule("acl-hub", true, entry(false, "10.110.0.0/16")), place: "acl-hub", reason: "nacl", answer: true, arrives: same},
		{name: "a network ACL denies what no entry names", from: "eni-hub", to: "10.110.0.10",
			refused: func(n *ec2sim.Network) { theACL(n, "acl-svc").Ingress = nil }, place: "acl-svc", reason: "nacl", arrives: same},
		{name: "no network ACL inside a subnet", from: "eni-hub", to: "10.100.1.20",
			refused: func(n *ec2sim.Network) { theACL(n, "acl-hub").Egress = nil }, place: "acl-hub", reason: "nacl",
			arrives: func(n *ec2sim.Network) { theACL(n, "acl-hub").Egress = nil }, twinTo: "10.100.0.11"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.refused, "eni-hub", "eni-mate", "eni-other", "eni-svc")
			r.internet("192.0.2.7")
			r.run("eni-hub", "ip", "addr", "add", pool+"/32", "dev", "lo")
			r.run("eni-svc", "ip", "addr", "add", "10.110.0.99/24", "dev", "ens5")
			refused := r.refused
			if c.answer {
				refused = r.answerRefused
			}
			refused(c.place, c.reason, c.from, c.to, c.args...)
			r.update(c.arrives)
			if c.twinTo == "" {
				c.twinTo = c.to
			}
			if c.twinArgs == nil {
				c.twinArgs = c.args
			}
			r.arrives(c.from, c.twinTo, c.twinArgs...)
		})
	}
}

func TestBroadcastGoesNowhere(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "eni-hub", "eni-mate")
	r.run("eni-mate", "sysctl", "-qw", "net.ipv4.icmp_echo_ignore_broadcasts=0")
	r.refused("eni-hub", "no-broadcast", "eni-hub", "10.100.0.255", "-b")
	r.refused("eni-hub", "no-broadcast", "eni-hub", "224.0.0.1")
	r.arrives("eni-hub", "10.100.0.11")
}
