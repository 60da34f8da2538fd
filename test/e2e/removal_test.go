package e2e

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"peerhub/hub"
	"peerhub/test/lab"
)

// traces are what a spoke has on the way to it, as nft, ip, conntrack and AWS show it.
func (r *rig) traces(host string) []string {
	r.t.Helper()
	v := r.service(host)
	var out []string
	for _, line := range []string{"nft list map inet hubd spokes4", "nft list set inet hubd out", "nft list set inet hubd back", "ip route show table 26741"} {
		text := r.sh(lab.HostHub, line)
		if strings.Contains(text, v.VPC.String()) || strings.Contains(text, `"`+host+`"`) {
			out = append(out, line)
		}
	}
	if strings.Contains(r.sh(lab.HostHub, "conntrack -L -d "+r.addr(host)+" 2>/dev/null || true"), r.addr(host)) {
		out = append(out, "conntrack")
	}
	if r.hasRoute(r.Spec.ID("rtb", "hub-public"), v.VPC) {
		out = append(out, "hub's table")
	}
	for _, table := range []string{host + "-a", host + "-main"} {
		if r.hasRoute(r.Spec.ID("rtb", table), r.Spec.HubSubnet()) {
			out = append(out, table)
		}
	}
	return out
}

// TestRemovalIsComplete takes a spoke away while its account's role is denied: everything
// that can be goes at once, what cannot is listed as lines, and goes when the role is back.
func TestRemovalIsComplete(t *testing.T) {
	t.Parallel()
	r := start(t, "rc", func(_ *lab.Spec, o *lab.Options) {
		o.HubdEdit = replacing("poll: 2s", "poll: 1s")
	})
	r.reaches(everybody, r.Spec.Targets())
	flow := r.udp(lab.HostLaptop1, "svc1")
	_ = r.udp(lab.HostOffice, "svc2")
	all := []string{"nft list map inet hubd spokes4", "nft list set inet hubd out", "nft list set inet hubd back", "ip route show table 26741",
		"conntrack", "hub's table", "svc2-a", "svc2-main"}
	if got := r.traces("svc2"); !slices.Equal(got, all) {
		t.Fatalf("before: %v, want %v", got, all)
	}

	account := r.service("svc2").Account
	r.must(r.SetFault("deny", "AssumeRole@"+account+",DeleteRoute@"+account))
	r.configure(replacing("{name: svc2}", fmt.Sprintf("{name: svc2, exclude: [%s]}", r.service("svc2").VPC)))
	r.must(r.hangup())
	eventually(t, "all but the far side is gone", func() error {
		if got := r.traces("svc2"); !slices.Equal(got, []string{"svc2-a", "svc2-main"}) {
			return fmt.Errorf("there is %v", got)
		}
		return nil
	})
	eventually(t, "status lists what is left, as lines", func() error {
		var errs []error
		for _, table := range []string{"svc2-a", "svc2-main"} {
			line := "aws ec2 delete-route --region " + r.Spec.Region + " --route-table-id " + r.Spec.ID("rtb", table) + " --destination-cidr-block " + r.Spec.HubSubnet().String()
			if !slices.ContainsFunc(r.problems(), func(p problem) bool { return p.Code == string(hub.RouteDenied) && strings.Contains(p.Mend, line) }) {
				errs = append(errs, fmt.Errorf("nothing says %q: %v", line, r.problems()))
			}
		}
		return errors.Join(errs...)
	})

	r.must(r.SetFault("deny", "off"))
	r.hubctl("sync", "--yes")
	eventually(t, "the far side is gone, too", func() error {
		if got := r.traces("svc2"); len(got) > 0 {
			return fmt.Errorf("there is %v", got)
		}
		return nil
	})
	flow.unharmed(r)
}
