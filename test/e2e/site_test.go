package e2e

import (
	"errors"
	"strings"
	"testing"

	"peerhub/hub"
	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// TestTunnelIsMadeAnew restarts the OpenVPN server. Its tunnel goes, and with it the
// kernel's route to the office, which OpenVPN's iroute never makes. The rules of the
// tunnel stay, and stand before the new one does.
func TestTunnelIsMadeAnew(t *testing.T) {
	t.Parallel()
	r := start(t, "t", nil)
	r.reaches(everybody, []string{"svc1"})
	lan := "ip route show " + r.Spec.OfficeLAN.String()
	if out := r.sh(lab.HostHub, lan); !strings.Contains(out, "dev "+r.Spec.Tunnel+" proto 104") {
		t.Fatalf("the route to the office is %q", out)
	}
	restart := func() {
		r.must(r.StopUnit(lab.UnitServer))
		if out := r.sh(lab.HostHub, lan); out != "" {
			t.Errorf("without a tunnel the route to the office is %q", out)
		}
		if out := r.sh(lab.HostHub, "ip rule"); strings.Count(out, "iif "+r.Spec.Tunnel+" [detached]") != 2 {
			t.Errorf("the rules of the absent tunnel are:\n%s", out)
		}
		eventually(t, "status says that the tunnel is not there", func() error {
			if r.Process(lab.UnitHubd) == nil {
				return nil // nobody to ask in the control
			}
			return r.hasProblem(hub.TunnelAbsent, r.Spec.Tunnel)
		})
		r.must(r.StartUnit(t.Context(), lab.UnitServer))
		// Clients would notice within their keepalive; nobody has to wait for that.
		err := make(chan error)
		units := []string{lab.UnitLaptop1, lab.UnitLaptop2, lab.UnitOffice}
		for _, u := range units {
			go func() { err <- r.RestartUnit(t.Context(), u) }()
		}
		for range units {
			r.must(<-err)
		}
	}
	restart()
	r.reaches(everybody, r.Spec.Targets())

	// Control: without hubd nobody restores the route, and the office's answers have no way.
	r.must(r.KillUnit(lab.UnitHubd))
	restart()
	r.reaches([]string{lab.HostLaptop1}, []string{"svc1"}) // the pool is OpenVPN's own
	before := r.dropped(lab.HostHub, fabric.ReasonSourceCheck)
	r.refused(lab.HostOffice, "svc1")
	eventually(t, "the office's answers leave by the wrong interface", func() error {
		if r.dropped(lab.HostHub, fabric.ReasonSourceCheck) == before {
			return errors.New("the fabric has not seen any")
		}
		return nil
	})
	r.must(r.StartUnit(t.Context(), lab.UnitHubd))
	r.reaches(everybody, r.Spec.Targets())
}
