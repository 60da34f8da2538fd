package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"peerhub/hub"
	"peerhub/test/lab"
)

// Where a spoke leaves a trace, beside its two VPC route tables, which go by their names.
var tracesOnHub = []string{"nft list map inet hubd spokes4", "nft list set inet hubd out", "nft list set inet hubd back",
	"ip route show table 26741", "pushed", "conntrack", "hub-public"}

// traces are what a spoke has on the way to it, as nft, ip, conntrack, aws and the file
// that OpenVPN reads show it.
func (r *rig) traces(host string) []string {
	r.t.Helper()
	v := r.service(host)
	var out []string
	for _, line := range tracesOnHub[:4] {
		if text := r.sh(lab.HostHub, line); strings.Contains(text, v.VPC.String()) || strings.Contains(text, `"`+host+`"`) {
			out = append(out, line)
		}
	}
	pushed, err := os.ReadFile(filepath.Join(r.VPN.ClientDir, "peerhub.routes"))
	r.must(err)
	if strings.Contains(string(pushed), `push "route `+v.VPC.Addr().String()+" ") {
		out = append(out, "pushed")
	}
	if strings.Contains(r.sh(lab.HostHub, "conntrack -L -d "+r.addr(host)+" 2>/dev/null || true"), r.addr(host)) {
		out = append(out, "conntrack")
	}
	out = append(out, r.tablesWith(r.Spec.HubAccount, v.VPC.String(), "hub-public")...)
	return append(out, r.tablesWith(v.Account, r.Spec.HubSubnet().String(), host+"-a", host+"-main")...)
}

// tablesWith are those of an account's route tables that aws shows with a route to a
// destination, blackholes too.
func (r *rig) tablesWith(account, dst string, names ...string) []string {
	r.t.Helper()
	argv := []string{"ec2", "describe-route-tables", "--region", r.Spec.Region, "--output", "json",
		"--query", "RouteTables[?Routes[?DestinationCidrBlock=='" + dst + "']].RouteTableId", "--route-table-ids"}
	for _, name := range names {
		argv = append(argv, r.Spec.ID("rtb", name))
	}
	var have []string
	r.must(json.Unmarshal([]byte(r.aws(account, argv...)), &have))
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(have, r.Spec.ID("rtb", name)) })
}

// leaves waits until a spoke's traces are these.
func (r *rig) leaves(host, what string, want []string) {
	r.t.Helper()
	eventually(r.t, what, func() error {
		if got := r.traces(host); !slices.Equal(got, want) {
			return fmt.Errorf("there is %q, want %q", got, want)
		}
		return nil
	})
}

// TestRemovalIsComplete takes a spoke away twice, while a flow toward it goes on asking: by
// policy while its account's role is denied, when everything that can be goes at once, what
// cannot is listed as lines, and goes by itself when the role is back; and, after it has come
// again, by deleting its peering.
func TestRemovalIsComplete(t *testing.T) {
	t.Parallel()
	r := start(t, "rc", func(_ *lab.Spec, o *lab.Options) {
		o.HubdEdit = replacing("poll: 2s", "poll: 1s", "aggregates: [10.96.0.0/11]", "aggregates: [10.96.0.0/12]")
	})
	svc2 := r.service("svc2")
	eventually(t, "svc2 is pushed", func() error {
		if !slices.Contains(r.traces("svc2"), "pushed") {
			return errors.New("it is not")
		}
		return nil
	})
	for _, u := range []string{lab.UnitLaptop1, lab.UnitLaptop2, lab.UnitOffice} { // connect anew, and hear
		r.must(r.RestartUnit(t.Context(), u))
	}
	r.reaches(everybody, r.Spec.Targets())
	flow := r.udp(lab.HostLaptop1, "svc1")
	_ = r.udp(lab.HostOffice, "svc2")
	far := []string{"svc2-a", "svc2-main"}
	all := append(slices.Clone(tracesOnHub), far...)
	r.leaves("svc2", "svc2 has all its traces", all)

	r.must(r.SetFault("deny", "AssumeRole@"+svc2.Account+",DeleteRoute@"+svc2.Account))
	revoke := []string{"{name: svc2}", fmt.Sprintf("{name: svc2, exclude: [%s]}", svc2.VPC)}
	r.configure(replacing(revoke...))
	r.must(r.hangup())
	r.leaves("svc2", "all but the far side is gone", far)
	eventually(t, "status lists what is left, as lines", func() error { return r.listed(svc2, far) })
	r.afterPolls(2)
	if got := r.traces("svc2"); !slices.Equal(got, far) {
		t.Errorf("while the role is denied there is %q, want %q", got, far)
	}
	r.must(r.SetFault("deny", "off"))
	r.leaves("svc2", "the far side is gone by itself", nil)
	eventually(t, "status lists nothing any more", func() error {
		if r.listed(svc2, far) == nil {
			return fmt.Errorf("it does: %v", r.problems())
		}
		return nil
	})

	r.configure(replacing(revoke[1], revoke[0]))
	r.must(r.hangup())
	r.leaves("svc2", "svc2 has all its traces again, the flow's too", all)
	r.aws(svc2.Account, "ec2", "delete-vpc-peering-connection", "--region", r.Spec.Region, "--vpc-peering-connection-id", r.Spec.ID("pcx", "svc2"))
	r.leaves("svc2", "nothing is left of a deleted peering", nil)
	flow.unharmed(r)
}

// listed is content when status has, for every one of a spoke's tables, the line that
// removes its route back.
func (r *rig) listed(v lab.Service, tables []string) error {
	r.t.Helper()
	list := r.problems()
	var errs []error
	for _, table := range tables {
		line := "aws ec2 delete-route --region " + r.Spec.Region + " --route-table-id " + r.Spec.ID("rtb", table) + " --destination-cidr-block " + r.Spec.HubSubnet().String()
		if !slices.ContainsFunc(list, func(p problem) bool { return p.Code == string(hub.RouteDenied) && strings.Contains(p.Mend, line) }) {
			errs = append(errs, fmt.Errorf("nothing says %q for %s: %v", line, v.Account, list))
		}
	}
	return errors.Join(errs...)
}
