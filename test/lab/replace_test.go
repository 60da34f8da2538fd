package lab

import (
	"strings"
	"testing"

	"peerhub/test/fabric"
)

// TestReplace puts another machine in the hub's place: what AWS keeps for it is there (Elastic
// IP, groups, role), and nothing that the old kernel or disk held. The recipe, typed anew,
// works; the routes of the VPCs still fit.
func TestReplace(t *testing.T) {
	t.Parallel()
	l := startLab(t, testSpec("p"))
	r := l.Runner()
	apply(t, r, l.Spec.Recipe(l.Dir), func(Line) bool { return true })
	mustArrive(t, l, Talkers(), l.Spec.Targets())

	old, _ := l.Host(HostHub)
	if _, err := l.Replace(t.Context(), HostLaptop1); err == nil || !strings.Contains(err.Error(), "only hub") {
		t.Errorf("a laptop was replaced: %v", err)
	}
	now, err := l.Replace(t.Context(), HostHub)
	must(t, err)
	if now.Instance == old.Instance || now.ENI == old.ENI || now.Addresses[0] == old.Addresses[0] || now.Public != old.Public || !l.Spec.HubSubnet().Contains(now.Addresses[0]) {
		t.Errorf("was %+v, is %+v: want another instance, interface and address of the subnet, and the same public address", old, now)
	}
	if h, _ := l.Host(HostHub); h.Instance != now.Instance {
		t.Errorf("the lab says %+v", h)
	}
	for _, line := range []string{"iptables-save -t nat", "ip address show dev " + l.Spec.HubInterface, "sysctl net.ipv4.ip_forward"} {
		out, err := fabric.Exec(t.Context(), now.Namespace, strings.Fields(line)...)
		must(t, err)
		if strings.Contains(out, "MASQUERADE") || strings.Contains(out, old.Addresses[0].String()+"/") || strings.Contains(out, "ip_forward = 1") {
			t.Errorf("of the old machine there is still: %s", out)
		}
	}
	for _, n := range l.Sim.Network().Interfaces {
		if n.ID == old.ENI {
			t.Errorf("the old interface is still there: %+v", n)
		}
	}
	// The laptops connect to the Elastic IP again; the new machine does not forward yet.
	for _, u := range []string{UnitLaptop1, UnitLaptop2, UnitOffice} {
		must(t, l.RestartUnit(t.Context(), u))
	}
	apply(t, r, l.Spec.Recipe(l.Dir), func(line Line) bool { return !strings.HasPrefix(line.Shell, "aws ") })
	mustArrive(t, l, Talkers(), l.Spec.Targets())
}
