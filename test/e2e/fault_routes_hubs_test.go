package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"peerhub/test/fabric"
	"peerhub/test/lab"
	"peerhub/test/soak/admin"
)

func init() { faultsOfRoutes = append(faultsOfRoutes, twoHubs) }

var twoHubs = fault{
	id: "F19", name: "two hubs of one VPC are active, as while one takes over from the other",
	inject:  "# on another instance of the hub VPC, in another subnet, with an empty state directory: start hubd\n# later a spoke comes, and the second hub is taken out with hubd --cleanup",
	expect:  "each makes what only it needs; afterwards nobody writes; neither removes a route or a tag of the other",
	control: "a ledger of its own (the second starts with a copy of the first's state)",
	run: func(s *scene) {
		n := s.neighbour()
		from := len(s.Requests(0))
		s.clock()
		n.start()
		back := subnetOf(s.addr(lab.HostInfra))
		s.converged("the second hub has its ways back", func() error {
			if !slices.ContainsFunc(s.routesOf(s.Spec.ID("rtb", "svc1-a")), func(r string) bool { return strings.HasPrefix(r, back+" ") }) {
				return fmt.Errorf("%v", s.routesOf(s.Spec.ID("rtb", "svc1-a")))
			}
			return n.quiet()
		})
		calm := func(when string) {
			eventually(s.t, when+": both have nothing to do", func() error { return errors.Join(s.quiet(), n.quiet()) })
			s.afterPolls(4) // of both, who ask by the same role
			at := len(s.Requests(0))
			s.afterPolls(12)
			if w := s.written(at); len(w) > 0 {
				s.t.Errorf("%s: calls that write: %v", when, w)
			}
		}
		calm("both work")
		_, err := admin.New(s.Lab).Peer(s.t.Context(), "svc3")
		s.must(err)
		eventually(s.t, "the new spoke is reached", func() error { return s.arrives(lab.HostLaptop1, "svc3") })
		calm("a spoke came")
		n.stop()
		if a := s.try(lab.HostInfra, n.argv("--cleanup")...); a.code != 0 {
			s.t.Errorf("--cleanup of the second: exit %d: %s%s", a.code, a.out, a.talk)
		}
		for _, w := range s.written(from) {
			if strings.Contains(w, "DeleteRoute") && !strings.Contains(w, back) && !strings.Contains(w, s.service("svc3").VPC.String()) {
				s.t.Errorf("a route that the first needs was deleted: %s", w)
			}
		}
		tags := s.aws(s.Spec.HubAccount, "ec2", "describe-vpc-peering-connections", "--query", "VpcPeeringConnections[].Tags[].Key", "--output", "text")
		if !strings.Contains(tags, "peerhub:routes."+s.Spec.ID("i", lab.HostHub)) || strings.Contains(tags, s.Spec.ID("i", lab.HostInfra)) {
			s.t.Errorf("the tags are %s", tags)
		}
		eventually(s.t, "the new spoke is reached still", func() error { return s.arrives(lab.HostLaptop1, "svc3") })
		s.saw("0 calls that write in 6 polls with both, before and after a spoke came; the second's cleanup took only its own")
	},
	harm: func(s *scene) string {
		n := s.neighbour()
		s.paste("cp -a $STATE " + n.dir + "/state")
		from := len(s.Requests(0))
		n.start()
		defer n.stop()
		var deleted []string
		eventually(s.t, "the second hub removes something", func() error {
			deleted = slices.DeleteFunc(s.written(from), func(w string) bool { return !strings.Contains(w, "DeleteRoute") })
			return wantSome(deleted)
		})
		return "it removed routes of the first, for example: " + deleted[0]
	},
}

// neighbour is a second hub, on another instance of the hub VPC.
type neighbour struct {
	s      *scene
	dir    string
	config string
	keys   []string // of the hub's role, as variables
	stop   func()
}

