package e2e

import (
	"fmt"
	"strings"
	"testing"

	"peerhub/hub"
	"peerhub/test/lab"
)

// TestPendingRequests: a listed account's request is accepted, on a session that was up
// all the time; a stranger's is not, and nobody calls into the stranger's account.
func TestPendingRequests(t *testing.T) {
	t.Parallel()
	r := start(t, "q", func(s *lab.Spec, _ *lab.Options) {
		for i := range s.Services {
			if s.Services[i].Host == "svc3" {
				s.Services[i].Peering = lab.PeeringRequested
			}
		}
	})
	status := func(host string) string {
		return r.aws(r.Spec.HubAccount, "ec2", "describe-vpc-peering-connections", "--vpc-peering-connection-ids", r.Spec.ID("pcx", host),
			"--query", "VpcPeeringConnections[0].Status.Code", "--output", "text")
	}
	svc3, stranger := "444444444444", "999999999999"
	r.reaches(everybody, r.Spec.Targets())
	r.afterPolls(2)
	for _, host := range []string{"svc3", "stranger"} { // neither is listed yet: the control
		if s := status(host); s != "pending-acceptance" {
			t.Errorf("the request of %s is %s; nobody listed it", host, s)
		}
	}
	if err := r.hasProblem(hub.PeeringNotActive, svc3); err != nil {
		t.Error(err)
	}
	before := r.refusedByGuard("svc3")

	r.configure(replacing("accounts: {", fmt.Sprintf("accounts: {%q: {name: search}, ", svc3)))
	r.must(r.hangup())
	eventually(t, "the listed account's request is accepted", func() error { return same("active", status("svc3")) })
	r.reaches(everybody, []string{"svc3"})
	if before == 0 {
		t.Error("before that, the hub's guard counted nothing: the arrival shows nothing")
	}
	r.afterPolls(2)
	if s := status("stranger"); s != "pending-acceptance" {
		t.Errorf("the stranger's request is %s", s)
	}
	called := 0
	for _, q := range r.Requests(0) {
		if !byHubd(q) && !strings.Contains(q.Principal, ":assumed-role/"+lab.SpokeRole+"/") {
			continue
		}
		if q.Account == svc3 {
			called++
		}
		if text := fmt.Sprint(q.Account, q.Params); strings.Contains(text, stranger) || strings.Contains(text, r.Spec.ID("vpc", "stranger")) ||
			strings.Contains(text, r.Spec.ID("pcx", "stranger")) {
			t.Errorf("a call about the stranger: %s %s %v", q.Account, q.Action, q.Params)
		}
	}
	if called == 0 {
		t.Error("no call into the listed account either: the log shows nothing")
	}
}

// refusedByGuard has laptop1 ask a service that must not answer and tells how many
// packets the hub's guard refused meanwhile.
func (r *rig) refusedByGuard(to string) uint64 {
	r.t.Helper()
	before := r.guard()["drop_other"]
	r.refused(lab.HostLaptop1, to)
	return r.guard()["drop_other"] - before
}
