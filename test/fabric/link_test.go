package fabric_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"peerhub/test/ec2sim"
	"peerhub/test/fabric"
)

func TestARPAnswersForEveryAddressOfTheSubnet(t *testing.T) {
	t.Parallel()
	// .12 is the hub's own, though not yet set up there: an answer would look
	// like a duplicate address.
	r := newRig(t, func(n *ec2sim.Network) {
		e := theENI(n, "eni-hub")
		e.Addresses = append(e.Addresses, netip.MustParseAddr("10.100.0.12"))
	}, "eni-hub", "eni-mate")
	const router = "02:fa:b0:00:00:01"
	for addr, mac := range map[string]string{
		"10.100.0.1":      router,              // the subnet's router
		"10.100.0.11":     "06:00:00:00:00:04", // held: its interface
		"10.100.0.77":     router,              // held by nobody
		"169.254.169.254": router,
	} {
		r.run("eni-hub", "ip", "route", "replace", addr+"/32", "dev", "ens5")
		r.ping("eni-hub", addr, "-W", "0.2")
		if got := r.run("eni-hub", "ip", "neigh", "show", addr); !strings.Contains(got, mac) {
			t.Errorf("neighbour %s is %q, want %s", addr, got, mac)
		}
	}
	for what, addr := range map[string]string{"of another subnet": "10.100.1.20", "of the asker": "10.100.0.12"} {
		r.run("eni-hub", "ip", "route", "replace", addr+"/32", "dev", "ens5")
		if err := r.ping("eni-hub", addr, "-W", "0.2"); err == nil {
			t.Errorf("an address %s was answered on the link", what)
		}
		if got := r.run("eni-hub", "ip", "neigh", "show", addr); strings.Contains(got, "lladdr") {
			t.Errorf("ARP for an address %s was answered: %q", what, got)
		}
	}
}

func TestANeighbourAsGateway(t *testing.T) {
	t.Parallel()
	const service = "172.20.0.1"
	r := newRig(t, nil, "eni-hub", "eni-mate")
	r.run("eni-hub", "ip", "addr", "add", service+"/32", "dev", "lo")
	r.run("eni-mate", "ip", "route", "add", service, "via", "10.100.0.10")
	r.refused("eni-hub", "eni-source-check", "eni-mate", service)
	r.update(checkOff("eni-hub"))
	r.arrives("eni-mate", service)
}

func TestAForeignMACIsRefusedAlsoWithTheCheckOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, checkOff("eni-hub"), "eni-hub", "eni-mate")
	r.arrives("eni-hub", "10.100.0.11")
	r.run("eni-hub", "ip", "link", "set", "ens5", "address", "06:00:00:00:00:99")
	r.refused("eni-hub", "eni-source-check", "eni-hub", "10.100.0.11")
}

func TestAttachAndDetach(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "eni-hub", "eni-mate")
	mate := r.ns["eni-mate"]
	if err := r.f.AttachENI(mate, "ens6", "eni-mate"); err == nil {
		t.Error("an interface was attached twice")
	}
	if err := r.f.AttachENI(mate, "ens6", "eni-nobody"); err == nil {
		t.Error("an interface that is not in the network was attached")
	}
	if err := r.f.AttachENI("fab-no-such-namespace", "ens6", "eni-svc"); err == nil {
		t.Error("attached to a namespace that is not there")
	}
	r.arrives("eni-hub", "10.100.0.11")

	r.must(r.f.Detach(mate, "ens5"))
	if links := r.run("eni-mate", "ip", "-o", "link"); strings.Contains(links, "ens5") {
		t.Errorf("the device is still there: %s", links)
	}
	r.refused("eni-mate", "no-host", "eni-hub", "10.100.0.11")
	if err := r.f.Detach(mate, "ens5"); err == nil {
		t.Error("detached twice")
	}

	r.must(r.f.AttachENI(mate, "eth7", "eni-mate"))
	r.refused("eni-mate", "no-host", "eni-hub", "10.100.0.11") // plugged in, but down
	r.must(r.f.ConfigureENI("eni-mate"))
	r.arrives("eni-hub", "10.100.0.11")

	r.run("eni-mate", "ip", "link", "delete", "eth7")
	eventually(t, "the fabric noticed that the device is gone", func() bool {
		return r.f.AttachENI(mate, "eth8", "eni-mate") == nil
	})
	r.must(r.f.ConfigureENI("eni-mate"))
	r.arrives("eni-hub", "10.100.0.11")

	r.f.Close()
	if links := r.run("eni-mate", "ip", "-o", "link"); strings.Contains(links, "eth8") {
		t.Errorf("the device outlived the fabric: %s", links)
	}
	if err := r.f.AttachENI(mate, "eth9", "eni-mate"); err == nil {
		t.Error("attached to a closed fabric")
	}
}

func TestAnInterfaceThatAWSNoLongerHas(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "eni-hub", "eni-mate")
	r.arrives("eni-hub", "10.100.0.11") // the neighbour is known: a gone interface gets no ARP answers
	r.update(func(n *ec2sim.Network) { n.Interfaces = n.Interfaces[:1] })
	r.refused("eni-hub", "no-interface", "eni-hub", "10.100.0.11")
	r.update(same)
	r.arrives("eni-hub", "10.100.0.11")
}

