package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"peerhub/hub"
	"peerhub/test/ec2sim"
	"peerhub/test/lab"
)

// TestLostRole takes the role in one account away: what is known of that account stays as
// it was, works on, and is neither mended nor removed; the others converge. With the role
// back, hubd catches up.
func TestLostRole(t *testing.T) {
	t.Parallel()
	r := start(t, "role", nil)
	svc1, svc2 := r.Spec.Services[0], r.Spec.Services[1]
	role := lab.RoleARN(svc1.Account, lab.SpokeRole)
	r.reaches(everybody, r.Spec.Targets())
	r.afterPolls(3) // hubd has seen what it wrote: reads of AWS may be late
	r.Sim.RemoveRole(role)
	eventually(t, "status says so", func() error { return r.hasProblem(hub.RoleDenied, svc1.Host) })
	r.reaches(everybody, r.Spec.Targets())

	second, third := netip.MustParsePrefix("10.118.0.0/20"), netip.MustParsePrefix("10.121.0.0/20")
	hubTable, table := r.Spec.ID("rtb", "hub-public"), r.Spec.ID("rtb", svc1.Host+"-a")
	r.aws(svc1.Account, "ec2", "delete-route", "--route-table-id", table, "--destination-cidr-block", r.Spec.HubSubnet().String())
	r.aws(svc2.Account, "ec2", "associate-vpc-cidr-block", "--vpc-id", r.Spec.ID("vpc", svc2.Host), "--cidr-block", third.String())
	eventually(t, "the other account's new prefix is routed", func() error { return r.wantRoute(hubTable, third) })
	r.afterPolls(2)
	if r.hasRoute(table, r.Spec.HubSubnet()) {
		t.Errorf("somebody wrote into %s without a role", svc1.Host)
	}
	if !r.hasRoute(hubTable, svc1.VPC) {
		t.Errorf("the hub's route to %s is gone", svc1.VPC)
	}
	r.reaches(everybody, []string{svc2.Host})

	_, err := r.Sim.AddRole(ec2sim.RoleSpec{Account: svc1.Account, Name: lab.SpokeRole, ExternalID: r.Spec.ExternalID,
		TrustedBy: []string{lab.RoleARN(r.Spec.HubAccount, lab.HubRole)}})
	r.must(err)
	r.aws(svc1.Account, "ec2", "associate-vpc-cidr-block", "--vpc-id", r.Spec.ID("vpc", svc1.Host), "--cidr-block", second.String())
	r.sync() // hubd asks a source that refuses it more and more rarely; its operator need not wait
	eventually(t, "hubd mends the route back", func() error { return r.wantRoute(table, r.Spec.HubSubnet()) })
	eventually(t, "hubd routes the new prefix", func() error { return r.wantRoute(hubTable, second) })
	r.reaches(everybody, r.Spec.Targets())
	eventually(t, "status is content", func() error {
		if r.hasProblem(hub.RoleDenied, "") == nil {
			return errors.New("it still says ROLE_DENIED")
		}
		return nil
	})
}

// wantRoute is content when a VPC route table has a route to a prefix.
func (r *rig) wantRoute(table string, dst netip.Prefix) error {
	if !r.hasRoute(table, dst) {
		return fmt.Errorf("%s has %v", table, r.routesOf(table))
	}
	return nil
}

// TestAnswersThatAreNone has EC2 answer with nothing, with a proxy's page, without a
// request id, with half of the pages, and not at all, for several polls each: nothing is
// removed and nothing lost. The control is a true deletion, which counts.
func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	r := start(t, "none", func(s *lab.Spec, _ *lab.Options) { s.More = 3 })
	r.configure(replacing("poll: 2s", "poll: 1s"))
	r.must(r.RestartUnit(t.Context(), lab.UnitHubd))
	r.settled()
	r.reaches(everybody, r.Spec.Targets())
	stood := r.standing()
	flow := r.udp(lab.HostLaptop1, "svc1")
	w := r.watch()
	for _, fault := range []struct{ name, value string }{
		{"empty-200", "on"}, {"html-200", "on"}, {"no-request-id", "on"}, {"empty-200", "DescribeRouteTables"}, {"html-200", "DescribeVpcs"},
		{"page2-fail", "on"}, {"unavailable", "on"},
	} {
		t.Run(fault.name+" "+fault.value, func(t *testing.T) {
			r := r.in(t)
			if fault.name == "page2-fail" {
				r.must(r.SetFault("page-size", "2"))
			}
			r.must(r.SetFault(fault.name, fault.value))
			for range 4 { // more than removals_after; by itself hubd asks a source that fails more and more rarely
				asked := len(r.Requests(0))
				r.hubctl("sync", "--yes")
				if len(r.Requests(asked)) == 0 {
					t.Error("hubd has not asked")
				}
			}
			w.silent(r)
			if err := same(stood, r.standing()); err != nil {
				t.Error(err)
			}
			r.must(r.SetFault(fault.name, "off"))
			if fault.name == "page2-fail" {
				r.must(r.SetFault("page-size", "off"))
			}
		})
	}
	flow.unharmed(r)
	r.sync()
	eventually(t, "the sources are fresh again", func() error {
		if r.hasProblem(hub.SourceStale, "") == nil {
			return errors.New("one is stale")
		}
		return nil
	})
	t.Run("control: a deleted peering counts", func(t *testing.T) {
		r := r.in(t)
		svc2 := r.Spec.Services[1]
		r.aws(svc2.Account, "ec2", "delete-vpc-peering-connection", "--vpc-peering-connection-id", r.Spec.ID("pcx", svc2.Host))
		r.sync()
		eventually(t, "its routes are gone", func() error {
			if r.hasRoute(r.Spec.ID("rtb", "hub-public"), svc2.VPC) || r.hasRoute(r.Spec.ID("rtb", svc2.Host+"-a"), r.Spec.HubSubnet()) {
				return errors.New("they stand")
			}
			return none(r.sh(lab.HostHub, "nft list table inet hubd | grep "+svc2.Host+" || true"))
		})
		r.refused(lab.HostLaptop1, svc2.Host)
		r.reaches(everybody, []string{"svc1", "spoke3"})
	})
}

