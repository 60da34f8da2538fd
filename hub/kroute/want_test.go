package kroute

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vishvananda/netlink"
	"peerhub/hub"
)

func TestRoutesAndRulesReadBackFromTheirText(t *testing.T) {
	for w := range wantRoutes(twoWays()) {
		got, err := parseRoute(w.it.object(), w.it.detail())
		if err != nil || got != w.it {
			t.Errorf("%q %q became %+v, %v", w.it.object(), w.it.detail(), got, err)
		}
	}
	var v view
	for _, w := range wantRules(twoWays()) {
		got, err := v.parseRule(w.it.object())
		if err != nil || got != w.it {
			t.Errorf("%q became %+v, %v", w.it.object(), got, err)
		}
	}
	for _, bad := range []string{"", "route", "route x table 1", "route 10.0.0.0/8 table x", "route 10.0.0.0/8 tabel 1", "rule", "rule pref x",
		"rule pref 1 to 10.0.0.0/8 lookup 1", "rule pref 26740 iif", "pref 1 lookup 2"} {
		if r, err := parseRoute(bad, ""); err == nil {
			t.Errorf("route %q became %+v", bad, r)
		}
		if r, err := v.parseRule(bad); err == nil {
			t.Errorf("rule %q became %+v", bad, r)
		}
	}
	for _, bad := range []string{"via", "via x dev eth0", "of another type", "dev eth0 with other attributes"} {
		if r, err := parseRoute("route 10.0.0.0/8 table main", bad); err == nil {
			t.Errorf("detail %q became %+v", bad, r)
		}
	}
}

func TestAnInterruptedDumpIsReadAgainButNotForEver(t *testing.T) {
	for _, c := range []struct {
		name  string
		errs  []error
		want  int
		fails bool
		calls int
	}{
		{"at once", nil, 7, false, 1},
		{"interrupted twice", []error{netlink.ErrDumpInterrupted, unix.EINTR}, 7, false, 3},
		{"always interrupted", slowly(netlink.ErrDumpInterrupted, 50), 0, true, dumpTries},
		{"refused", []error{unix.EPERM}, 0, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := 0
			got, err := retried(func() (int, error) {
				calls++
				if calls <= len(c.errs) {
					return 3, c.errs[calls-1] // a part of the truth, never to be used
				}
				return 7, nil
			})
			if got != c.want || (err != nil) != c.fails || calls != c.calls {
				t.Errorf("got %d, %v after %d calls; want %d, failing %v, after %d", got, err, calls, c.want, c.fails, c.calls)
			}
		})
	}
}

func slowly(err error, n int) []error {
	out := make([]error, n)
	for i := range out {
		out[i] = err
	}
	return out
}

func TestSysctlsAreToldOrSet(t *testing.T) {
	n := hubNS(t)
	n.sh(`
		sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=1
		sysctl -qw net.ipv6.conf.eth0.accept_ra=1 net.ipv6.conf.eth1.accept_ra=0
		sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.eth1.rp_filter=2
		sysctl -qw net.ipv4.conf.all.src_valid_mark=0`)
	p := n.plane()
	d := twoWays()
	pass(t, p, d)
	v, err := p.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var mends []string
	for _, pr := range v.(hub.Troubled).Problems(d) {
		if pr.Code != hub.SysctlWrong {
			t.Errorf("unexpected %+v", pr)
		}
		mends = append(mends, pr.Mend)
	}
	want := []string{
		"sysctl -w net.ipv4.ip_forward=1",
		"sysctl -w net.ipv6.conf.eth0.accept_ra=2",
		"sysctl -w net.ipv4.conf.eth1.src_valid_mark=1",
	}
	if diff := cmp.Diff(want, mends); diff != "" {
		t.Errorf("mends (-want +got):\n%s", diff)
	}
	get := func() string {
		return n.run("sysctl", "-n", "net.ipv4.ip_forward", "net.ipv6.conf.eth0.accept_ra", "net.ipv4.conf.eth1.src_valid_mark", "net.ipv6.conf.eth1.accept_ra")
	}
	if got := get(); got != "0\n1\n0\n0\n" {
		t.Errorf("sysctls were touched although they are only checked: %q", got)
	}
	d.Base.SetSysctls = true
	held := d
	held.Base.Hold = true
	if got := pass(t, p, held); len(got) > 0 {
		t.Errorf("held, but %v", got)
	}
	if got := pass(t, p, d); len(got) != 3 {
		t.Errorf("want three sysctls set, got %v", got)
	}
	if got := get(); got != "1\n2\n1\n0\n" {
		t.Errorf("sysctls after setting: %q", got)
	}
	for _, m := range []string{"net/ipv4/conf/eth0.100/rp_filter", "net/ipv4/ip_forward"} {
		if got := sysctlPath(sysctlName(m)); got != m {
			t.Errorf("%s became %s", m, got)
		}
	}
}

func TestFailClosedNeedsNothingButNames(t *testing.T) {
	n := newNS(t, "boot")
	before := n.run("ip", "rule")
	tunnels := twoWays().Base.Tunnels
	for range 2 { // twice: it may run again at any time
		if err := FailClosed(t.Context(), int(n.file.Fd()), tunnels, true); err != nil {
			t.Fatal(err)
		}
	}
	got := tidy(n.sh("ip rule; ip -6 rule; ip route show table 26740; ip -6 route show table 26740; sysctl -n net.ipv4.ip_forward"))
	want := `0: from all lookup local
26799: from all iif tun0 [detached] lookup 26740 proto 104
32766: from all lookup main
32767: from all lookup default
0: from all lookup local
26799: from all iif tun0 [detached] lookup 26740 proto 104
32766: from all lookup main
blackhole default proto 104
blackhole default dev lo proto 104 metric 1024 pref medium
1
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := n.plane().Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, n.run("ip", "rule")); diff != "" {
		t.Errorf("after Cleanup (-before +after):\n%s", diff)
	}
}

// Beside a hubd that runs, the one-shot takes nothing away.
func TestFailClosedRemovesNothing(t *testing.T) {
	n := hubNS(t)
	pass(t, n.plane(), twoWays())
	before := n.sh("ip rule; ip route show table all")
	if err := FailClosed(t.Context(), int(n.file.Fd()), twoWays().Base.Tunnels[:1], true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, n.sh("ip rule; ip route show table all")); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

func TestFactsNameInterfacesAndAddresses(t *testing.T) {
	n := hubNS(t)
	n.sh("ip link set eth0 address 02:00:00:00:00:0a; ip addr add 10.100.0.11/24 dev eth0")
	got, err := n.plane().Facts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range got {
		if l.Name != "eth0" {
			continue
		}
		l.Index, l.Addresses = 0, l.Addresses[:2]
		want := Interface{Name: "eth0", MAC: "02:00:00:00:00:0a", Up: true, Addresses: prefixes("10.100.0.10/24", "10.100.0.11/24")}
		if diff := cmp.Diff(want, l, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		return
	}
	t.Errorf("no eth0 in %+v", got)
}
