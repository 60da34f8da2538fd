package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// broken is a config with a mistake of each kind. The comment of a line is the key that
// must be named with that line's number.
const broken = `version: 1
mode: maybe                                   # mode
pol: 30s                                      # pol
poll: 20ms                                    # poll
hub: {vpc: vpc-xyz}                           # hub.vpc
aws:
  role: arn:aws:iam::{account}:user/x         # aws.role
  endpoint: http://198.51.100.10              # aws.endpoint
accounts:
  222222222222: {name: billing}               # accounts
  "333333333333": {name: a b, exclude: [10.1.2.3/8]}   # accounts.333333333333.exclude[0]
protect: [300.1.1.0/24]                       # protect[0]
vpn:
  - name: people
    interfaces: [tun0, "tun*"]                # vpn[0].interfaces[1]
    pools: [172.27.240.7/22]                  # vpn[0].pools[0]
    to_hub: ["53/sctp"]                       # vpn[0].to_hub[0]
    other_traffic: perhaps                    # vpn[0].other_traffic
safety: {max_removed: 120%}                   # safety.max_removed
poll: 30s                                     # poll
log: {level: loud}                            # log.level
`

// TestBadInput starts hubd with what cannot work: it says what is wrong and what would be
// right, ends with 1 and has touched nothing. The near twin, the same config made right,
// starts.
func TestBadInput(t *testing.T) {
	t.Parallel()
	r := start(t, "b", func(_ *lab.Spec, o *lab.Options) { o.WithoutHubd = true })
	r.settled()
	dir := filepath.Join(r.Dir, "bad")
	r.must(os.Mkdir(dir, 0o755))
	for _, d := range []string{filepath.Dir(r.Dir), r.Dir, dir} {
		r.must(os.Chmod(d, 0o755)) // for the one who is nobody
	}
	path := filepath.Join(dir, "hubd.yaml")
	hubd := filepath.Join(bin, "hubd")
	own, err := os.ReadFile(filepath.Join(r.HubdDir(), "hubd.yaml"))
	r.must(err)
	good := strings.ReplaceAll(string(own), r.HubdDir(), dir)
	stated := fmt.Sprintf("hub: {name: x, region: %s, vpc: %s, instance: %s, interfaces: [{name: %s, eni: %s}]}", r.Spec.Region,
		r.Spec.ID("vpc", lab.HostHub), r.Spec.ID("i", lab.HostHub), r.Spec.HubInterface, r.Spec.ID("eni", lab.HostHub))
	before := r.byHand()

	// run starts hubd with a config and fails unless it ends with 1, says one sentence
	// with these words, and has written nothing.
	run := func(t *testing.T, config string, argv []string, words ...string) {
		t.Helper()
		r := r.in(t)
		r.must(os.WriteFile(path, []byte(config), 0o644))
		asked := len(r.Requests(0))
		a := r.try(lab.HostHub, append(argv, hubd, "--config", path, "--once")...)
		if a.code != 1 || a.out != "" {
			t.Errorf("exit %d, stdout %q; want 1 and nothing", a.code, a.out)
		}
		if strings.Count(a.talk, "\n") != 1 || !strings.HasPrefix(a.talk, "hubd: ") {
			t.Errorf("it said %q; want one sentence", a.talk)
		}
		for _, w := range words {
			if !strings.Contains(a.talk, w) {
				t.Errorf("it said %q; %q is not in it", a.talk, w)
			}
		}
		if err := same(before, r.byHand()); err != nil {
			t.Error(err)
		}
		for _, q := range r.Requests(asked) {
			if q.Mutating {
				t.Errorf("it called %s", q.Action)
			}
		}
	}

	t.Run("a config full of mistakes", func(t *testing.T) {
		r := r.in(t)
		r.must(os.WriteFile(path, []byte(broken), 0o644))
		a := r.try(lab.HostHub, hubd, "--config", path)
		if a.code != 1 || a.out != "" {
			t.Errorf("exit %d, stdout %q; want 1 and nothing", a.code, a.out)
		}
		comment := regexp.MustCompile(`# (\S+)$`)
		for i, line := range strings.Split(broken, "\n") {
			m := comment.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			want := regexp.MustCompile(fmt.Sprintf(`(?m)^%s:%d:\d+: %s.*; `, regexp.QuoteMeta(path), i+1, regexp.QuoteMeta(m[1])))
			if !want.MatchString(a.talk) {
				t.Errorf("line %d, %s, is not reported in\n%s", i+1, m[1], a.talk)
			}
		}
		if !strings.Contains(a.talk, "mistakes in the config, nothing was touched") {
			t.Errorf("it does not say that nothing was touched:\n%s", a.talk)
		}
		if err := same(before, r.byHand()); err != nil {
			t.Error(err)
		}
		check := r.try(lab.HostHub, filepath.Join(bin, "hubctl"), "config", "check", path)
		if check.code != 1 || strings.Count(check.out+check.talk, path) != strings.Count(a.talk, path) {
			t.Errorf("hubctl config check: exit %d, and says\n%s%s\nhubd said\n%s", check.code, check.out, check.talk, a.talk)
		}
	})
	t.Run("an account id without quotes", func(t *testing.T) {
		r := r.in(t)
		r.must(os.WriteFile(path, []byte(strings.ReplaceAll(good, `"222222222222"`, "022222222222")), 0o644))
		a := r.try(lab.HostHub, hubd, "--config", path)
		if a.code != 1 || !strings.Contains(a.talk, "022222222222") || !strings.Contains(a.talk, "quote") {
			t.Errorf("exit %d: %s", a.code, a.talk)
		}
	})
	t.Run("no such file", func(t *testing.T) {
		r := r.in(t)
		a := r.try(lab.HostHub, hubd, "--config", filepath.Join(dir, "none.yaml"))
		if a.code != 1 || !strings.Contains(a.talk, "--config FILE") {
			t.Errorf("exit %d: %s", a.code, a.talk)
		}
	})
	t.Run("not root", func(t *testing.T) {
		run(t, good, []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, "CAP_NET_ADMIN", "run hubd as root")
	})
	t.Run("no instance metadata", func(t *testing.T) {
		run(t, good, []string{"env", "AWS_EC2_METADATA_DISABLED=true"}, "IMDS", "hub.region")
	})
	t.Run("no credentials", func(t *testing.T) {
		run(t, replacing("hub: {name: "+r.Spec.HubName+"}", stated)(good), []string{"env", "AWS_EC2_METADATA_DISABLED=true"},
			"no AWS credentials", "AWS_PROFILE")
	})
	t.Run("EC2 unreachable", func(t *testing.T) {
		run(t, replacing("http://"+r.Spec.API.String(), "http://127.0.0.1:9")(good), nil, "EC2 is unreachable", "aws.endpoint")
	})
	t.Run("VPC not found", func(t *testing.T) {
		run(t, replacing("hub: {name: "+r.Spec.HubName+"}", strings.ReplaceAll(stated, r.Spec.ID("vpc", lab.HostHub), "vpc-0123456789abcdef0"))(good),
			nil, "vpc-0123456789abcdef0", "hub.vpc")
	})
	t.Run("no tun driver", func(t *testing.T) {
		r := r.in(t)
		r.must(os.WriteFile(path, []byte(replacing("mode: sync", "mode: observe")(good)), 0o644))
		// A machine without the driver: neither loaded nor among the kernel's modules.
		fake := filepath.Join(dir, "lib")
		release := strings.TrimSpace(r.exec(lab.HostHub, "uname", "-r"))
		r.must(os.MkdirAll(filepath.Join(fake, "modules", release), 0o755))
		for _, f := range []string{"modules.dep", "modules.builtin"} {
			r.must(os.WriteFile(filepath.Join(fake, "modules", release, f), []byte("kernel/net/ipv4/ip_gre.ko:\n"), 0o644))
		}
		misc := filepath.Join(dir, "misc")
		r.must(os.WriteFile(misc, []byte(" 58 network_latency\n"), 0o644))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		out := &monitor{}
		cmd := fabric.Command(ctx, r.ns(lab.HostHub), "sh", "-c",
			fmt.Sprintf("mount --bind %s /proc/misc && mount --bind %s /lib && exec %s --config %s", misc, fake, hubd, path))
		cmd.Stdout, cmd.Stderr = out, out
		r.must(cmd.Start())
		eventually(t, "hubd says so", func() error {
			if text := strings.Join(out.lines(), "\n"); !strings.Contains(text, "no tun driver") || !strings.Contains(text, "modprobe tun") {
				return fmt.Errorf("it said %s", text)
			}
			return nil
		})
		cancel()
		_ = cmd.Wait() // it was killed: no news
		if err := same(before, r.byHand()); err != nil {
			t.Error(err)
		}
	})
	t.Run("two of them, and the near twin", func(t *testing.T) {
		r := r.in(t)
		r.must(r.StartUnit(t.Context(), lab.UnitHubd)) // its config is the good one
		r.must(os.WriteFile(path, []byte(own), 0o644))
		a := r.try(lab.HostHub, hubd, "--config", path)
		if a.code != 1 || strings.Count(a.talk, "\n") != 1 || !strings.Contains(a.talk, "hubctl asks") {
			t.Errorf("a second hubd: exit %d: %s", a.code, a.talk)
		}
		r.sync()
		r.afterPolls(1)
		if err := same(before, r.byHand()); err == nil {
			t.Error("with a good config nothing is written either: the cases above show nothing")
		}
	})
}
