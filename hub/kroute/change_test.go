package kroute

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

// foreign is what other software has on the same host, some of it in our ranges.
const foreign = `
	ip route add 192.0.2.0/24 dev eth0 proto static
	ip route add 10.110.0.0/16 via 10.100.0.1 proto static metric 50
	ip route add 198.51.100.0/24 dev eth0 table 26741 proto static
	ip route add 198.51.100.0/24 dev eth0 table 300 proto 104
	ip rule add pref 26745 fwmark 0x10 lookup 300 protocol static
	ip rule add pref 100 iif tun0 to 10.0.0.0/8 lookup main
	ip rule add pref 200 iif tun0 lookup main protocol 104
	ip -6 route add fd00:9::/64 dev eth0 proto static`

func TestWhatIsForeignStaysByteForByte(t *testing.T) {
	n := hubNS(t)
	n.sh(foreign)
	state := func() string {
		return n.sh("ip -d rule; ip -6 -d rule; ip -d route show table all; ip -6 -d route show table all; ip -d addr")
	}
	before := state()
	p := n.plane()
	pass(t, p, twoWays())
	during := state()
	for line := range strings.Lines(before) {
		if !strings.Contains(during, line) {
			t.Errorf("the pass lost the foreign %q", line)
		}
	}
	d := twoWays()
	d.Reaches = d.Reaches[:1]
	pass(t, p, d)
	if err := p.Cleanup(context.Background()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, state()); diff != "" {
		t.Errorf("after Cleanup (-before +after):\n%s", diff)
	}
	pass(t, p, twoWays())
	if before == state() {
		t.Error("control: the comparison does not see a pass")
	}
}

func TestStraysOfOursAreRemoved(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	pass(t, p, twoWays())
	clean := n.sh("ip -d rule; ip -d route show table all")
	n.sh(`
		ip route add 10.130.0.0/16 via 10.100.0.1 table 26743 proto 104
		ip route add 10.131.0.0/16 dev tun0 proto 104
		ip route add 10.132.0.0/16 table 26741 proto 104 nexthop via 10.100.0.1 dev eth0 nexthop via 10.100.1.1 dev eth1
		ip rule add pref 26750 iif tun0 from 172.27.240.0/22 ipproto tcp lookup 26743 protocol 104
		ip rule add pref 26751 iif tun0 unreachable protocol 104
		ip rule add pref 26752 iif tun7 lookup 26741 protocol 104
		ip route replace 10.110.0.0/16 via 10.100.0.99 dev eth0 onlink table 26741 proto 104`)
	changes := pass(t, p, twoWays())
	if len(changes) != 7 {
		t.Errorf("want 7 changes, got %v", changes)
	}
	if diff := cmp.Diff(clean, n.sh("ip -d rule; ip -d route show table all")); diff != "" {
		t.Errorf("(-clean +after):\n%s", diff)
	}
}

func TestAForeignRouteInOurPlaceIsLeftAndTold(t *testing.T) {
	n := hubNS(t)
	// OpenVPN's own `route` line makes exactly this one: it serves as ours.
	n.run("ip", "route", "add", "172.168.0.0/24", "via", "172.27.240.2", "dev", "tun0")
	n.run("ip", "route", "add", "10.110.0.0/16", "dev", "eth1", "table", "26741", "proto", "static")
	p := n.plane()
	pass(t, p, twoWays())
	v, err := p.Observe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want := []hub.Problem{{Code: hub.PlaneFailed, Subject: "route 10.110.0.0/16 table 26741",
		Detail: "a route that is not ours (protocol 4) has this place: dev eth1; wanted: via 10.100.0.1 dev eth0 onlink",
		Mend:   "ip route del 10.110.0.0/16 table 26741 proto 4"}}
	if diff := cmp.Diff(want, v.(hub.Troubled).Problems(twoWays())); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	lacks := hub.Units{}
	lacks.Add(twoWays().Reaches[0].Unit())
	if diff := cmp.Diff(lacks, v.(hub.Lacking).Lacks(twoWays()), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("lacks (-want +got):\n%s", diff)
	}
	n.run(strings.Fields(want[0].Mend)...)
	n.run("ip", "route", "del", "172.168.0.0/24")
	if got := pass(t, p, twoWays()); len(got) != 2 {
		t.Errorf("want both routes made once the foreign ones are gone, got %v", got)
	}
}

func TestASecondPassIsSilent(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	pass(t, p, twoWays())
	monitor := exec.Command("ip", "netns", "exec", n.name, "stdbuf", "-oL", "ip", "monitor", "all")
	file, err := os.CreateTemp(t.TempDir(), "monitor")
	if err != nil {
		t.Fatal(err)
	}
	monitor.Stdout, monitor.Stderr = file, file
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = monitor.Process.Kill(); _ = monitor.Wait(); file.Close() })
	listen := func() string {
		b, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	// A mark before and after: events arrive in order, so what lies between is the pass's.
	mark := func(dst string) {
		eventually(t, "monitor hears "+dst, func() bool {
			n.sh("ip route add " + dst + " dev lo table 77; ip route del " + dst + " dev lo table 77")
			return strings.Contains(listen(), dst)
		})
	}
	mark("192.0.2.1")
	if got := pass(t, p, twoWays()); len(got) > 0 {
		t.Errorf("changes: %v", got)
	}
	mark("192.0.2.2")
	if got := listen(); strings.Contains(got, "26740") || strings.Contains(got, "26741") {
		t.Errorf("the second pass wrote:\n%s", got)
	}
	d := twoWays()
	d.Reaches = append(d.Reaches, reach("vpc-c", "10.130.0.0/16", "eth0", 1))
	pass(t, p, d)
	mark("192.0.2.3")
	if got := listen(); !strings.Contains(got, "10.130.0.0/16 via 10.100.0.1 dev eth0 table 26741") {
		t.Errorf("control: the monitor did not hear a change:\n%s", got)
	}
}