// TestNothingGoesByAnAnswerThatIsNone has EC2 answer with nothing, with a page of HTML and
// with half of the pages, for ten surveys each, and then leave out one spoke more in each
// answer: not one route, element or push is touched. In the same run what really ended goes
// within removals_after and one more sane answers. The control believes what it is told.
func TestNothingGoesByAnAnswerThatIsNone(t *testing.T) {
	t.Parallel()
	const surveys, removalsAfter = 10, 3
	lab7 := func(s *lab.Spec, o *lab.Options) {
		s.More, s.MorePrefix = 5, netip.MustParsePrefix("10.130.0.0/20") // outside what the aggregates cover: pushed
		o.HubdEdit = replacing("poll: 2s", "poll: 10m")                  // hubd asks when the test says so, by hubctl sync
	}
	r := start(t, "ten", lab7)
	r.reaches(everybody, r.Spec.Targets())
	r.settled()
	r.survey(3)
	all := func(r *rig) string {
		pushed, err := os.ReadFile(filepath.Join(r.VPN.ClientDir, "peerhub.routes"))
		r.must(err)
		return r.standing() + string(pushed)
	}
	stood := all(r)
	if !strings.Contains(stood, "10.130.0.0 ") {
		t.Fatal("no push: it shows nothing")
	}
	flow := r.udp(lab.HostLaptop1, "spoke1")
	w := r.watch()
	for _, faults := range [][]string{{"empty-200 on"}, {"html-200 on"}, {"page-size 2", "page2-fail on"}} {
		t.Run(faults[len(faults)-1], func(t *testing.T) {
			r := r.in(t)
			for _, f := range faults {
				name, value, _ := strings.Cut(f, " ")
				r.must(r.SetFault(name, value))
			}
			r.survey(surveys)
			for _, f := range faults {
				name, _, _ := strings.Cut(f, " ")
				r.must(r.SetFault(name, "off"))
			}
			w.silent(r)
			if err := same(stood, all(r)); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("one spoke more vanishes in each answer", func(t *testing.T) {
		r := r.in(t)
		r.survey(1)
		var gone []string
		for n := range 5 {
			gone = append(gone, r.Spec.ID("pcx", fmt.Sprintf("spoke%d", n+1)))
			r.must(r.SetFault("unlisted", strings.Join(gone, ",")))
			r.survey(1)
		}
		r.survey(surveys)
		if err := r.hasProblem(hub.RemovalHeld, "spoke5"); err != nil {
			t.Error(err)
		}
		w.silent(r)
		if err := same(stood, all(r)); err != nil {
			t.Error(err)
		}
		r.must(r.SetFault("unlisted", "off"))
		r.survey(removalsAfter + 1)
	})
	flow.unharmed(r)
	t.Run("what is gone goes", func(t *testing.T) {
		r := r.in(t)
		table := r.Spec.ID("rtb", "hub-public")
		for _, end := range []struct {
			what, host string
			cidr       netip.Prefix
			do         func(pcx string)
		}{
			{"not listed any more", "spoke2", netip.MustParsePrefix("10.130.16.0/20"), func(pcx string) { r.must(r.SetFault("unlisted", pcx)) }},
			{"deleted", "svc2", r.service("svc2").VPC, func(pcx string) {
				r.aws(r.service("svc2").Account, "ec2", "delete-vpc-peering-connection", "--vpc-peering-connection-id", pcx)
			}},
		} {
			if !r.hasRoute(table, end.cidr) {
				t.Fatalf("%s: it has no route", end.what)
			}
			from := r.polls()
			end.do(r.Spec.ID("pcx", end.host))
			for r.hasRoute(table, end.cidr) && r.polls()-from < 3*removalsAfter {
				r.survey(1)
			}
			if n := r.polls() - from; n > removalsAfter+1 || r.hasRoute(table, end.cidr) {
				t.Errorf("%s: after %d answers: %v", end.what, n, r.routesOf(table))
			}
			r.survey(removalsAfter) // this removal is over
		}
	})
	t.Run("control: half answers believed and no guard", func(t *testing.T) {
		r := start(t, "tenc", func(s *lab.Spec, o *lab.Options) {
			lab7(s, o)
			o.Hubd, o.HubdEnv = filepath.Join(failing(t), "hubd"), []string{"HUBD_OFF=whole-pages,guard"}
		})
		r.reaches(everybody, r.Spec.Targets())
		before := len(r.routesOf(r.Spec.ID("rtb", "hub-public")))
		r.must(r.SetFault("page-size", "2"))
		r.must(r.SetFault("page2-fail", "DescribeVpcPeeringConnections"))
		r.survey(2)
		if now := len(r.routesOf(r.Spec.ID("rtb", "hub-public"))); now >= before {
			t.Errorf("%d routes, before %d: the test shows nothing", now, before)
		}
	})
}

// survey has hubd ask AWS n times, and fails unless it did.
func (r *rig) survey(n int) {
	r.t.Helper()
	for range n {
		asked := r.polls()
		r.hubctl("sync", "--yes")
		if r.polls() == asked {
			r.t.Fatal("hubd has not asked")
		}
	}
}
