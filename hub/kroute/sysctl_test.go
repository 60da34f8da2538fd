package kroute

import (
	"strings"
	"testing"

	"peerhub/hub"
)

// What `sysctl --system` or a person writes is noticed without a pass, and written back
// when hubd may.
func TestSysctlsAreNoticedAndRestored(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	d := twoWays()
	d.Base.SetSysctls = true
	n.run("sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1", "net.ipv6.conf.eth0.forwarding=1")
	pass(t, p, d)
	calls := watched(t, p, nil)
	for name, wrong := range map[string]string{
		"net.ipv4.ip_forward":               "0",
		"net.ipv4.conf.tun0.forwarding":     "0",
		"net.ipv4.conf.eth0.forwarding":     "0",
		"net.ipv4.conf.eth0.src_valid_mark": "0",
		"net.ipv6.conf.eth0.accept_ra":      "1",
	} {
		t.Run(name, func(t *testing.T) {
			n := &ns{t: t, name: n.name}
			pass(t, p, d) // what was heard so far is read
			before := n.run("sysctl", "-n", name)
			heard := calls.Load()
			n.run("sysctl", "-qw", name+"="+wrong)
			eventually(t, "a call", func() bool { return calls.Load() > heard })
			v, err := p.Observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !troubles(v.(hub.Troubled).Problems(d), hub.SysctlWrong, name) {
				t.Errorf("nothing is said of it: %v", v.(hub.Troubled).Problems(d))
			}
			checking := d
			checking.Base.SetSysctls = false
			if got := v.Plan(checking); len(got) > 0 {
				t.Errorf("told to check, it would change %v", got)
			}
			pass(t, p, d)
			if now := n.run("sysctl", "-n", name); now != before {
				t.Errorf("it is %q, was %q", now, before)
			}
		})
	}
}

// rp_filter is a person's choice: what it needs beside it is ours.
func TestAFilterThatIsSwitchedOnGetsItsMark(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	d := twoWays()
	d.Base.SetSysctls = true
	n.sh("for l in all eth0 eth1; do sysctl -qw net.ipv4.conf.$l.rp_filter=0 net.ipv4.conf.$l.src_valid_mark=0; done")
	pass(t, p, d)
	calls := watched(t, p, nil)
	n.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
	eventually(t, "a call", func() bool { return calls.Load() > 0 })
	if got := pass(t, p, d); len(got) != 2 {
		t.Errorf("want src_valid_mark of both ways out set, got %v", got)
	}
	if got := n.run("sysctl", "-n", "net.ipv4.conf.all.rp_filter"); strings.TrimSpace(got) != "1" {
		t.Errorf("rp_filter is %s", got)
	}
}

func troubles(list []hub.Problem, code hub.Code, subject string) bool {
	for _, p := range list {
		if p.Code == code && p.Subject == subject {
			return true
		}
	}
	return false
}
