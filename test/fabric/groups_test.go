package fabric_test

import (
	"net"
	"net/netip"
	"testing"

	"peerhub/test/ec2sim"
)

func tcp(port int, prefix string) ec2sim.NetRule {
	return ec2sim.NetRule{Protocol: 6, FromPort: port, ToPort: port, Prefix: netip.MustParsePrefix(prefix)}
}

func TestSecurityGroupsRememberConnections(t *testing.T) {
	t.Parallel()
	// svc lets TCP 80 in from the hub's subnet and nothing out by itself.
	r := newRig(t, edits(ingress("sg-svc", tcp(80, "10.100.0.0/24")), egress("sg-svc")), "eni-hub", "eni-svc")
	for _, addr := range []string{":80", ":81"} {
		r.serveHTTP("eni-svc", addr, whoAsks)
	}
	r.serveHTTP("eni-hub", ":80", whoAsks)
	r.serveUDP("eni-svc", ":7")

	r.fetches("eni-hub", "http://10.110.0.10/", "10.100.0.10")
	r.cut("eni-svc", "sg", "eni-hub", "http://10.110.0.10:81/")
	r.cut("eni-svc", "sg", "eni-svc", "http://10.100.0.10/")
	r.refused("eni-svc", "sg", "eni-hub", "10.110.0.10")

	t.Run("a tracked flow outlives its rule, a new one does not start", func(t *testing.T) {
		udp := ec2sim.NetRule{Protocol: 17, FromPort: 7, ToPort: 7, Prefix: netip.MustParsePrefix("10.100.0.0/24")}
		r.update(ingress("sg-svc", udp))
		old := r.dialUDP("eni-hub", "", "10.110.0.10:7")
		if _, err := ask(old, "x"); err != nil {
			t.Fatalf("%v%s", err, r.drops())
		}
		r.update(ingress("sg-svc"))
		if _, err := ask(old, "x"); err != nil {
			t.Errorf("the tracked flow was cut: %v%s", err, r.drops())
		}
		before := r.count("eni-svc", "sg")
		if _, err := r.dialUDP("eni-hub", "", "10.110.0.10:7").Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "sg at eni-svc", func() bool { return r.count("eni-svc", "sg") > before })
	})
}

func TestNetworkACLsNeedTheEphemeralPorts(t *testing.T) {
	t.Parallel()
	tcpPorts := func(from, to int) ec2sim.NetACLEntry {
		return ec2sim.NetACLEntry{Number: 10, Allow: true, Protocol: 6, Prefix: netip.MustParsePrefix("10.100.0.0/24"), FromPort: from, ToPort: to}
	}
	only := func(out ec2sim.NetACLEntry) func(*ec2sim.Network) {
		return func(n *ec2sim.Network) {
			theACL(n, "acl-svc").Ingress = []ec2sim.NetACLEntry{tcpPorts(80, 80)}
			theACL(n, "acl-svc").Egress = []ec2sim.NetACLEntry{out}
		}
	}
	r := newRig(t, only(tcpPorts(80, 80)), "eni-hub", "eni-svc")
	r.serveHTTP("eni-svc", ":80", whoAsks)
	r.cut("acl-svc", "nacl", "eni-hub", "http://10.110.0.10/")
	r.update(only(tcpPorts(1024, 65535)))
	r.fetches("eni-hub", "http://10.110.0.10/", "10.100.0.10")
}

func TestAnICMPErrorPassesTheGroupsOfItsFlow(t *testing.T) {
	t.Parallel()
	r := newRig(t, edits(ingress("sg-hub"), egress("sg-svc")), "eni-hub", "eni-svc")
	conn := r.dialUDP("eni-hub", "", "10.110.0.10:9")
	if _, err := ask(conn, "x"); !isRefused(err) {
		t.Errorf("closed port: %v, want connection refused%s", err, r.drops())
	}
}

func isRefused(err error) bool {
	op, ok := err.(*net.OpError)
	return ok && op.Op == "read" && !op.Timeout()
}
