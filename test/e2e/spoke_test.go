package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// TestLifeOfASpoke brings accounts in, has one grow and takes one away, while a client
// talks with another over one OpenVPN session that nobody touches.
func TestLifeOfASpoke(t *testing.T) {
	t.Parallel()
	r := start(t, "l", nil)
	r.reaches(everybody, r.Spec.Targets())
	flow := r.udp(lab.HostLaptop2, "svc1")
	server, sessions := r.Process(lab.UnitServer).PID, r.sessions()
	add := func(r *rig, host string) {
		r.t.Helper()
		a := r.hubctl("add-spoke", "--account", r.service(host).Account, "--vpc", r.Spec.ID("vpc", host), "--name", host, "--wait", "--yes")
		if a.code != 0 {
			r.t.Fatalf("hubctl add-spoke: exit %d: %s%s", a.code, a.out, a.talk)
		}
	}

	t.Run("inside an aggregate", func(t *testing.T) {
		r := r.in(t)
		if r.refusedByGuard("svc3") == 0 {
			t.Error("before it is peered, the hub's guard counts nothing")
		}
		add(r, "svc3")
		r.reaches(everybody, []string{"svc3"})
		if now := r.Process(lab.UnitServer).PID; now != server || r.sessions() != sessions {
			t.Errorf("the OpenVPN server was process %d and is %d; sessions were\n%s\nand are\n%s", server, now, sessions, r.sessions())
		}
		add(r, "svc3") // again: nothing to do is well
	})
	t.Run("outside of every aggregate", func(t *testing.T) {
		r := r.in(t)
		prefix := r.service("svc4").VPC.String()
		add(r, "svc4")
		eventually(t, "hubctl clients names who lacks it", func() error {
			for _, c := range []string{lab.HostLaptop1, lab.HostLaptop2, r.Spec.OfficeClient} {
				if !slices.Contains(r.lacks()[c], prefix) {
					return fmt.Errorf("%s is not named: %v", c, r.lacks())
				}
			}
			return nil
		})
		before := r.dropped("internet", fabric.ReasonNoRoute)
		r.refused(lab.HostLaptop1, "svc4")
		eventually(t, "its packet went out into the internet", func() error {
			if r.dropped("internet", fabric.ReasonNoRoute) == before {
				return errors.New("the fabric has not seen it")
			}
			return nil
		})
		r.must(r.RestartUnit(t.Context(), lab.UnitLaptop1))
		r.reaches([]string{lab.HostLaptop1}, []string{"svc4"})
		eventually(t, "only the others lack it", func() error {
			l := r.lacks()
			if slices.Contains(l[lab.HostLaptop1], prefix) || !slices.Contains(l[lab.HostLaptop2], prefix) {
				return fmt.Errorf("%v", l)
			}
			return nil
		})
	})
	t.Run("grows", func(t *testing.T) {
		r := r.in(t)
		second := netip.MustParsePrefix("10.118.0.0/20")
		r.aws(r.service("svc1").Account, "ec2", "associate-vpc-cidr-block", "--vpc-id", r.Spec.ID("vpc", "svc1"), "--cidr-block", second.String())
		eventually(t, "its second prefix is everywhere", func() error { return errors.Join(r.everywhere(second)...) })
	})
	t.Run("goes", func(t *testing.T) {
		r := r.in(t)
		gone := r.service("svc4")
		if err := errors.Join(append(r.everywhere(gone.VPC), r.wantRoute(r.Spec.ID("rtb", "svc4-a"), r.Spec.HubSubnet()))...); err != nil {
			t.Fatalf("before: %v", err)
		}
		ids := r.aws(gone.Account, "ec2", "describe-vpc-peering-connections", "--filters", "Name=status-code,Values=active",
			"--query", "VpcPeeringConnections[].VpcPeeringConnectionId", "--output", "text")
		r.aws(gone.Account, "ec2", "delete-vpc-peering-connection", "--vpc-peering-connection-id", ids)
		eventually(t, "nothing of it is anywhere", func() error {
			if n := len(r.everywhere(gone.VPC)); n != 4 {
				return fmt.Errorf("%d of 4 places are rid of it: %v", n, r.everywhere(gone.VPC))
			}
			if r.hasRoute(r.Spec.ID("rtb", "svc4-a"), r.Spec.HubSubnet()) {
				return errors.New("the way back stands")
			}
			return nil
		})
		r.reaches(everybody, []string{"svc1", "svc2", "svc3"})
	})
	flow.unharmed(r)

	// What hubctl says of a hubd that is dead.
	if a := r.hubctl("status", "--check", "ready"); a.code != 0 {
		t.Errorf("status --check ready: exit %d: %s", a.code, a.talk)
	}
	r.must(r.KillUnit(lab.UnitHubd))
	if a := r.hubctl("status"); a.code != 1 || !strings.Contains(a.out, "svc3") {
		t.Errorf("status of a dead hubd: exit %d; want 1, and its last report: %s%s", a.code, a.out, a.talk)
	}
	if a := r.hubctl("status", "--check", "live"); a.code != 2 {
		t.Errorf("status --check live of a dead hubd: exit %d; want 2", a.code)
	}
}

