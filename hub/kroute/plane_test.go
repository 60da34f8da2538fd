package kroute

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestThePassMakesWhatIpShows(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	pass(t, p, twoWays())
	for _, c := range []struct{ cmd, want string }{
		{"ip rule", `0: from all lookup local
26740: from all fwmark 0x1000000/0x7f000000 iif tun0 lookup 26741 proto 104
26740: from all fwmark 0x1000000/0x7f000000 iif tun1 lookup 26741 proto 104
26741: from all fwmark 0x2000000/0x7f000000 iif tun0 lookup 26742 proto 104
26741: from all fwmark 0x2000000/0x7f000000 iif tun1 lookup 26742 proto 104
26799: from all iif tun0 lookup 26740 proto 104
32766: from all lookup main
32767: from all lookup default
`},
		{"ip -6 rule", `0: from all lookup local
26799: from all iif tun0 lookup 26740 proto 104
32766: from all lookup main
`},
		{"ip route show table 26740", "blackhole default proto 104\n"},
		{"ip -6 route show table 26740", "blackhole default dev lo proto 104 metric 1024 pref medium\n"},
		{"ip route show table 26741", `unreachable default proto 104 metric 4278198272
10.100.0.0/24 dev eth0 proto 104 scope link
10.110.0.0/16 via 10.100.0.1 dev eth0 proto 104 onlink
`},
		{"ip route show table 26742", `unreachable default proto 104 metric 4278198272
10.100.1.0/24 dev eth1 proto 104 scope link
10.120.0.0/16 via 10.100.1.1 dev eth1 proto 104 onlink
`},
		{"ip route show proto 104", "172.168.0.0/24 dev tun0 scope link linkdown\n"},
	} {
		got := n.run(strings.Fields(c.cmd)...)
		if diff := cmp.Diff(c.want, tidy(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.cmd, diff)
		}
	}
	if again := pass(t, p, twoWays()); len(again) > 0 {
		t.Errorf("the second pass has changes: %v", again)
	}
}

// tidy takes ip's padding away.
func tidy(s string) string {
	var out strings.Builder
	for line := range strings.Lines(s) {
		out.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return out.String()
}
