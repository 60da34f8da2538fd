package kroute

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

func TestWhatIsWantedAsAnExport(t *testing.T) {
	egress := func(id string, class uint8) hub.Egress {
		return hub.Egress{ID: hub.EgressID(id), Class: class, Gateway: netip.MustParseAddr("10.100.0.1")}
	}
	alias := reach("vpc-a", "10.200.0.0/16", "eth0", 1)
	alias.Real = netip.MustParsePrefix("10.110.0.0/16")
	for _, c := range []struct {
		name string
		give hub.Desired
		want string
	}{
		{"nothing", hub.Desired{}, ""},
		{"the settings", hub.Desired{Base: hub.Base{SetSysctls: true}}, "sysctl -w net.ipv4.ip_forward=1\n"},
		{"a tunnel: replies pass the reverse path filter by their mark", hub.Desired{Base: hub.Base{Tunnels: []hub.Tunnel{{Name: "tun0", Other: hub.OtherLeave}}}}, `
# where rp_filter is on, a reply from a spoke is checked with the mark of its flow; without it, it is dropped
sysctl -w net.ipv4.conf.all.src_valid_mark=1
`},
		{"the lowest and the highest class, and two that do not exist", hub.Desired{Base: hub.Base{
			Egresses: []hub.Egress{egress("eth0", 1), egress("eth9", 59), egress("eth10", 60), egress("eth11", 0)},
			Tunnels:  []hub.Tunnel{{Name: "tun0", Other: hub.OtherLeave}},
		}}, `
# where rp_filter is on, a reply from a spoke is checked with the mark of its flow; without it, it is dropped
sysctl -w net.ipv4.conf.all.src_valid_mark=1
ip route replace unreachable default table 26641 proto static metric 4278198272
ip route replace unreachable default table 26699 proto static metric 4278198272
once ip rule add pref 26640 iif tun0 fwmark 0x1000000/0x7f000000 lookup 26641 protocol static
once ip rule add pref 26698 iif tun0 fwmark 0x3b000000/0x7f000000 lookup 26699 protocol static
`},
		{"an alias is routed as what it stands for, a reach by an unknown way out not at all", hub.Desired{
			Base:    hub.Base{Egresses: []hub.Egress{egress("eth0", 1)}},
			Reaches: []hub.Reach{alias, reach("vpc-b", "10.120.0.0/16", "eth7", 7)},
		}, `
ip route replace 10.110.0.0/16 via 10.100.0.1 dev eth0 onlink table 26641 proto static
ip route replace unreachable default table 26641 proto static metric 4278198272
`},
		{"an egress without a gateway, and one network named twice", hub.Desired{
			Base: hub.Base{
				Egresses: []hub.Egress{{ID: "ppp0", Class: 1}},
				Tunnels:  []hub.Tunnel{{Name: "tun0", Sites: prefixes("172.168.0.0/24", "172.168.0.0/24")}},
			},
			Reaches: []hub.Reach{reach("vpc-a", "10.110.0.0/16", "ppp0", 1), reach("vpc-b", "10.110.0.0/16", "ppp0", 1)},
		}, `
# where rp_filter is on, a reply from a spoke is checked with the mark of its flow; without it, it is dropped
sysctl -w net.ipv4.conf.all.src_valid_mark=1
ip route replace 172.168.0.0/24 dev tun0 table main proto static metric 26640
ip route replace blackhole default table 26640 proto static
ip -6 route replace blackhole ::/0 table 26640 proto static metric 1024
ip route replace 10.110.0.0/16 dev ppp0 table 26641 proto static
ip route replace unreachable default table 26641 proto static metric 4278198272
once ip rule add pref 26640 iif tun0 fwmark 0x1000000/0x7f000000 lookup 26641 protocol static
once ip rule add pref 26699 iif tun0 lookup 26640 protocol static
once ip -6 rule add pref 26699 iif tun0 lookup 26640 protocol static
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, body, _ := strings.Cut(Export(c.give), "return 1 ;; esac; }\n")
			got := strings.Split(body, "\n")
			want := strings.Split(strings.TrimPrefix(c.want, "\n"), "\n")
			less := func(s []string) map[string]bool {
				m := map[string]bool{}
				for _, l := range s {
					m[l] = true
				}
				return m
			}
			if diff := cmp.Diff(less(want), less(got)); diff != "" || len(got) != len(want) {
				t.Errorf("(-want +got):\n%s\n%s", diff, Export(c.give))
			}
		})
	}
}

// An export stands beside the plane's own routes and rules, does not trouble it, and is
// all there after the cleanup: no line of it is made anew by a second run.
func TestAnExportStandsBesideThePlaneAndSurvivesItsCleanup(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	d := twoWays()
	pass(t, p, d)
	n.sh("set -e\n" + Export(d))
	if got := pass(t, p, d); len(got) > 0 {
		t.Errorf("the export troubles the plane: %v", got)
	}
	if err := p.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := "ip rule; ip -6 rule; ip route show table all proto static; ip -6 route show table all proto static"
	kept := n.sh(list)
	for _, want := range []string{"26640:", "26699:", "lookup 26641", "table 26640", "metric 26640"} {
		if !strings.Contains(kept, want) {
			t.Errorf("%q is not there after the cleanup:\n%s", want, kept)
		}
	}
	if strings.Contains(kept, "2674") || strings.Contains(kept, "2679") {
		t.Errorf("control: the cleanup left something of ours:\n%s", kept)
	}
	n.sh("set -e\n" + Export(d))
	if again := n.sh(list); again != kept {
		t.Errorf("a second run changed something:\n%s\nwas:\n%s", again, kept)
	}
	if text := Export(hub.Desired{}); strings.Contains(text, "ip r") {
		t.Errorf("nothing wanted gives %s", text)
	}
}