// service is the service of that name.
func (r *rig) service(host string) lab.Service {
	r.t.Helper()
	i := slices.IndexFunc(r.Spec.Services, func(s lab.Service) bool { return s.Host == host })
	if i < 0 {
		r.t.Fatalf("no service %s", host)
	}
	return r.Spec.Services[i]
}

// sessions are the server's clients, each with its address and since when, by its own
// status file.
func (r *rig) sessions() string {
	r.t.Helper()
	var out string
	eventually(r.t, "the server has written its status", func() error {
		out = r.sh(lab.HostHub, `awk -F'\t' '$1=="CLIENT_LIST" {print $2, $3, $4, $9}' `+r.VPN.Status+" | sort")
		if strings.Count(out, "\n") != 3 {
			return fmt.Errorf("%q", out)
		}
		return nil
	})
	return out
}

// lacks asks hubctl which client lacks which prefixes.
func (r *rig) lacks() map[string][]string {
	r.t.Helper()
	var c struct {
		Clients []struct {
			Name  string
			Lacks []string
		}
	}
	r.hubctlJSON(&c, "clients")
	out := map[string][]string{}
	for _, x := range c.Clients {
		out[x.Name] = x.Lacks
	}
	return out
}

// everywhere says in which of the four places on the way to it a prefix is not: the
// kernel, nftables, the hub's VPC table, what clients are given.
func (r *rig) everywhere(p netip.Prefix) []error {
	r.t.Helper()
	var missing []error
	for _, line := range []string{"ip route show table 26741", "nft list map inet hubd spokes4"} {
		if !strings.Contains(r.sh(lab.HostHub, line), p.String()) {
			missing = append(missing, fmt.Errorf("%s does not show it", line))
		}
	}
	if err := r.wantRoute(r.Spec.ID("rtb", "hub-public"), p); err != nil {
		missing = append(missing, err)
	}
	covered := slices.ContainsFunc(r.Spec.Aggregates, func(a netip.Prefix) bool { return a.Contains(p.Addr()) })
	b, err := os.ReadFile(filepath.Join(r.VPN.ClientDir, "peerhub.routes"))
	r.must(err)
	if !covered && !strings.Contains(string(b), p.Addr().String()+" ") {
		missing = append(missing, errors.New("it is not pushed"))
	}
	return missing
}

