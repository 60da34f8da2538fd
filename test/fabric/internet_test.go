package fabric_test

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"peerhub/test/ec2sim"
)

func TestTheGatewayMapsAddressesBothWays(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "eni-hub", "eni-mate")
	r.internet("192.0.2.7")
	r.internet("192.0.2.8")
	for _, host := range []string{"eni-hub", "192.0.2.7"} {
		r.serveHTTP(host, ":80", whoAsks)
		r.serveUDP(host, ":7")
	}
	t.Run("TCP, checksums right both ways", func(t *testing.T) {
		r.fetches("192.0.2.7", "http://203.0.113.10/", "192.0.2.7")
		r.fetches("eni-hub", "http://192.0.2.7/", "203.0.113.10")
	})
	t.Run("UDP, with and without a checksum", func(t *testing.T) {
		out := r.dialUDP("192.0.2.7", "192.0.2.7:7777", "203.0.113.10:7")
		if got, err := ask(out, "hello"); err != nil || got != "192.0.2.7:7777 5" {
			t.Errorf("got %q, %v%s", got, err, r.drops())
		}
		bare := r.dialUDP("eni-hub", "10.100.0.10:7778", "192.0.2.7:7")
		noChecksum(t, bare)
		if got, err := ask(bare, "hello"); err != nil || got != "203.0.113.10:7778 5" {
			t.Errorf("got %q, %v%s", got, err, r.drops())
		}
	})
	t.Run("an ICMP error finds the socket it is about", func(t *testing.T) {
		for from, to := range map[string]string{"192.0.2.7": "203.0.113.10:9", "eni-hub": "192.0.2.7:9"} {
			if _, err := ask(r.dialUDP(from, "", to), "hello"); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s to closed port %s: %v, want connection refused%s", from, to, err, r.drops())
			}
		}
	})
	t.Run("between hosts of the internet", func(t *testing.T) { r.arrives("192.0.2.8", "192.0.2.7") })
	t.Run("to one's own VPC by public address", func(t *testing.T) {
		r.update(func(n *ec2sim.Network) {
			e := theENI(n, "eni-mate")
			e.Public = map[netip.Addr]netip.Addr{e.Addresses[0]: netip.MustParseAddr("203.0.113.11")}
		})
		r.fetches("eni-mate", "http://203.0.113.10/", "203.0.113.11")
	})
}

func TestTheInternetRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "eni-hub", "eni-svc")
	r.internet("192.0.2.7")
	r.run("192.0.2.7", "ip", "addr", "add", "192.0.2.99/32", "dev", "lo")
	r.refused("internet", "no-route", "192.0.2.7", "10.100.0.10")
	r.refused("internet", "no-host", "192.0.2.7", "203.0.113.99")
	r.refused("192.0.2.7", "internet-source", "192.0.2.7", "203.0.113.10", "-I", "192.0.2.99")
	r.arrives("192.0.2.7", "203.0.113.10")
	r.f.Update(func() ec2sim.Network { n := world(); n.VPCs[1].InternetGateway = ""; return n }())
	r.refused("internet", "no-host", "192.0.2.7", "203.0.113.10")
}

func TestMTU(t *testing.T) {
	t.Parallel()
	// No group lets anything in: answers and MTU messages pass as part of the flow.
	r := newRig(t, ingress("sg-hub"), "eni-hub", "eni-svc", "eni-far")
	r.internet("192.0.2.7")
	r.arrives("eni-hub", "10.110.0.10", "-M", "do", "-s", "8973")
	for _, path := range []struct {
		name, to, place string
		fits, above     string // bytes of payload; 28 more on the wire
		mtu             string
	}{
		{"between regions", "10.120.0.10", "pcx-far", "8472", "8473", "8500"},
		{"internet", "192.0.2.7", "igw-hub", "1472", "1473", "1500"},
	} {
		t.Run(path.name, func(t *testing.T) {
			told := func() string {
				out, err := r.exec("eni-hub", "ping", "-n", "-c", "1", "-W", "5", "-M", "do", "-s", path.above, path.to)
				if err == nil {
					t.Errorf("a packet above %s bytes arrived", path.mtu)
				}
				return out
			}
			r.arrives("eni-hub", path.to, "-M", "do", "-s", path.fits)
			r.refused(path.place, "mtu", "eni-hub", path.to, "-M", "dont", "-s", path.above)

			r.must(r.f.SetFault("no-frag-needed", "on"))
			r.refused(path.place, "mtu", "eni-hub", path.to, "-M", "do", "-s", path.above)
			if route := r.run("eni-hub", "ip", "route", "get", path.to); strings.Contains(route, "mtu "+path.mtu) {
				t.Errorf("the host learned the MTU although nobody told: %s", route)
			}

			r.must(r.f.SetFault("no-frag-needed", "off"))
			if out := told(); !strings.Contains(out, "Frag needed") || !strings.Contains(out, "mtu = "+path.mtu) {
				t.Errorf("ping was not told the MTU %s:\n%s%s", path.mtu, out, r.drops())
			}
			if route := r.run("eni-hub", "ip", "route", "get", path.to); !strings.Contains(route, "mtu "+path.mtu) {
				t.Errorf("the host did not learn the MTU %s: %s", path.mtu, route)
			}
		})
	}
}

func TestTheNetworkACLMayHoldBackTheMTUMessage(t *testing.T) {
	t.Parallel()
	// The message about the MTU comes from the subnet's router.
	r := newRig(t, aclRule("acl-hub", true, entry(false, "10.100.0.1/32")), "eni-hub", "eni-far")
	r.answerRefused("acl-hub", "nacl", "eni-hub", "10.120.0.10", "-M", "do", "-s", "8473")
	r.arrives("eni-hub", "10.120.0.10", "-M", "do", "-s", "8472")
}

func TestFragmentsAreJudgedLikeTheirFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("sg-svc", icmpFrom("10.100.1.0/24")), "eni-hub", "eni-svc")
	before := r.count("eni-svc", "sg")
	r.refused("eni-svc", "sg", "eni-hub", "10.110.0.10", "-s", "20000")
	if got := r.count("eni-svc", "sg") - before; got != 3 {
		t.Errorf("%d fragments refused, want 3%s", got, r.drops())
	}
	r.update(ingress("sg-svc", icmpFrom("10.100.0.0/24")))
	r.arrives("eni-hub", "10.110.0.10", "-s", "20000")
}

func TestLoss(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "eni-hub", "eni-mate")
	r.must(r.f.SetFault("loss", "100"))
	r.refused("eni-hub", "fault-loss", "eni-hub", "10.100.0.11")
	r.must(r.f.SetFault("loss", "off"))
	r.arrives("eni-hub", "10.100.0.11")
	for name, value := range map[string]string{"loss": "101", "latency": "-1s", "no-frag-needed": "maybe", "rain": "on"} {
		if err := r.f.SetFault(name, value); err == nil {
			t.Errorf("SetFault(%s, %s) was accepted", name, value)
		}
	}
}

func TestLatency(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "eni-hub", "eni-mate")
	r.arrives("eni-hub", "10.100.0.11")
	r.must(r.f.SetFault("latency", "300ms"))
	if err := r.ping("eni-hub", "10.100.0.11", "-W", "0.4"); err == nil {
		t.Error("an answer came before twice the latency")
	}
	r.arrives("eni-hub", "10.100.0.11")
	r.must(r.f.SetFault("latency", "off"))
	r.arrives("eni-hub", "10.100.0.11")
}