// TestUpdateTakesEffectForTheNextPacket flips a peering under a stream: a datagram
// sent after Update returned meets the new state.
func TestUpdateTakesEffectForTheNextPacket(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "eni-hub", "eni-svc")
	r.serveUDP("eni-svc", ":7")
	conn := r.dialUDP("eni-hub", "10.100.0.10:7777", "10.110.0.10:7")
	dropped := make(chan string, 100)
	r.f.OnDrop(func(place, reason, packet string) {
		if strings.HasPrefix(packet, "udp 10.100.0.10:7777 ") {
			dropped <- place + " " + reason
		}
	})
	for i := range 50 {
		r.update(func(n *ec2sim.Network) { thePeering(n, "pcx-svc").Active = false })
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the datagram was dropped", func() bool { return len(dropped) > 0 })
		if got := <-dropped; got != "pcx-svc pcx-inactive" {
			t.Fatalf("round %d: dropped by %s", i, got)
		}
		r.update(same)
		if got, err := ask(conn, "x"); err != nil || got != "10.100.0.10:7777 1" {
			t.Fatalf("round %d: got %q, %v%s", i, got, err, r.drops())
		}
	}
	if len(dropped) > 0 {
		t.Errorf("dropped beside: %s", <-dropped)
	}
}

func TestDropsAreListedInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "eni-hub")
	r.refused("subnet-svc", "no-host", "eni-hub", "10.110.0.99")
	r.refused("subnet-hub", "no-host", "eni-hub", "10.100.0.99")
	var got []string
	for _, d := range r.f.Drops() {
		got = append(got, fmt.Sprint(d.Place, " ", d.Reason, " ", d.Count, " ", d.Last))
	}
	want := []string{
		"subnet-hub no-host 1 icmp 10.100.0.10 > 10.100.0.99 type 8 code 0",
		"subnet-svc no-host 1 icmp 10.100.0.10 > 10.110.0.99 type 8 code 0",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestIPv6InsideAVPCAndOverAPeering(t *testing.T) {
	t.Parallel()
	p := netip.MustParsePrefix
	six := func(n *ec2sim.Network) {
		for id, prefix := range map[string]string{"hub": "fd00:100::/56", "svc": "fd00:110::/56"} {
			for i := range n.VPCs {
				if n.VPCs[i].ID == "vpc-"+id {
					n.VPCs[i].Prefixes = append(n.VPCs[i].Prefixes, p(prefix))
				}
			}
			addRoute(n, "rtb-"+id, prefix, "local", "local")
			g := theGroup(n, "sg-"+id)
			any6 := ec2sim.NetRule{Protocol: -1, Prefix: p("::/0")}
			g.Ingress, g.Egress = append(g.Ingress, any6), append(g.Egress, any6)
			a := theACL(n, "acl-"+id)
			pass := ec2sim.NetACLEntry{Number: 101, Allow: true, Protocol: -1, Prefix: p("::/0")}
			a.Ingress, a.Egress = append(a.Ingress, pass), append(a.Egress, pass)
		}
		addRoute(n, "rtb-hub", "fd00:110::/56", "pcx", "pcx-svc")
		addRoute(n, "rtb-svc", "fd00:100::/56", "pcx", "pcx-svc")
		for id, addr := range map[string]string{"eni-hub": "fd00:100::10", "eni-mate": "fd00:100::11", "eni-svc": "fd00:110::10"} {
			e := theENI(n, id)
			e.Addresses = append(e.Addresses, netip.MustParseAddr(addr))
		}
	}
	r := newRig(t, six, "eni-hub", "eni-mate", "eni-svc")
	for id, addr := range map[string]string{"eni-hub": "fd00:100::10/64", "eni-mate": "fd00:100::11/64", "eni-svc": "fd00:110::10/64"} {
		r.run(id, "ip", "addr", "add", addr, "dev", "ens5", "nodad")
		// The default route comes from the router's advertisement.
		eventually(t, id+" learned the router", func() bool {
			return strings.Contains(r.run(id, "ip", "-6", "route", "show", "default"), "via fe80::fa:b0ff:fe00:1")
		})
	}
	r.arrives("eni-hub", "fd00:100::11")
	r.arrives("eni-hub", "fd00:110::10")
	r.run("eni-hub", "ip", "addr", "add", "fd00:240::7/128", "dev", "lo", "nodad")
	r.refused("eni-hub", "eni-source-check", "eni-hub", "fd00:110::10", "-I", "fd00:240::7")
	r.update(edits(six, checkOff("eni-hub")))
	r.refused("pcx-svc", "pcx-source", "eni-hub", "fd00:110::10", "-I", "fd00:240::7")
}

func TestNamespaceNamesMayBePaths(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "eni-hub")
	ns := r.newNS("eni-mate")
	r.must(r.f.AttachENI("/run/netns/"+ns, "ens5", "eni-mate"))
	r.must(r.f.ConfigureENI("eni-mate"))
	r.arrives("eni-hub", "10.100.0.11")
	r.must(r.f.Detach(ns, "ens5"))
	r.must(fabric.Delete(ns))
	r.must(fabric.Delete(ns)) // deleting what is gone is no error
}
