package e2e

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"peerhub/hub"
	"peerhub/hub/state"
	"peerhub/test/lab"
)

// TestRefusedPrefixes has spokes announce what must not be believed, beside good ones.
// Each is left out with its problem, in status and in the last report; its packets are
// refused by the hub; and everything else works. A near twin of each is not refused.
func TestRefusedPrefixes(t *testing.T) {
	t.Parallel()
	p := netip.MustParsePrefix
	bad := []struct {
		host   string
		vpc    netip.Prefix
		code   hub.Code
		target string // an address inside, toward which a client's packet is refused
	}{
		{"overpool", p("172.27.240.0/20"), hub.OverlapsPool, "172.27.244.10"},
		{"oversite", p("172.168.0.0/16"), hub.OverlapsSite, "172.168.9.10"},
		{"overprotect", p("192.168.76.0/22"), hub.OverlapsProtected, "192.168.76.10"},
		{"cgnat", p("100.64.0.0/16"), hub.NotAllowed, "100.64.0.10"},
		{"public", p("8.8.0.0/16"), hub.NotAllowed, "8.8.0.10"},
		{"double", p("10.120.0.0/16"), hub.Collision, ""}, // svc2 announces the same
	}
	twins := []lab.Service{
		{Host: "nearpool", VPC: p("172.27.224.0/20")},
		{Host: "nearprotect", VPC: p("192.168.80.0/22")},
		{Host: "allowed", VPC: p("100.65.0.0/16")},
	}
	r := start(t, "p", func(s *lab.Spec, _ *lab.Options) {
		for i, b := range bad {
			s.Services = append(s.Services, lab.Service{Host: b.host, Account: fmt.Sprintf("70000000000%d", i), VPC: b.vpc, Peering: lab.PeeringActive})
		}
		for i, v := range twins {
			v.Account, v.Peering = fmt.Sprintf("80000000000%d", i), lab.PeeringActive
			s.Services = append(s.Services, v)
		}
	})
	r.configure(replacing("vpn:", "protect: [192.168.77.0/24]\nspokes: {allow: [100.65.0.0/16]}\nvpn:"))
	r.must(r.RestartUnit(t.Context(), lab.UnitHubd))
	r.afterPolls(1)
	r.sync("--allow-removals") // the first start knew neither protect nor allow

	for _, b := range bad {
		t.Run(b.host, func(t *testing.T) {
			r := r.in(t)
			eventually(t, "status has its problem", func() error { return r.hasProblem(b.code, b.vpc.String()) })
			var last struct{ Problems []problem }
			r.must(state.ReadLast(filepath.Join(r.HubdDir(), "state"), &last))
			if !strings.Contains(fmt.Sprint(last.Problems), string(b.code)) {
				t.Errorf("last.json has %v; want a %s", last.Problems, b.code)
			}
			if b.target == "" {
				return
			}
			if r.hasRoute(r.Spec.ID("rtb", "hub-public"), b.vpc) {
				t.Errorf("the hub's table has a route to %s", b.vpc)
			}
			r.sh(lab.HostLaptop1, "ip route replace "+b.target+" dev tun0")
			before := r.guard()["drop_other"]
			if a := r.try(lab.HostLaptop1, "ping", "-c1", "-W1", b.target); a.code == 0 {
				t.Errorf("%s answers", b.target)
			}
			if now := r.guard()["drop_other"]; now <= before {
				t.Errorf("drop_other stays at %d", now)
			}
		})
	}
	t.Run("everything else works", func(t *testing.T) {
		r := r.in(t)
		for _, v := range twins {
			r.sh(lab.HostLaptop1, "ip route replace "+v.VPC.String()+" dev tun0")
		}
		r.reaches([]string{lab.HostLaptop1}, []string{"nearpool", "nearprotect", "allowed"})
		r.reaches(everybody, []string{"svc1"})
	})
	t.Run("of two with one prefix one has it and keeps it", func(t *testing.T) {
		r := r.in(t)
		winner := r.page(lab.HostLaptop1, "svc2")
		r.must(r.RestartUnit(t.Context(), lab.UnitHubd))
		r.afterPolls(1)
		r.sync()
		for _, from := range everybody {
			if got := r.page(from, "svc2"); got != winner {
				t.Errorf("%s hears %q, laptop1 heard %q", from, got, winner)
			}
		}
	})
	t.Run("and a prefix that is good again is let in", func(t *testing.T) {
		r := r.in(t)
		r.configure(replacing("[100.65.0.0/16]", "[100.64.0.0/15]"))
		r.must(r.hangup())
		r.sh(lab.HostLaptop1, "ip route replace 100.64.0.0/16 dev tun0")
		r.reaches([]string{lab.HostLaptop1}, []string{"cgnat"})
	})
}

// page is what answers at a host's address, whoever it is.
func (r *rig) page(from, to string) string {
	r.t.Helper()
	var out string
	eventually(r.t, from+" gets an answer", func() (err error) {
		out, err = r.ask(from, to, 3)
		return err
	})
	return out
}