// neighbour writes the second hub's config. Its subnet has no way out, so it asks AWS
// through a relay on the first.
func (s *scene) neighbour() *neighbour {
	s.t.Helper()
	n := &neighbour{s: s, dir: filepath.Join(s.Dir, "hubd2")}
	n.config = filepath.Join(n.dir, "hubd.yaml")
	s.must(os.MkdirAll(filepath.Join(n.dir, "ccd"), 0o750))
	b, err := os.ReadFile(s.configPath())
	s.must(err)
	var lines []string
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, "    status: ") { // OpenVPN's is the first's
			lines = append(lines, line)
		}
	}
	text := strings.NewReplacer(s.HubdDir(), n.dir, s.VPN.ClientDir, filepath.Join(n.dir, "ccd"), "hub: {name: "+s.Spec.HubName+"}", "hub: {name: standby}",
		"http://"+s.Spec.API.String(), "http://"+s.addr(lab.HostHub)+":8080", "aws:\n", "aws:\n  tables: {hub: ["+s.Spec.ID("rtb", "hub-public")+"]}\n").Replace(strings.Join(lines, ""))
	s.must(os.WriteFile(n.config, []byte(text), 0o640))
	var c struct{ AccessKeyId, SecretAccessKey, Token string }
	s.must(json.Unmarshal([]byte(s.sh(lab.HostHub, "t=$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 600' http://169.254.169.254/latest/api/token); "+
		"curl -s -H \"X-aws-ec2-metadata-token: $t\" http://169.254.169.254/latest/meta-data/iam/security-credentials/"+lab.HubRole)), &c))
	n.keys = []string{"AWS_ACCESS_KEY_ID=" + c.AccessKeyId, "AWS_SECRET_ACCESS_KEY=" + c.SecretAccessKey, "AWS_SESSION_TOKEN=" + c.Token}
	s.aws(s.Spec.HubAccount, "ec2", "authorize-security-group-ingress", "--region", s.Spec.Region, "--group-id", s.Spec.ID("sg", lab.HostHub),
		"--protocol", "tcp", "--port", "8080", "--cidr", s.Spec.HubVPC.String())
	relay := s.hubNS("socat", "TCP-LISTEN:8080,fork,reuseaddr", "TCP:"+s.Spec.API.String()+":80")
	s.must(relay.Start())
	s.t.Cleanup(func() {
		_ = relay.Process.Signal(syscall.SIGTERM) // it may have ended with the test's context
		_ = relay.Wait()
	})
	return n
}

func (n *neighbour) argv(flags ...string) []string {
	return append(append(append([]string{"env"}, n.keys...), filepath.Join(failing(n.s.t), "hubd"), "--config", n.config), flags...)
}

// start runs it until stop, or the end of the test.
func (n *neighbour) start() {
	n.s.t.Helper()
	log, err := os.Create(filepath.Join(n.dir, "log"))
	n.s.must(err)
	cmd := fabric.Command(n.s.t.Context(), n.s.ns(lab.HostInfra), n.argv()...)
	cmd.Stdout, cmd.Stderr = log, log
	n.s.must(cmd.Start())
	over := false
	n.stop = func() {
		if over {
			return
		}
		over = true
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended with the test's context
		_ = cmd.Wait()
		_ = log.Close()
	}
	n.s.t.Cleanup(func() {
		n.stop()
		if b, err := os.ReadFile(log.Name()); n.s.t.Failed() && err == nil {
			n.s.t.Logf("the second hubd said:\n%s", b[max(0, len(b)-4000):])
		}
	})
}

// quiet is content when the second hub has nothing left to do.
func (n *neighbour) quiet() error {
	a := n.s.try(lab.HostInfra, filepath.Join(bin, "hubctl"), "--config", n.config, "plan")
	if a.code != 0 {
		return fmt.Errorf("the second's hubctl plan: exit %d: %s%s", a.code, a.out, a.talk)
	}
	return nil
}

// written are the calls that change something, by whomever but people, from a request on.
func (s *scene) written(from int) []string {
	var out []string
	for _, q := range s.Requests(from) {
		for _, verb := range []string{"Create", "Delete", "Replace", "Modify"} {
			if strings.HasPrefix(q.Action, verb) && !strings.Contains(q.Action, "Peering") {
				out = append(out, fmt.Sprintf("%s %s %s %s %s", q.Principal, q.Action, q.Params.Get("RouteTableId"), q.Params.Get("DestinationCidrBlock"), q.Code))
			}
		}
	}
	return out
}

// subnetOf is the /24 around an address.
func subnetOf(addr string) string { return addr[:strings.LastIndex(addr, ".")] + ".0/24" }