func TestTenThousandPrefixesAndOneMore(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	calls := watched(t, p, nil)
	d := twoWays()
	d.Reaches = nil
	for i := range 10000 {
		a := netip.AddrFrom4([4]byte{10, byte(64 + i>>12), byte(i >> 4), byte(i << 4)})
		d.Reaches = append(d.Reaches, reach(fmt.Sprintf("vpc-%d", i/50), a.String()+"/28", "eth0", 1))
	}
	pass(t, p, d)
	if got := strings.Count(n.run("ip", "route", "show", "table", "26741"), "via 10.100.0.1"); got != 10000 {
		t.Errorf("%d routes in the table, want 10000", got)
	}
	d.Reaches = append(d.Reaches, reach("vpc-new", "10.200.0.0/16", "eth0", 1))
	if got := pass(t, p, d); len(got) != 1 {
		t.Errorf("one more prefix made %d changes", len(got))
	}
	d.Reaches = slices.Delete(d.Reaches, 5000, 5001)
	if got := pass(t, p, d); len(got) != 1 || got[0].Verb != hub.VerbRemove {
		t.Errorf("one prefix less: %v", got)
	}
	d.Reaches = nil
	pass(t, p, d)
	if got := n.run("ip", "route", "show", "table", "26741", "proto", "104"); strings.Count(got, "\n") != 2 {
		t.Errorf("left over:\n%s", got)
	}
	t.Logf("%d resyncs were asked for", calls.Load())
}

func TestWhatIsHeldIsNeitherAddedNorRemoved(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	d := twoWays()
	d.Reaches[0].Hold = true
	pass(t, p, d)
	if got := n.run("ip", "route", "show", "table", "26741"); strings.Contains(got, "10.110.0.0/16") {
		t.Errorf("a held reach was added:\n%s", got)
	}
	d.Reaches[0].Hold = false
	pass(t, p, d)
	before := n.sh("ip rule; ip route show table all")
	// Another gateway would be a replace; everything that is held stays.
	d.Base.Egresses[0].Gateway = netip.MustParseAddr("10.100.0.2")
	d.Base.Tunnels = d.Base.Tunnels[1:]
	base := hub.Units{}
	base.Add(hub.Unit{Kind: hub.UnitBase})
	if got := pass(t, p, d.Holding(base)); len(got) > 0 {
		t.Errorf("changes while the base is held: %v", got)
	}
	if diff := cmp.Diff(before, n.sh("ip rule; ip route show table all")); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	if got := pass(t, p, d); len(got) == 0 {
		t.Error("control: nothing changes when nothing is held")
	}
}

func TestWithoutAnEgressInterfaceTheRestIsMade(t *testing.T) {
	n := hubNS(t)
	n.run("ip", "link", "del", "eth1")
	p := n.plane()
	ctx := context.Background()
	v, err := p.Observe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	after, err := p.Apply(ctx, v, v.Plan(twoWays()))
	if err == nil || !strings.Contains(err.Error(), "add route 10.120.0.0/16 table 26742 via 10.100.1.1 dev eth1 onlink: no interface eth1") {
		t.Errorf("error %v", err)
	}
	units := map[string]bool{}
	for _, c := range after.Plan(twoWays()) {
		units[c.Unit.String()] = true
	}
	want := map[string]bool{"egress eth1": true, "spoke vpc-b 10.120.0.0/16": true}
	if diff := cmp.Diff(want, units); diff != "" {
		t.Errorf("units still lacking (-want +got):\n%s", diff)
	}
}

func TestAnEgressOfAnUnknownSubnetGoesByTheKernelsOwnGateway(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	d := twoWays()
	for i := range d.Base.Egresses {
		d.Base.Egresses[i].Gateway, d.Base.Egresses[i].Subnet = netip.Addr{}, netip.Prefix{}
	}
	pass(t, p, d)
	if got := n.run("ip", "route", "show", "table", "26741"); !strings.Contains(got, "10.110.0.0/16 via 10.100.0.1 dev eth0") {
		t.Errorf("not by the default route's gateway:\n%s", got)
	}
	v, err := p.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// eth1 has no default route, so nobody knows.
	probs := v.(hub.Troubled).Problems(d)
	if len(probs) != 1 || probs[0].Code != hub.NoEgress || probs[0].Subject != "eth1" {
		t.Errorf("problems %+v", probs)
	}
	if lacks := v.(hub.Lacking).Lacks(d); len(lacks) != 1 || !lacks.Has(hub.Unit{Kind: hub.UnitEgress, Egress: "eth1"}) {
		t.Errorf("lacks %v", lacks)
	}
}
