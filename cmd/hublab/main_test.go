package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets this test binary be hublab when it is called so.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "hublab" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// cli is hublab under test, with a prefix of its own.
type cli struct {
	t      *testing.T
	path   string
	prefix string
}

func newCLI(t *testing.T) cli {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := cli{t: t, path: filepath.Join(t.TempDir(), "hublab"), prefix: fmt.Sprintf("c%s%d-", strings.ToLower(t.Name()[4:6]), os.Getpid())}
	if err := os.Symlink(self, c.path); err != nil {
		t.Fatal(err)
	}
	return c
}

type result struct {
	out, talk string
	code      int
}

func (c cli) run(args ...string) result {
	c.t.Helper()
	cmd := exec.Command(c.path, append([]string{"--prefix", c.prefix}, args...)...)
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatalf("hublab %v: %v", args, err)
	}
	return result{out.String(), talk.String(), cmd.ProcessState.ExitCode()}
}

// want runs hublab and fails unless it exits so and prints that, on either output.
func (c cli) want(code int, texts []string, args ...string) string {
	c.t.Helper()
	r := c.run(args...)
	if r.code != code {
		c.t.Errorf("hublab %v: exit %d, want %d\n%s%s", args, r.code, code, r.out, r.talk)
	}
	for _, text := range texts {
		if !strings.Contains(r.out+r.talk, text) {
			c.t.Errorf("hublab %v: %q is not in its output\n%s%s", args, text, r.out, r.talk)
		}
	}
	return r.out
}

