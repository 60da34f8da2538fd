package masq

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"peerhub/hub"
)

const pingOnce = "ping -n -c1 -W1 "

// tcpTo is a connection that must be greeted.
func tcpTo(addr string, port int) string {
	return fmt.Sprintf("socat -T1 -u TCP4:%s:%d,connect-timeout=1 - | grep from", addr, port)
}

// Every refusal: the packet does not arrive and its counter rises; a near twin arrives;
// without the table the same packet arrives.
func TestWhatTheTableRefuses(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name    string
		from    func(*rig) *ns
		refused string
		counter string
		twin    string // from the same place, arrives
	}{
		{"a client to an unpeered VPC", client, pingOnce + unpeeredHost, "drop_other", pingOnce + billingHost},
		{"a client to instance metadata", client, pingOnce + metadataHost, "drop_metadata", pingOnce + billingHost},
		{"a client of a leave tunnel to instance metadata", client2, pingOnce + metadataHost, "drop_metadata", pingOnce + unpeeredHost},
		{"a client by IPv6 through the hub", client, pingOnce + "-6 fd00:2::1", "drop_ipv6", pingOnce + billingHost},
		{"a client by IPv6 to the hub", client, pingOnce + "-6 fd00:1::1", "drop_ipv6", pingOnce + "172.27.240.1"},
		{"beyond by IPv6 to a client", beyond, pingOnce + "-6 fd00:1::2", "drop_ipv6", pingOnce + "-6 fd00:2::10"},
		{"a client with a source of its own making", client, pingOnce + "-I 192.168.9.9 " + billingHost, "drop_source", pingOnce + "-I " + clientHost + " " + billingHost},
		{"a client to ssh of the hub", client, tcpTo("172.27.240.1", 22), "drop_hub", tcpTo("172.27.240.1", 8080)},
		{"a client to ssh of the hub's VPC address", client, tcpTo("10.100.0.10", 22), "drop_hub", pingOnce + "10.100.0.10"},
		{"a client of a leave tunnel to ssh of the hub", client2, tcpTo("172.28.0.1", 22), "drop_hub", tcpTo(unpeeredHost, 9000)},
		{"a spoke to a client", beyond, pingOnce + "-I " + billingHost + " " + clientHost, "drop_toward", pingOnce + "-I " + billingHost + " 10.100.0.10"},
		{"a host of the hub VPC to a client", beyond, pingOnce + clientHost, "drop_toward", pingOnce + "10.100.0.10"},
		{"a spoke to a client of a leave tunnel", beyond, pingOnce + "-I " + billingHost + " " + client2Host, "drop_toward", pingOnce + "-I " + unpeeredHost + " " + client2Host},
		{"a client to a client of another tunnel", client, pingOnce + client2Host, "drop_other", pingOnce + billingHost},
		{"a client of a leave tunnel to a client of a closed one", client2, pingOnce + clientHost, "drop_toward", pingOnce + unpeeredHost},
	}
	r := newRig(t, hub.OwnershipPlain)
	r.hub.serve(t, 22)
	r.hub.serve(t, 8080)
	r.beyond.serve(t, 9000, beyondHosts...)
	syncTo(t, r.p, sample())
	for _, c := range cases {
		before := r.drops(t)[c.counter].Packets
		if out, err := c.from(r).try(t, c.refused); err == nil {
			t.Errorf("%s: arrives: %s", c.name, out)
		}
		if after := r.drops(t)[c.counter].Packets; after <= before {
			t.Errorf("%s: %s stays at %d", c.name, c.counter, before)
		}
		if out, err := c.from(r).try(t, c.twin); err != nil {
			t.Errorf("%s: the near twin %s does not arrive: %s", c.name, c.twin, out)
		}
	}
	if err := r.p.Cleanup(ctx); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if out, err := c.from(r).try(t, c.refused); err != nil {
			t.Errorf("%s: the control without the table does not arrive: %s", c.name, out)
		}
	}
}

func client(r *rig) *ns  { return r.client }
func client2(r *rig) *ns { return r.client2 }
func beyond(r *rig) *ns  { return r.beyond }

