package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"peerhub/hub"
	"peerhub/test/lab"
)

// TestLeavingWithAnExport goes away from hubd as hubctl export's help says, while echoes
// are counted and streams run, old ones and a new one: the data path stays. What hubd
// called its own is gone then, but for the VPC routes.
func TestLeavingWithAnExport(t *testing.T) {
	t.Parallel()
	r := start(t, "xl", nil)
	r.reaches(everybody, r.Spec.Targets())
	r.settled()
	tables := []string{r.Spec.ID("rtb", "hub-public"), r.Spec.ID("rtb", "svc1-a"), r.Spec.ID("rtb", "svc2-a")}
	var before []string
	for _, id := range tables {
		before = append(before, r.routesOf(id)...)
	}
	pings := []*pinger{r.ping(lab.HostLaptop1, "svc1"), r.ping(lab.HostOffice, "svc2")}
	traffic := r.everyKind("svc1", lab.HostLaptop1, lab.HostOffice)

	for range 2 { // the second time is no harm
		for _, form := range []string{"ip", "nft", "openvpn"} {
			r.applyExport(form)
		}
	}
	traffic.more(r, 100)
	r.must(r.StopUnit(lab.UnitHubd))
	traffic.more(r, 100)
	if a := r.hubd("--cleanup", "--keep-vpc-routes"); a.code != 0 || !strings.Contains(a.out, "(stays)") {
		t.Fatalf("hubd --cleanup --keep-vpc-routes: exit %d: %s%s", a.code, a.out, a.talk)
	}
	late := r.tcp(lab.HostLaptop2, "svc1")
	traffic.more(r, 200)
	late.unharmed(r)
	for _, p := range pings {
		p.unharmed()
	}
	traffic.unharmed(r)
	r.reaches(everybody, r.Spec.Targets())

	if left := r.sh(lab.HostHub, "nft list tables | grep hubd; ip rule | grep 267; ip route show table all proto 104; true"); left != "" {
		t.Errorf("hubd left:\n%s", left)
	}
	var after []string
	for _, id := range tables {
		after = append(after, r.routesOf(id)...)
	}
	if err := same(strings.Join(before, "\n"), strings.Join(after, "\n")); err != nil {
		t.Errorf("VPC routes: %v", err)
	}
	for _, word := range []string{"peerhub:hub", "peerhub:routes."} {
		if tags := r.aws(r.Spec.HubAccount, "ec2", "describe-tags", "--region", r.Spec.Region, "--filters", "Name=key,Values="+word, "--query", "Tags[].ResourceId", "--output", "text"); tags != "" && tags != "None" {
			t.Errorf("tag %s is still on %s", word, tags)
		}
	}

	// Control: without the export nothing gets through.
	r.sh(lab.HostHub, "nft delete table inet vpn_hub; for p in $(ip rule | sed -n 's/^\\(266[0-9][0-9]\\):.*/\\1/p'); do ip rule del pref $p; done")
	r.refused(lab.HostLaptop1, "svc1")
}

// TestGivenUpRoutesAreNobodys lets a hubd with an empty disk come after one that gave up
// its routes: it claims none. Its twin, after a lost disk alone, claims them all.
func TestGivenUpRoutesAreNobodys(t *testing.T) {
	t.Parallel()
	r := start(t, "xg", nil)
	r.reaches([]string{lab.HostLaptop1}, []string{"svc1"})
	r.settled()
	r.must(r.StopUnit(lab.UnitHubd))
	claimed := func() int {
		a := r.hubd("--cleanup", "--dry-run")
		if a.code != 0 {
			t.Fatalf("hubd --cleanup --dry-run: exit %d: %s%s", a.code, a.out, a.talk)
		}
		return strings.Count(a.out, "- "+string(hub.PlaneVPCRoute))
	}
	all := claimed()
	r.loseState()
	if n := claimed(); n != all || n == 0 {
		t.Errorf("with an empty disk hubd claims %d routes, with its ledger %d", n, all)
	}
	if a := r.hubd("--cleanup", "--keep-vpc-routes"); a.code != 0 {
		t.Fatalf("exit %d: %s%s", a.code, a.out, a.talk)
	}
	r.loseState()
	if n := claimed(); n != 0 {
		t.Errorf("hubd claims %d routes that it gave up", n)
	}
}

// applyExport runs one text of hubctl export on the hub, as its help says.
func (r *rig) applyExport(form string) {
	r.t.Helper()
	a := r.hubctl("export", form)
	if a.code != 0 {
		r.t.Fatalf("hubctl export %s: exit %d: %s", form, a.code, a.talk)
	}
	file := filepath.Join(r.t.TempDir(), form)
	r.must(os.WriteFile(file, []byte(a.out), 0o600))
	argv := []string{"sh", "-e", file}
	if form == "nft" {
		argv = []string{"nft", "-f", file}
	}
	r.exec(lab.HostHub, argv...)
}

// loseState empties hubd's state directory, as a new disk is.
func (r *rig) loseState() {
	r.t.Helper()
	r.must(os.RemoveAll(filepath.Join(r.HubdDir(), "state")))
}

// hubd runs hubd on the hub, as root, until it ends.
func (r *rig) hubd(flags ...string) answer {
	r.t.Helper()
	return r.try(lab.HostHub, append([]string{filepath.Join(bin, "hubd"), "--config", filepath.Join(r.HubdDir(), "hubd.yaml")}, flags...)...)
}
