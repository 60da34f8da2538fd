package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// scene is a lab in which one fault happens.
type scene struct {
	*rig
	fault   fault
	mode    string
	stage   *stage
	shims   string // directory of what stands for hublab and hubctl in pasted lines
	probes  []*probe
	foreign string        // what is not ours, before the fault
	leaks   *capture      // what the hub sent out that it must not
	before  footing       // of hubd and the machine, before the fault
	began   time.Time     // when the fault was injected, or ended
	took    time.Duration // from there until converged was content
	seen    []string
}

// build starts the lab of a fault, with off taken away.
func build(t *testing.T, f fault, mode string, off func(*stage)) *scene {
	t.Helper()
	g := &stage{mode: mode}
	r := start(t, strings.ToLower(f.id)+mode[:2], func(s *lab.Spec, o *lab.Options) {
		g.spec, g.opt = s, o
		for _, edit := range []func(*stage){f.setup, off} {
			if edit != nil {
				edit(g)
			}
		}
		o.Dir, o.Hubd = "", filepath.Join(failing(t), "hubd")
		o.HubdEdit, o.HubdEnv = g.edit, g.env
	})
	s := &scene{rig: r, fault: f, mode: g.mode, stage: g}
	s.serveControl()
	s.writeShims()
	s.plant()
	if !g.bare {
		s.reaches(everybody, s.Spec.Targets())
	}
	return s
}

// serveControl lets hublab talk to the lab, for lines that a person can paste.
func (s *scene) serveControl() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.ServeControl(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	eventually(s.t, "the lab's control socket answers", func() error {
		_, err := os.Stat(filepath.Join(s.Dir, "control.sock"))
		return err
	})
}

// writeShims makes hublab and hubctl mean this lab's.
func (s *scene) writeShims() {
	s.t.Helper()
	s.shims = s.t.TempDir()
	hublab := filepath.Join(bin, "hublab") + " --prefix " + s.Spec.Prefix
	for name, line := range map[string]string{
		"hublab": hublab + ` "$@"`,
		"hubctl": hublab + " exec hub -- " + filepath.Join(bin, "hubctl") + " --config " + s.configPath() + ` "$@"`,
		"aws":    `account=$1; shift; exec ` + hublab + ` aws --aws /usr/bin/aws $account -- "$@"`,
		"on-hub": "exec ip netns exec " + s.ns(lab.HostHub) + ` "$@"`,
	} {
		s.must(os.WriteFile(filepath.Join(s.shims, name), []byte("#!/bin/sh\n"+line+"\n"), 0o755))
	}
}

// configPath is hubd's config file.
func (s *scene) configPath() string { return filepath.Join(s.HubdDir(), "hubd.yaml") }

// statePath is hubd's state directory.
func (s *scene) statePath() string { return filepath.Join(s.HubdDir(), "state") }

// variables are what pasted lines may use.
func (s *scene) variables() []string {
	out := []string{
		"HUB_RTB=" + s.Spec.ID("rtb", "hub-public"), "HUB_ENI=" + s.Spec.ID("eni", lab.HostHub), "HUB_VPC=" + s.Spec.ID("vpc", lab.HostHub),
		"HUB_SUBNET=" + s.Spec.HubSubnet().String(), "REGION=" + s.Spec.Region, "CONFIG=" + s.configPath(), "STATE=" + s.statePath(),
		"CCD=" + s.VPN.ClientDir, "ACME_NFT=" + filepath.Join(s.shims, "foreign.nft"), "ACME_IPT=" + filepath.Join(s.shims, "foreign.ipt"), "TUN=" + s.Spec.Tunnel, "ETH=" + s.Spec.HubInterface, "HUB=" + s.Spec.HubAccount, "API=" + s.Spec.API.String(),
	}
	for _, v := range s.Spec.Services {
		n := strings.ToUpper(v.Host)
		out = append(out, n+"="+v.Account, n+"_VPC="+s.Spec.ID("vpc", v.Host), n+"_PCX="+s.Spec.ID("pcx", v.Host),
			n+"_RTB="+s.Spec.ID("rtb", v.Host+"-a"), n+"_CIDR="+v.VPC.String(), n+"_HOST="+v.Address().String())
	}
	if p := s.Process(lab.UnitHubd); p != nil {
		out = append(out, fmt.Sprintf("HUBD_PID=%d", p.PID))
	}
	return out
}

// paste runs lines of a shell as a person would and fails the test when they fail.
func (s *scene) paste(lines string) string {
	s.t.Helper()
	a := s.tryPaste(lines)
	if a.code != 0 {
		s.t.Fatalf("%s\nexit %d: %s%s", lines, a.code, a.out, a.talk)
	}
	return a.out
}

func (s *scene) tryPaste(lines string) answer {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), "bash", "-euo", "pipefail", "-c", lines)
	cmd.Env = append(os.Environ(), append(s.variables(), "PATH="+s.shims+":"+os.Getenv("PATH"))...)
	return finish(s.t, cmd)
}

// inject makes the fault happen, by the lines that the table prints.
func (s *scene) inject() string {
	s.t.Helper()
	s.clock()
	return s.paste(s.fault.inject)
}