// A segment that conntrack cannot place does not leave the hub.
func TestInvalidPacketsAreDropped(t *testing.T) {
	t.Parallel()
	r := newRig(t, hub.OwnershipPlain)
	r.beyond.run(t, `nft 'table ip seen { chain c { type filter hook prerouting priority -400; tcp dport 9999 counter; }; }'`)
	seen := func() bool {
		return !regexp.MustCompile(`packets 0 `).MatchString(r.beyond.run(t, "nft list table ip seen"))
	}
	syncTo(t, r.p, sample())
	const synFin, syn = 0x03, 0x02
	r.client.sendTCP(t, clientHost, billingHost, 5000, 9999, synFin)
	await(t, "drop_invalid rises", func() bool { return r.drops(t)["drop_invalid"].Packets == 1 })
	if seen() {
		t.Error("a segment with SYN and FIN arrived")
	}
	r.client.sendTCP(t, clientHost, billingHost, 5001, 9999, syn)
	await(t, "the twin with SYN alone arrives", seen)
	if err := r.p.Cleanup(ctx); err != nil {
		t.Fatal(err)
	}
	r.beyond.run(t, "nft reset rules 2>/dev/null || nft -f - <<< 'flush table ip seen; add rule ip seen c tcp dport 9999 counter'")
	if seen() {
		t.Fatal("the counter was not reset")
	}
	r.client.sendTCP(t, clientHost, billingHost, 5002, 9999, synFin)
	await(t, "the control without the table arrives", seen)
}

// What gets through has the hub's address and a port above the daemons' ports.
func TestTranslation(t *testing.T) {
	t.Parallel()
	masquerade := sample()
	masquerade.Base.Masquerade = true
	unknown := sample()
	unknown.Base.Egresses[0].Address = netip.Addr{}
	for _, c := range []struct {
		name string
		mode hub.Ownership
		want hub.Desired
		rule string // part of the rule that does it
	}{
		{"plain, to the interface's address", hub.OwnershipPlain, sample(), "10.100.0.10"},
		{"persist, to the interface's address", hub.OwnershipPersist, sample(), "10.100.0.10"},
		{"the kernel's choice", hub.OwnershipPlain, masquerade, ""},
		{"no address is known", hub.OwnershipPlain, unknown, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.mode)
			r.beyond.serve(t, 9000, beyondHosts...)
			// A second address: the kernel's choice would be the first one.
			r.hub.run(t, "ip addr add 10.100.0.11/24 dev eth0")
			syncTo(t, r.p, c.want)
			saw := regexp.MustCompile(`from 10\.100\.0\.10 (\d+)`)
			for _, cmd := range []string{
				"socat -T1 TCP4:" + billingHost + ":9000,sourceport=1194 - </dev/null",
				"echo x | socat -T1 - UDP4:" + billingHost + ":9000,sourceport=1195",
				"echo x | socat -T1 - UDP4:" + dataHost + ":9000,sourceport=40000",
			} {
				m := saw.FindStringSubmatch(r.client.run(t, cmd))
				if m == nil {
					t.Fatalf("%s: the other end did not see 10.100.0.10", cmd)
				}
				if port, err := strconv.Atoi(m[1]); err != nil || port < 2048 {
					t.Errorf("%s: came from port %s, which a daemon of the hub may listen on", cmd, m[1])
				}
			}
			r.client.run(t, pingOnce+billingHost)
			// An ICMP error of a flow finds its way back through the gate.
			if out, _ := r.client.try(t, "echo x | socat -t2 - UDP4:"+billingHost+":9999"); !strings.Contains(out, "Connection refused") {
				t.Errorf("a closed port beyond is not reported: %s", out)
			}
			counters, err := r.p.Counters(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, mark := range []uint32{billing, data} {
				if n := counters[mark]; n.Out.Packets == 0 || n.Back.Packets == 0 || n.Out.Bytes == 0 || n.Back.Bytes == 0 {
					t.Errorf("counters of %s: %+v", markText(mark), n)
				}
			}
		})
	}
}

// Other traffic of a leave tunnel goes as it came, both ways.
func TestLeaveIsLeftAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t, hub.OwnershipPlain)
	r.beyond.serve(t, 9000, beyondHosts...)
	syncTo(t, r.p, sample())
	for dst, src := range map[string]string{unpeeredHost: client2Host, billingHost: "10.100.0.10"} {
		p := r.client2.udp(t, dst+":9000")
		p.talk(t, "x", "from "+src+" ")
	}
	r.beyond.run(t, pingOnce+"-I "+unpeeredHost+" "+client2Host)
}

