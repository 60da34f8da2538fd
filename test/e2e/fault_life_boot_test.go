package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// TestColdBootWithATornConfig boots a hub whose hubd.yaml is torn, OpenVPN first: the tunnels
// of the last good config are closed, no packet of a client is on the hub's interface. The
// control takes those rules away: then they leave with their own addresses.
func TestColdBootWithATornConfig(t *testing.T) {
	t.Parallel()
	r := start(t, "t", nil)
	r.reaches(everybody, r.Spec.Targets())
	for _, unit := range []string{lab.UnitHubd, lab.UnitLaptop1, lab.UnitLaptop2, lab.UnitOffice, lab.UnitServer} {
		r.must(r.StopUnit(unit))
	}
	// What a boot forgets.
	r.sh(lab.HostHub, `nft flush ruleset; nft delete table inet hubd 2>/dev/null || true; sysctl -qw net.ipv4.ip_forward=0
		for v in -4 -6; do for p in 26740 26799; do while ip $v rule del pref $p 2>/dev/null; do :; done; done; done
		for x in 26740 26741; do ip route flush table $x 2>/dev/null || true; done`)
	r.configure(func(text string) string { return strings.Replace(text, "interfaces: [tun0]", "interfaces: [tun0", 1) })
	a := r.try(lab.HostHub, filepath.Join(bin, "hubd"), "--config", filepath.Join(r.HubdDir(), "hubd.yaml"), "--fail-closed")
	if a.code != 0 || !strings.Contains(a.talk, "the tunnels of the last good config are closed: "+r.Spec.Tunnel) {
		t.Fatalf("exit %d: %s", a.code, a.talk)
	}
	r.must(r.StartUnit(t.Context(), lab.UnitServer))
	r.must(r.StartUnit(t.Context(), lab.UnitLaptop1))
	seen, before := r.capture(), r.dropped(lab.HostHub, fabric.ReasonSourceCheck)
	arrived := func() (n int) {
		_, err := fmt.Sscan(r.sh(lab.HostHub, "cat /sys/class/net/"+r.Spec.Tunnel+"/statistics/rx_packets"), &n)
		r.must(err)
		return n
	}
	came := arrived()
	talk := func() {
		r.exec(lab.HostLaptop1, "bash", "-c", "for i in {1..20}; do echo $i >/dev/udp/"+r.addr("svc1")+"/7; done")
	}
	eventually(t, "datagrams came out of the tunnel", func() error {
		talk()
		if n := arrived() - came; n < 100 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	if n := r.dropped(lab.HostHub, fabric.ReasonSourceCheck) - before; n > 0 {
		t.Errorf("%d packets with foreign sources came to the hub's interface", n)
	}
	if out := seen.from(r, "172.27.240."); len(out) > 0 {
		t.Errorf("packets left the hub: %q", out)
	}
	r.sh(lab.HostHub, "ip rule del pref 26799")
	eventually(t, "without the rule packets leave untranslated", func() error {
		talk()
		if n := r.dropped(lab.HostHub, fabric.ReasonSourceCheck) - before; n < 20 {
			return fmt.Errorf("%d were dropped by the interface", n)
		}
		return nil
	})
	if len(seen.from(r, "172.27.240.")) == 0 {
		t.Error("tcpdump saw none")
	}
}
