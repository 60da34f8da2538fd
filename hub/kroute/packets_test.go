package kroute

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"peerhub/hub"
)

// wire is a client, a hub and a spoke. The spoke 10.110.0.5 is behind the second way
// out, so main (whose default is the first) is the wrong way to it.
type wire struct {
	client, hub, spoke *ns
	want               hub.Desired
}

// newWire lays the cables and gives the hub what masq does: marks kept in conntrack and
// restored before routing, and translation for marked flows.
func newWire(t *testing.T) wire {
	w := wire{client: newNS(t, "c"), hub: newNS(t, "h"), spoke: newNS(t, "s")}
	run(t, "ip", "link", "add", "tun0", "netns", w.hub.name, "type", "veth", "peer", "name", "e0", "netns", w.client.name)
	run(t, "ip", "link", "add", "eth0", "netns", w.hub.name, "type", "veth", "peer", "name", "x0", "netns", w.spoke.name)
	run(t, "ip", "link", "add", "eth1", "netns", w.hub.name, "type", "veth", "peer", "name", "x1", "netns", w.spoke.name)
	w.hub.sh(`
		ip addr add 172.27.240.1/22 dev tun0; ip addr add fd00:1::1/64 dev tun0 nodad
		ip addr add 10.100.0.10/24 dev eth0; ip addr add fd00:2::1/64 dev eth0 nodad
		ip addr add 10.100.1.10/24 dev eth1
		for l in tun0 eth0 eth1; do ip link set $l up; done
		ip route add default via 10.100.0.1
		sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
		nft -f - <<N
table inet marks {
	chain classify {
		type filter hook prerouting priority mangle;
		ct state new iifname "tun0" ip daddr { 10.110.0.0/16, 10.100.0.0/16 } ct mark set 0x02000007
		meta mark set ct mark and 0x7f000000
	}
	chain source {
		type nat hook postrouting priority srcnat;
		ct mark and 0x7f000000 != 0 oifname "eth1" snat ip to 10.100.1.10
	}
}
N`)
	w.client.sh(`
		ip addr add 172.27.240.7/22 dev e0; ip addr add fd00:1::7/64 dev e0 nodad
		ip link set e0 up
		ip route add default via 172.27.240.1; ip -6 route add default via fd00:1::1`)
	w.spoke.sh(`
		ip addr add 10.100.0.1/24 dev x0; ip addr add fd00:2::7/64 dev x0 nodad
		ip addr add 10.100.1.1/24 dev x1
		ip addr add 10.110.0.5/32 dev lo; ip addr add 198.51.100.9/32 dev lo
		ip link set x0 up; ip link set x1 up
		sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.ip_forward=1
		ip route add default via 10.100.0.10; ip -6 route add default via fd00:2::1
		nft -f - <<N
table inet seen {
	counter arrived { }
	chain in {
		type filter hook prerouting priority raw;
		icmp type echo-request counter name arrived
		icmpv6 type echo-request counter name arrived
	}
}
N`)
	w.want = hub.Desired{
		Base: hub.Base{
			Egresses: twoWays().Base.Egresses,
			Tunnels:  []hub.Tunnel{{Name: "tun0", Origins: prefixes("172.27.240.0/22")}},
		},
		Reaches: []hub.Reach{reach("vpc-a", "10.110.0.0/16", "eth1", 2)},
	}
	return w
}

// ping sends one echo request from the client and reports whether the answer came.
func (w wire) ping(dst string) bool {
	_, err := w.client.try("ping", "-c1", "-W1", dst)
	return err == nil
}

// arrived is how many echo requests the spoke has seen.
func (w wire) arrived() string {
	return strings.Join(strings.Fields(w.spoke.run("nft", "list", "counter", "inet", "seen", "arrived")), " ")
}

