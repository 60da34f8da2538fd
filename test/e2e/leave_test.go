package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// TestCleanup lets hubd into a host that has things of its own, and takes it out again:
// everything of hubd is gone, and everything else is byte for byte as it was.
func TestCleanup(t *testing.T) {
	t.Parallel()
	r := start(t, "c", func(_ *lab.Spec, o *lab.Options) { o.WithoutHubd = true })
	r.settled()
	r.sh(lab.HostHub, "nft add table inet mine; nft add chain inet mine c '{ type filter hook forward priority 10; }'; nft add rule inet mine c counter; "+
		"ip route add 192.0.2.0/24 via "+r.Spec.HubSubnet().Addr().Next().String()+"; ip rule add from 192.0.2.1 lookup 77; ip route add blackhole 192.0.2.9 table 77")
	r.aws(r.Spec.HubAccount, "ec2", "create-route", "--route-table-id", r.Spec.ID("rtb", "hub-public"), "--destination-cidr-block", r.service("svc1").VPC.String(),
		"--vpc-peering-connection-id", r.Spec.ID("pcx", "svc1"))
	site := filepath.Join(r.VPN.ClientDir, r.Spec.OfficeClient)
	own, err := os.ReadFile(site)
	r.must(err)
	r.must(os.WriteFile(site, fmt.Appendf(own, "config %s\n", filepath.Join(r.VPN.ClientDir, "peerhub.routes")), 0o644))
	before := r.byHand()

	r.must(r.StartUnit(t.Context(), lab.UnitHubd))
	r.afterPolls(1)
	r.sync()
	for _, u := range []string{lab.UnitLaptop1, lab.UnitOffice} {
		r.must(r.RestartUnit(t.Context(), u))
	}
	r.reaches([]string{lab.HostLaptop1, lab.HostOffice}, r.Spec.Targets())
	r.must(r.StopUnit(lab.UnitHubd))
	hubd, config := filepath.Join(bin, "hubd"), filepath.Join(r.HubdDir(), "hubd.yaml")

	stood := r.byHand()
	if a := r.try(lab.HostHub, hubd, "--config", config, "--cleanup", "--dry-run"); a.code != 0 || !strings.Contains(a.out, "10.120.0.0/16") {
		t.Errorf("--cleanup --dry-run: exit %d: %s%s", a.code, a.out, a.talk)
	}
	if err := same(stood, r.byHand()); err != nil {
		t.Errorf("the dry run changed something: %v", err)
	}
	if a := r.try(lab.HostHub, hubd, "--config", config, "--cleanup"); a.code != 0 {
		t.Errorf("--cleanup: exit %d: %s%s", a.code, a.out, a.talk)
	}
	if err := same(before, r.byHand()); err != nil {
		t.Error(err)
	}
	tags := r.aws(r.Spec.HubAccount, "ec2", "describe-vpc-peering-connections", "--query", "VpcPeeringConnections[].Tags[].Key", "--output", "text")
	if strings.Contains(tags, "peerhub:") {
		t.Errorf("tags are left: %s", tags)
	}
	before0 := r.dropped(lab.HostHub, fabric.ReasonSourceCheck)
	r.refused(lab.HostLaptop1, "svc1")
	eventually(t, "clients' packets are translated by nobody", func() error {
		if r.dropped(lab.HostHub, fabric.ReasonSourceCheck) == before0 {
			return fmt.Errorf("drops: %v", r.drops())
		}
		return nil
	})
}

// TestLostState deletes everything that hubd remembers, as when its instance is replaced.
// The next start changes nothing, and knows from its tags which VPC routes are its own:
// one that it made goes when it is no longer wanted, one that a hand made stays.
func TestLostState(t *testing.T) {
	t.Parallel()
	r := start(t, "m", func(_ *lab.Spec, o *lab.Options) { o.WithoutHubd = true })
	hubTable := r.Spec.ID("rtb", "hub-public")
	svc1, svc2 := r.service("svc1"), r.service("svc2")
	r.aws(r.Spec.HubAccount, "ec2", "create-route", "--route-table-id", hubTable, "--destination-cidr-block", svc1.VPC.String(),
		"--vpc-peering-connection-id", r.Spec.ID("pcx", "svc1"))
	r.must(r.StartUnit(t.Context(), lab.UnitHubd))
	r.afterPolls(1)
	r.sync()
	for _, u := range []string{lab.UnitLaptop1, lab.UnitLaptop2} {
		r.must(r.RestartUnit(t.Context(), u))
	}
	r.reaches([]string{lab.HostLaptop1, lab.HostLaptop2}, r.Spec.Targets())
	r.settled()
	r.must(r.StopUnit(lab.UnitHubd))
	r.must(os.RemoveAll(filepath.Join(r.HubdDir(), "state")))

	before := r.standing()
	w := r.watch()
	flow := r.udp(lab.HostLaptop1, "svc1")
	r.must(r.StartUnit(t.Context(), lab.UnitHubd))
	r.afterPolls(2)
	w.silent(r)
	if err := same(before, r.standing()); err != nil {
		t.Error(err)
	}
	flow.unharmed(r)

	exclude := func(s lab.Service) string {
		return fmt.Sprintf("%q: {name: %s, exclude: [%s]}", s.Account, s.Host, s.VPC)
	}
	named := func(s lab.Service) string { return fmt.Sprintf("%q: {name: %s}", s.Account, s.Host) }
	r.configure(replacing(named(svc1), exclude(svc1), named(svc2), exclude(svc2)))
	r.must(r.hangup())
	eventually(t, "the route that hubd made is gone", func() error {
		r.sync("--allow-removals")
		if r.hasRoute(hubTable, svc2.VPC) {
			return fmt.Errorf("%v", r.routesOf(hubTable))
		}
		return nil
	})
	r.sync("--allow-removals")
	if !r.hasRoute(hubTable, svc1.VPC) {
		t.Errorf("the route that a hand made is gone: %v", r.routesOf(hubTable))
	}
}