// The MSS of marked flows fits the narrower side, in both directions.
func TestClamp(t *testing.T) {
	t.Parallel()
	r := newRig(t, hub.OwnershipPlain)
	r.hub.run(t, "ip link set tun0 mtu 1400")
	r.beyond.serve(t, 9000, beyondHosts...)
	syncTo(t, r.p, sample())
	mss := regexp.MustCompile(`mss (\d+)`)
	const capture = "exec tcpdump -n --immediate-mode -l -i eth0 -c1 'tcp port 9000 and tcp[13] & 2 != 0 and %s'"
	connect := func() (syn, synAck string) {
		there := r.beyond.start(t, fmt.Sprintf(capture, "dst port 9000"))
		here := r.client.start(t, fmt.Sprintf(capture, "src port 9000"))
		there.await(t, "listening on")
		here.await(t, "listening on")
		r.client.run(t, tcpTo(billingHost, 9000))
		there.await(t, "mss ")
		here.await(t, "mss ")
		return mss.FindStringSubmatch(there.output())[1], mss.FindStringSubmatch(here.output())[1]
	}
	if syn, synAck := connect(); syn != "1360" || synAck != "1360" {
		t.Errorf("SYN has mss %s, SYN-ACK %s, want 1360", syn, synAck)
	}
	if err := r.p.Cleanup(ctx); err != nil {
		t.Fatal(err)
	}
	if syn, synAck := connect(); syn != "1460" || synAck != "1460" {
		t.Errorf("control without the table: SYN has mss %s, SYN-ACK %s, want 1460", syn, synAck)
	}
}

// On a flow toward a spoke both marks are ours, whatever others gave it before; on all
// other traffic they are untouched. Nobody opens the gate with a mark of his own.
func TestForeignMarks(t *testing.T) {
	t.Parallel()
	for _, foreign := range []uint32{0, 0x00420000, 0x80ff0000, 0x80000000} {
		t.Run(markText(foreign), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, hub.OwnershipPlain)
			r.beyond.serve(t, 9000, beyondHosts...)
			r.hub.run(t, fmt.Sprintf(`nft 'table inet foreign {
				chain first { type filter hook prerouting priority -160; ct state new ct mark set 0x%[1]x; meta mark set 0x%[1]x; }
				chain last { type filter hook forward priority 10;
					meta mark 0x%[1]x ct mark 0x%[1]x counter comment "foreign";
					meta mark 0x%[2]x ct mark 0x%[3]x counter comment "ours"; }
			}'`, foreign, data&classMask, data))
			syncTo(t, r.p, sample())
			before := r.hub.run(t, "nft -s list table inet foreign")
			saw := func(whose string) bool {
				return !strings.Contains(r.hub.run(t, "nft list chain inet foreign last | grep "+whose), "packets 0 ")
			}
			r.client2.udp(t, unpeeredHost+":9000").talk(t, "x", "from "+client2Host+" ")
			if !saw("foreign") || saw("ours") {
				t.Errorf("marks of other traffic were touched:\n%s", r.hub.run(t, "nft list table inet foreign; conntrack -L"))
			}
			// The control: here the same check sees that they were replaced.
			r.client.udp(t, dataHost+":9000").talk(t, "x", "from 10.100.0.10 ")
			if !saw("ours") {
				t.Errorf("marks of a flow to a spoke are not ours:\n%s", r.hub.run(t, "nft list table inet foreign; conntrack -L"))
			}
			if after := r.hub.run(t, "nft -s list table inet foreign"); after != before {
				t.Errorf("the foreign table changed:\n%s", after)
			}
		})
	}
	t.Run("a mark of ours, given by others", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, hub.OwnershipPlain)
		r.hub.run(t, fmt.Sprintf(`nft 'table inet foreign {
			chain first { type filter hook prerouting priority -160; ct state new iifname tun0 ct mark set 0x%x; }
		}'`, billing))
		syncTo(t, r.p, sample())
		if out, err := r.client.try(t, pingOnce+unpeeredHost); err == nil {
			t.Errorf("it opened the gate: %s", out)
		}
		if n := r.drops(t)["drop_other"].Packets; n != 1 {
			t.Errorf("drop_other is %d", n)
		}
		r.client.run(t, pingOnce+billingHost) // the near twin
		if err := r.p.Cleanup(ctx); err != nil {
			t.Fatal(err)
		}
		r.client.run(t, pingOnce+unpeeredHost) // the control
	})
}