// TestNobodyElse shows that what must stay closed is, with the counter that rose and a
// near twin that is open.
func TestNobodyElse(t *testing.T) {
	t.Parallel()
	r := start(t, "o", nil)
	r.reaches(everybody, []string{"svc1"})
	end := r.Spec.Pool.Addr().Next().String() // the hub's end of the tunnel
	counted := func(t *testing.T, counter, from string, argv ...string) {
		t.Helper()
		r := r.in(t)
		before := r.guard()[counter]
		if a := r.try(from, argv...); a.code == 0 {
			t.Errorf("%v in %s: %s", argv, from, a.out)
		}
		if now := r.guard()[counter]; now <= before {
			t.Errorf("%s stays at %d", counter, now)
		}
	}
	const metadata = "http://169.254.169.254/latest/meta-data/"
	t.Run("a client and the hub's instance metadata", func(t *testing.T) {
		r := r.in(t)
		r.sh(lab.HostLaptop1, "ip route replace 169.254.169.254 dev tun0")
		counted(t, "drop_metadata", lab.HostLaptop1, "curl", "-sS", "--max-time", "1", metadata)
		if out := r.exec(lab.HostHub, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10", metadata); out != "401" {
			t.Errorf("the hub itself hears %s of it; want 401: it asks for a token", out)
		}
	})
	t.Run("a client and the hub's ssh", func(t *testing.T) {
		r := r.in(t)
		counted(t, "drop_hub", lab.HostLaptop1, "nc", "-w1", end, "22")
		counted(t, "drop_hub", lab.HostLaptop1, "nc", "-w1", r.Spec.HubAddress().String(), "22")
		if out := r.sh(lab.HostInfra, "nc -w10 "+r.Spec.HubAddress().String()+" 22 </dev/null"); !strings.HasPrefix(out, "SSH-2.0") {
			t.Errorf("the neighbour hears %q", out)
		}
		r.exec(lab.HostLaptop1, "ping", "-c1", "-W10", end) // to_hub has icmp
	})
	t.Run("a client and a VPC that is not peered", func(t *testing.T) {
		counted(t, "drop_other", lab.HostOffice, "curl", "-sS", "--max-time", "1", "http://"+r.addr("svc3"))
		r.in(t).reaches([]string{lab.HostOffice}, []string{"svc1"})
	})
	t.Run("a client and another client's way into the office", func(t *testing.T) {
		r := r.in(t)
		r.sh(lab.HostLaptop1, "ip route replace "+r.Spec.OfficeLAN.String()+" dev tun0")
		if a := r.try(lab.HostLaptop1, "ping", "-c1", "-W1", r.addr(lab.HostOffice)); a.code == 0 {
			t.Error("the office answers a laptop")
		}
	})
	t.Run("a service and a client", func(t *testing.T) {
		r := r.in(t)
		client := strings.Fields(r.sh(lab.HostHub, "grep '^CLIENT_LIST.laptop1' "+r.VPN.Status))[3]
		svc := r.service("svc1")
		before := r.dropped("svc1-a", fabric.ReasonNoRoute)
		if a := r.try("svc1", "nc", "-z", "-w1", client, "22"); a.code == 0 {
			t.Error("a client answers a service")
		}
		eventually(t, "its table has no route", func() error {
			if r.dropped("svc1-a", fabric.ReasonNoRoute) == before {
				return errors.New("no drop there")
			}
			return nil
		})
		// With a route: the peering does not carry what is not for the hub VPC.
		r.aws(svc.Account, "ec2", "create-route", "--route-table-id", r.Spec.ID("rtb", "svc1-a"), "--destination-cidr-block", r.Spec.Pool.String(),
			"--vpc-peering-connection-id", r.Spec.ID("pcx", "svc1"))
		if a := r.try("svc1", "nc", "-z", "-w1", client, "22"); a.code == 0 {
			t.Error("a client answers a service")
		}
		eventually(t, "the peering refuses it", func() error {
			if r.dropped("svc1", fabric.ReasonPeerDest) == 0 {
				return fmt.Errorf("drops: %v", r.drops())
			}
			return nil
		})
		r.reaches([]string{lab.HostLaptop1}, []string{"svc1"}) // the other way round
	})
}