// clock begins to count the time to converge.
func (s *scene) clock() { s.began, s.took = time.Now(), 0 }

// converged waits until f is content and notes how long that took since the clock began.
func (s *scene) converged(what string, f func() error) {
	s.t.Helper()
	eventually(s.t, what, f)
	s.took = time.Since(s.began)
}

// saw notes what happened, for the table.
func (s *scene) saw(format string, args ...any) {
	s.seen = append(s.seen, fmt.Sprintf(format, args...))
}

// quiet is content when hubd has nothing left to do.
func (s *scene) quiet() error {
	s.t.Helper()
	if a := s.hubctl("plan"); a.code != 0 {
		return fmt.Errorf("hubctl plan: exit %d: %s%s", a.code, a.out, a.talk)
	}
	return nil
}

// stops waits until a host does not get the service's answer any more.
func (s *scene) stops(from, to string) {
	s.t.Helper()
	eventually(s.t, from+" does not reach "+to, func() error {
		if got, err := s.ask(from, to, 1); err == nil {
			return fmt.Errorf("it got %q", got)
		}
		return nil
	})
}

// arrives is content when a host gets the service's answer.
func (s *scene) arrives(from, to string) error {
	_, err := s.ask(from, to, 1)
	return err
}

// foreignRules is a firewall of somebody else, as a file that its service loads.
const foreignRules = `table inet acme
delete table inet acme
table inet acme {
	set s { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 }; }
	chain in { type filter hook input priority 50; ip saddr @s counter drop comment "acme"; }
}
`

// plant makes things that are not ours in every place that hubd writes to: none may change.
func (s *scene) plant() {
	s.t.Helper()
	s.plantOnHub()
	s.aws(s.Spec.HubAccount, "ec2", "create-route", "--region", s.Spec.Region, "--route-table-id", s.Spec.ID("rtb", "hub-main"),
		"--destination-cidr-block", "10.255.0.0/24", "--vpc-peering-connection-id", s.Spec.ID("pcx", s.Spec.Targets()[0]))
}

// plantOnHub makes those of them that are on the hub's machine.
func (s *scene) plantOnHub() {
	s.t.Helper()
	s.must(os.WriteFile(filepath.Join(s.shims, "foreign.nft"), []byte(foreignRules), 0o644))
	for _, line := range []string{
		"nft -f " + filepath.Join(s.shims, "foreign.nft"),
		"iptables -t mangle -A FORWARD -s 192.0.2.77 -j MARK --set-mark 0x7",
		"ip route add 198.18.0.0/15 via " + s.gateway() + " dev " + s.Spec.HubInterface + " proto static",
		"ip route add blackhole 203.0.113.192/28 table 77",
		"ip rule add from 192.0.2.7 lookup 77 priority 700",
	} {
		s.sh(lab.HostHub, line)
	}
	s.must(os.WriteFile(filepath.Join(s.shims, "foreign.ipt"), []byte(s.sh(lab.HostHub, "iptables-save")), 0o644))
	s.must(os.WriteFile(filepath.Join(s.VPN.ClientDir, "acme"), []byte("# somebody else's\n"), 0o644))
}

// gateway is the router of the hub's subnet.
func (s *scene) gateway() string { return s.Spec.HubSubnet().Addr().Next().String() }

// others is all that is not ours, as other programs print it.
func (s *scene) others() string {
	s.t.Helper()
	var sb strings.Builder
	for _, line := range []string{
		"nft -s list table inet acme", "iptables-save | sed 's/\\[[0-9:]*\\]//; /^#/d'", "ip rule | grep -v '^267'", "ip -6 rule | grep -v '^267'",
		"ip -4 route show table main | grep -v 'proto 104'", "ip route show table 77", "ip -4 -o address show dev " + s.Spec.HubInterface + " | sed 's/valid_lft.*//'",
	} {
		fmt.Fprintf(&sb, "# %s\n%s", line, s.sh(lab.HostHub, line+" || true"))
	}
	own, err := os.ReadFile(filepath.Join(s.VPN.ClientDir, "acme"))
	s.must(err)
	sb.Write(own)
	for _, t := range s.Sim.Network().Tables {
		for _, r := range s.routesOf(t.ID) {
			// A local route comes and goes with a prefix of its VPC; nobody can write it.
			if !strings.Contains(r, "pcx-") && !strings.Contains(r, " local ") || strings.HasPrefix(r, "10.255.") {
				fmt.Fprintf(&sb, "%s %s\n", t.ID, r)
			}
		}
	}
	return sb.String()
}

// begin starts what watches while the fault happens.
func (s *scene) begin() {
	s.t.Helper()
	if s.probes == nil {
		s.probes = []*probe{s.probe("tcp", lab.HostLaptop1, "svc1"), s.probe("udp", lab.HostLaptop2, "svc1"), s.probe("udp", lab.HostOffice, "svc2")}
	}
	s.leaks = s.watchLeaks()
	s.foreign = s.others()
	s.before = s.footing()
	s.clock()
}

// hubNS is the hub's namespace, for programs that are started beside the lab's units.
func (s *scene) hubNS(argv ...string) *exec.Cmd {
	return fabric.Command(s.t.Context(), s.ns(lab.HostHub), argv...)
}
