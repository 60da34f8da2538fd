package fabric_test

import (
	"fmt"
	"net/netip"
	"testing"

	"peerhub/test/ec2sim"
	"peerhub/test/fabric"
)

// cloud adds the namespace of AWS itself: an IMDS that answers with the caller's
// interface, an API that answers with the caller's address, a resolver.
func (r *rig) cloud() {
	r.t.Helper()
	r.must(r.f.AttachCloud(r.newNS("cloud"), "aws"))
	r.must(r.f.ConfigureCloud())
	r.serveHTTP("cloud", "169.254.169.254:80", func(from netip.AddrPort) string { return "i am " + r.f.ENIOf(from.Addr()) })
	r.serveHTTP("cloud", fabric.DefaultAPI.String()+":80", whoAsks)
	r.serveUDP("cloud", "169.254.169.253:53")
}

const imds = "http://169.254.169.254/"

func TestIMDSKnowsWhoAsks(t *testing.T) {
	t.Parallel()
	// Two instances with the same private address in two VPCs, nothing allowed by
	// groups and ACLs, no route: the IMDS answers all the same.
	r := newRig(t, func(n *ec2sim.Network) {
		twin := theENI(n, "eni-far")
		twin.Addresses = []netip.Addr{netip.MustParseAddr("10.100.0.10")}
		for _, id := range []string{"hub", "far"} {
			theACL(n, "acl-"+id).Ingress, theACL(n, "acl-"+id).Egress = nil, nil
			edits(ingress("sg-"+id), egress("sg-"+id))(n)
			theTable(n, "rtb-"+id).Routes = nil
		}
	}, "eni-hub", "eni-mate", "eni-far")
	r.cloud()
	for _, id := range []string{"eni-hub", "eni-mate", "eni-far", "eni-hub"} {
		r.fetches(id, imds, "i am "+id)
	}
	r.refused("eni-hub", "no-host", "eni-hub", "169.254.169.254")
	r.cut("eni-hub", "no-host", "eni-hub", "http://169.254.169.250/")
	if got := r.f.ENIOf(netip.MustParseAddr("100.127.99.99")); got != "" {
		t.Errorf("ENIOf an address nobody has is %q", got)
	}
}

func TestTheIMDSAnswerDoesNotTravelFurtherThanItsHopLimit(t *testing.T) {
	t.Parallel()
	// A client behind the hub, translated to the hub's address.
	r := newRig(t, nil, "eni-hub")
	r.cloud()
	behind := r.newNS("behind")
	r.run("eni-hub", "sysctl", "-qw", "net.ipv4.ip_forward=1")
	r.run("eni-hub", "ip", "link", "add", "lan", "type", "veth", "peer", "name", "up0", "netns", behind)
	r.run("eni-hub", "ip", "addr", "add", "172.27.240.1/24", "dev", "lan")
	r.run("eni-hub", "ip", "link", "set", "lan", "up")
	r.run("behind", "ip", "addr", "add", pool+"/24", "dev", "up0")
	r.run("behind", "ip", "link", "set", "up0", "up")
	r.run("behind", "ip", "route", "add", "default", "via", "172.27.240.1")

	r.cut("eni-hub", "eni-source-check", "behind", imds)
	r.run("eni-hub", "nft", "add table ip t; add chain ip t n { type nat hook postrouting priority 100; }; add rule ip t n oifname ens5 masquerade")
	if got, err := r.curl("behind", imds, "-m", "0.5"); err == nil {
		t.Errorf("hop limit 1 let the answer through: %q", got)
	}
	r.update(func(n *ec2sim.Network) { theENI(n, "eni-hub").IMDSHopLimit = 2 })
	r.fetches("behind", imds, "i am eni-hub")
}

func TestResolver(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "eni-hub", "eni-svc")
	r.cloud()
	for i, server := range []string{"10.100.0.2:53", "169.254.169.253:53"} {
		conn := r.dialUDP("eni-hub", fmt.Sprintf("10.100.0.10:%d", 5300+i), server)
		if got, err := ask(conn, "where"); err != nil || got == "" {
			t.Errorf("%s: %q, %v%s", server, got, err, r.drops())
		}
	}
	// Another VPC's resolver is no interface: out of reach over a peering.
	before := r.count("subnet-hub", "no-host")
	conn := r.dialUDP("eni-svc", "", "10.100.0.2:53")
	if _, err := conn.Write([]byte("where")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no-host at subnet-hub", func() bool { return r.count("subnet-hub", "no-host") > before })
}

func TestTheAPIIsOnTheInternet(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "eni-hub", "eni-mate")
	r.cloud()
	r.internet("192.0.2.7")
	api := "http://" + fabric.DefaultAPI.String() + "/"
	r.fetches("eni-hub", api, "203.0.113.10")
	r.fetches("192.0.2.7", api, "192.0.2.7")
	r.cut("igw-hub", "igw-no-public-address", "eni-mate", api)
}