func TestRepliesPassEveryReversePathFilter(t *testing.T) {
	w := newWire(t)
	p := w.hub.plane()
	pass(t, p, w.want)
	for _, c := range []struct {
		filter, mark int
		arrives      bool
	}{
		{0, 0, true}, {0, 1, true},
		{1, 0, false}, {1, 1, true},
		{2, 0, false}, {2, 1, true},
	} {
		t.Run(fmt.Sprintf("rp_filter %d src_valid_mark %d", c.filter, c.mark), func(t *testing.T) {
			w.hub.sh(fmt.Sprintf(`
				for l in all tun0 eth0 eth1; do
					sysctl -qw net.ipv4.conf.$l.rp_filter=%d net.ipv4.conf.$l.src_valid_mark=%d
				done`, c.filter, c.mark))
			if got := w.ping("10.110.0.5"); got != c.arrives {
				t.Errorf("reply arrives: %v, want %v", got, c.arrives)
			}
			v, err := p.Observe(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			var codes []string
			for _, pr := range v.(hub.Troubled).Problems(w.want) {
				if strings.Contains(pr.Subject, "src_valid_mark") {
					codes = append(codes, string(pr.Code)+" "+pr.Subject)
				}
			}
			if told := len(codes) > 0; told == c.arrives {
				t.Errorf("problems %v although replies arrive: %v", codes, c.arrives)
			}
		})
	}
	w.want.Base.SetSysctls = true
	w.hub.sh("for l in all eth0 eth1; do sysctl -qw net.ipv4.conf.$l.rp_filter=1 net.ipv4.conf.$l.src_valid_mark=0; done")
	if w.ping("10.110.0.5") {
		t.Error("control: the reply arrives before src_valid_mark is set")
	}
	pass(t, p, w.want)
	if !w.ping("10.110.0.5") {
		t.Error("the reply does not arrive after the plane set src_valid_mark")
	}
}

// A router of the egress's own subnet answers "fragmentation needed"; with the reverse
// path filter on it must not be dropped, or large transfers hang.
func TestErrorsOfTheEgressRouterArrive(t *testing.T) {
	w := newWire(t)
	p := w.hub.plane()
	pass(t, p, w.want)
	w.hub.sh("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.all.src_valid_mark=1")
	// The spoke plays the router: a prohibited destination makes it send an error from 10.100.1.1.
	w.spoke.sh("ip route add prohibit 10.110.9.9/32")
	refused := func() bool {
		out, _ := w.client.try("ping", "-c1", "-W1", "10.110.9.9")
		return strings.Contains(out, "Packet filtered")
	}
	if !refused() {
		t.Error("the router's error does not reach the client")
	}
	w.hub.run("ip", "route", "del", "10.100.1.0/24", "table", "26742")
	if refused() {
		t.Error("control: without the subnet in the table the error arrives all the same")
	}
}

func TestWithoutAMarkNothingLeaves(t *testing.T) {
	ctx := context.Background()
	w := newWire(t)
	w.hub.run("nft", "flush", "ruleset")
	w.hub.run("ip", "route", "add", "10.110.0.0/16", "via", "10.100.1.1")
	for _, c := range []struct{ name, dst string }{{"IPv4", "10.110.0.5"}, {"IPv6", "fd00:2::7"}} {
		t.Run(c.name+" control: without rules it leaves", func(t *testing.T) {
			eventually(t, "an answer of "+c.dst, func() bool { return w.ping(c.dst) })
		})
	}
	if err := FailClosed(ctx, int(w.hub.file.Fd()), w.want.Base.Tunnels, false); err != nil {
		t.Fatal(err)
	}
	before := w.arrived()
	for _, dst := range []string{"10.110.0.5", "fd00:2::7", "198.51.100.9"} {
		w.ping(dst)
	}
	if after := w.arrived(); after != before {
		t.Errorf("something left: before %s, after %s", before, after)
	}
	if !w.ping("172.27.240.1") {
		t.Error("the hub itself does not answer the client any more")
	}
	if out, err := w.hub.try("ping", "-c1", "-W1", "10.110.0.5"); err != nil {
		t.Errorf("the hub itself cannot reach the spoke any more: %s", out)
	}
}

// With the kernel routes there and masq's table gone, packets have no mark.
func TestTheWholePlaneWithoutMasqLetsNothingOut(t *testing.T) {
	w := newWire(t)
	p := w.hub.plane()
	pass(t, p, w.want)
	if !w.ping("10.110.0.5") {
		t.Fatal("control: with marks the spoke does not answer")
	}
	before := w.arrived()
	w.hub.run("nft", "flush", "ruleset")
	w.ping("10.110.0.5")
	if after := w.arrived(); after != before {
		t.Errorf("something left without a mark: before %s, after %s", before, after)
	}
	w.hub.run("ip", "rule", "del", "pref", "26799")
	w.hub.run("ip", "route", "add", "10.110.0.0/16", "via", "10.100.1.1")
	w.ping("10.110.0.5")
	if w.arrived() == before {
		t.Error("control: without the closing rule nothing left either")
	}
}

func TestAMarkedPacketWithoutARouteIsRefusedAlsoWhereOtherTrafficMayPass(t *testing.T) {
	w := newWire(t)
	w.want.Base.Tunnels[0].Other = hub.OtherLeave
	p := w.hub.plane()
	pass(t, p, w.want)
	if !w.ping("198.51.100.9") {
		t.Error("other traffic does not pass although it may")
	}
	w.want.Reaches = nil
	pass(t, p, w.want)
	out, err := w.client.try("ping", "-c1", "-W1", "10.110.0.5")
	if err == nil || !strings.Contains(out, "Destination Host Unreachable") {
		t.Errorf("want an answer that the host is unreachable, got %s", out)
	}
}