func TestHublab(t *testing.T) {
	c := newCLI(t)
	t.Cleanup(func() {
		c.want(0, nil, "down")
		c.want(0, []string{"nothing to remove"}, "down")
		namespaces, err := filepath.Glob("/run/netns/" + c.prefix + "*")
		if err != nil || len(namespaces) > 0 {
			t.Errorf("namespaces left after down: %v, %v", namespaces, err)
		}
	})
	for _, cmd := range [][]string{{"status"}, {"hosts"}, {"drops"}, {"log"}, {"fault"}, {"recipe"}, {"env", "222222222222"}} {
		c.want(1, []string{"no lab is up", "hint: hublab up"}, cmd...)
	}
	c.want(0, []string{"the lab is up: 14 hosts"}, "up", "--without-hubd", "--spokes", "1")
	c.want(1, []string{"a lab is up already"}, "up", "--without-hubd")

	t.Run("hosts", func(t *testing.T) {
		c := cli{t, c.path, c.prefix}
		c.want(0, []string{"svc1-closed", c.prefix + "laptop2", "10.120.0.10", "spoke1"}, "hosts")
		var got struct {
			Schema string
			Hosts  []struct {
				Name, Kind, Namespace string
				Account, Public       *string
				Addresses             []string
			}
		}
		if err := json.Unmarshal([]byte(c.want(0, nil, "hosts", "-o", "json")), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Hosts) != 14 || got.Schema != "peerhub/1" {
			t.Fatalf("%d hosts, schema %q; want 14 and peerhub/1", len(got.Hosts), got.Schema)
		}
		if o := got.Hosts[0]; o.Name != "office" || o.Account != nil || *o.Public != "203.0.113.20" {
			t.Errorf("first host is %+v, want the office, without an account", o)
		}
		if svc := got.Hosts[6]; svc.Name != "svc1" || *svc.Account != "222222222222" || svc.Public != nil {
			t.Errorf("seventh host is %+v, want svc1, without a public address", svc)
		}
	})
	t.Run("exec", func(t *testing.T) {
		c := cli{t, c.path, c.prefix}
		c.want(0, []string{"172.27.240."}, "exec", "laptop1", "--", "ip", "address", "show", "dev", "tun0")
		c.want(7, nil, "exec", "laptop1", "--", "sh", "-c", "exit 7")
		c.want(64, []string{`no host "nobody"`}, "exec", "nobody", "--", "true")
	})
	t.Run("aws", func(t *testing.T) {
		c := cli{t, c.path, c.prefix}
		for _, aws := range []string{"/usr/bin/aws", "aws"} {
			c.want(0, []string{`"Account": "222222222222"`}, "aws", "--aws", aws, "222222222222", "--", "sts", "get-caller-identity")
		}
		c.want(64, []string{`no account "000000000000"`}, "aws", "000000000000", "--", "sts", "get-caller-identity")
		c.want(0, []string{"export AWS_ACCESS_KEY_ID=AKIA", "export AWS_DEFAULT_REGION=ap-northeast-1"}, "env", "222222222222")
		c.want(0, []string{"GetCallerIdentity", "222222222222"}, "log")
		c.want(0, []string{`"schema": "peerhub/1"`, `"action": "GetCallerIdentity"`, `"code": ""`}, "log", "-o", "json")
	})
	t.Run("fault", func(t *testing.T) {
		c := cli{t, c.path, c.prefix}
		c.want(1, []string{`no fault "nonsense"`, "data-plane-lag"}, "fault", "nonsense")
		c.want(0, nil, "fault", "deny", "action=DescribeVpcs", "account=222222222222")
		c.want(0, []string{"deny", "DescribeVpcs@222222222222"}, "fault")
		c.want(0, []string{"fault deny DescribeVpcs@222222222222"}, "status")
		if r := c.run("aws", "222222222222", "--", "ec2", "describe-vpcs"); r.code == 0 || !strings.Contains(r.talk, "UnauthorizedOperation") {
			t.Errorf("a denied call: exit %d, %s", r.code, r.talk)
		}
		c.want(0, []string{"vpc-"}, "aws", "333333333333", "--", "ec2", "describe-vpcs")
		c.want(0, nil, "fault", "deny", "off")
		c.want(0, []string{"vpc-"}, "aws", "222222222222", "--", "ec2", "describe-vpcs")
	})
	t.Run("drops", func(t *testing.T) {
		c := cli{t, c.path, c.prefix}
		follow := exec.CommandContext(t.Context(), c.path, "--prefix", c.prefix, "drops", "-f")
		out, err := follow.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := follow.Start(); err != nil {
			t.Fatal(err)
		}
		seen := make(chan string, 1)
		go func() {
			var all []byte
			buf := make([]byte, 4096)
			for !bytes.Contains(all, []byte("no-route")) {
				n, err := out.Read(buf)
				if err != nil {
					break
				}
				all = append(all, buf[:n]...)
			}
			seen <- string(all)
		}()
		// Until the follower has seen it: it may not have begun to look at the first packet.
		deadline := time.After(20 * time.Second)
		for text := ""; text == ""; {
			c.want(1, nil, "exec", "laptop1", "--", "ping", "-c1", "-W1", "10.110.0.10")
			select {
			case text = <-seen:
			case <-deadline:
				t.Fatal("drops -f shows nothing")
			default:
			}
		}
		if err := follow.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := follow.Wait(); err != nil {
			t.Errorf("drops -f after an interrupt: %v", err)
		}
		c.want(0, []string{"internet", "no-route", "> 10.110.0.10"}, "drops")
		c.want(0, []string{`"reason": "no-route"`, `"place": "internet"`}, "drops", "-o", "json")
	})
	t.Run("unit", func(t *testing.T) {
		c := cli{t, c.path, c.prefix}
		c.want(0, []string{"openvpn-laptop1", "hubd", "stopped"}, "unit")
		c.want(0, nil, "unit", "kill", "openvpn-laptop1")
		c.want(0, nil, "unit", "start", "openvpn-laptop1")
		c.want(1, []string{"runs already"}, "unit", "start", "openvpn-laptop1")
		c.want(0, nil, "exec", "laptop1", "--", "ping", "-c1", "-W5", "172.27.240.1")
		c.want(1, []string{`no unit "nobody"`}, "unit", "stop", "nobody")
		c.want(64, []string{"needs the name"}, "unit", "stop")
	})
	t.Run("replace", func(t *testing.T) {
		c := cli{t, c.path, c.prefix}
		c.want(1, []string{"only hub can be replaced"}, "replace", "laptop1")
		c.want(64, []string{"usage:"}, "replace")
	})
	t.Run("recipe", func(t *testing.T) {
		c := cli{t, c.path, c.prefix}
		c.want(0, []string{"1. on hub", "as account 333333333333", "left out: laptop1, laptop2, office to svc1, svc2, spoke1: not-forwarding at hub"}, "recipe")
		c.want(64, []string{"no line 99"}, "recipe", "--without", "99")
		c.want(0, []string{"2. left out"}, "recipe", "--apply", "--without", "2")
		c.want(28, nil, "exec", "laptop1", "--", "curl", "-sS", "--max-time", "1", "http://10.110.0.10/")
		c.want(0, []string{"eni-source-check"}, "drops")
		c.want(0, []string{"vpc=svc1 host=svc1 client=10.100.0.10"}, "exec", "office", "--", "curl", "-sS", "--max-time", "10", "http://10.110.0.10/")
		c.want(0, []string{"vpc=spoke1"}, "exec", "office", "--", "curl", "-sS", "--max-time", "10", "http://10.101.0.10/")
	})
}

func TestUsage(t *testing.T) {
	c := newCLI(t)
	for _, x := range []struct {
		want string
		args []string
	}{
		{`unknown command "bogus"`, []string{"bogus"}},
		{"unknown flag", []string{"up", "--bogus"}},
		{"usage:", []string{"env"}},
		{`output "xml"`, []string{"hosts", "-o", "xml"}},
		{"more is 1000", []string{"up", "--spokes", "1000"}},
		{`prefix "Lab"`, []string{"up", "--prefix", "Lab"}},
	} {
		c.want(64, []string{x.want}, x.args...)
	}
	c.want(0, []string{"hublab [command]"}, "--help")
	c.want(0, []string{"Available Commands"})
}

func TestSpecFile(t *testing.T) {
	c := newCLI(t)
	t.Cleanup(func() { c.want(0, nil, "down") })
	file := filepath.Join(t.TempDir(), "spec.json")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"hub_vcp": "10.1.0.0/16"}`)
	c.want(64, []string{`unknown field "hub_vcp"`}, "up", "--spec", file)
	write(`{"services": [], "hub_vpc": "10.1.0.0/16", "office_client": "werk"}`)
	c.want(0, []string{"the lab is up: 7 hosts"}, "up", "--without-hubd", "--spec", file)
	c.want(0, []string{"10.1.0.10"}, "hosts")
}
