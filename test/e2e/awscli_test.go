package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"peerhub/test/lab"
)

// generations are the aws programs of this machine: Debian's always, and every other
// one on PATH.
func generations(t *testing.T) []string {
	t.Helper()
	const debian = "/usr/bin/aws"
	out := []string{debian}
	seen, err := filepath.EvalSymlinks(debian)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path, err := exec.LookPath(filepath.Join(dir, "aws"))
		if err != nil {
			continue
		}
		if real, err := filepath.EvalSymlinks(path); err == nil && real != seen && !slices.Contains(out, path) {
			out = append(out, path)
		}
	}
	return out
}

// cli is the program hublab with a lab of its own.
type cli struct {
	t      *testing.T
	prefix string
}

func (c cli) run(args ...string) answer {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), filepath.Join(bin, "hublab"), append([]string{"--prefix", c.prefix}, args...)...)
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	err := cmd.Run()
	if cmd.ProcessState == nil {
		c.t.Fatalf("run hublab %v: %v", args, err)
	}
	return answer{out.String(), talk.String(), cmd.ProcessState.ExitCode()}
}

func (c cli) must(args ...string) string {
	c.t.Helper()
	a := c.run(args...)
	if a.code != 0 {
		c.t.Fatalf("hublab %v: exit %d: %s%s", args, a.code, a.out, a.talk)
	}
	return strings.TrimSpace(a.out)
}

// TestAWSPrograms has each generation of the aws program do in the lab what a person
// does, as a lab's user types it: hublab aws ACCOUNT -- ...
func TestAWSPrograms(t *testing.T) {
	t.Parallel()
	c := cli{t, fmt.Sprintf("ecli%d-", os.Getpid())}
	t.Cleanup(func() {
		if out, err := exec.Command(filepath.Join(bin, "hublab"), "--prefix", c.prefix, "down").CombinedOutput(); err != nil {
			t.Errorf("hublab down: %v: %s", err, out)
		}
	})
	c.must("up", "--without-hubd", "--spokes", "2")
	spec := lab.DefaultSpec()
	for _, program := range generations(t) {
		version, err := exec.Command(program, "--version").CombinedOutput()
		if err != nil {
			t.Fatalf("%s --version: %v: %s", program, err, version)
		}
		t.Run(strings.Fields(string(version))[0], func(t *testing.T) { peerByHand(cli{t, c.prefix}, program, spec) })
	}
}

func peerByHand(c cli, program string, spec lab.Spec) {
	t := c.t
	t.Helper()
	const svc3 = "444444444444"
	hub := spec.HubAccount
	aws := func(account string, args ...string) string {
		t.Helper()
		return c.must(append([]string{"aws", "--aws", program, account, "--", "ec2"}, args...)...)
	}
	refused := func(code, account string, args ...string) {
		t.Helper()
		a := c.run(append([]string{"aws", "--aws", program, account, "--", "ec2"}, args...)...)
		if a.code == 0 || !strings.Contains(a.talk, "An error occurred ("+code+")") {
			t.Errorf("aws %v: exit %d, %s; want %s", args, a.code, a.talk, code)
		}
	}
	want := func(what, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	status := func(account, id string) string {
		t.Helper()
		return aws(account, "describe-vpc-peering-connections", "--vpc-peering-connection-ids", id,
			"--query", "VpcPeeringConnections[0].Status.Code", "--output", "text")
	}

	// Create, accept, describe, from both sides.
	id := aws(hub, "create-vpc-peering-connection", "--vpc-id", spec.ID("vpc", lab.HostHub), "--peer-vpc-id", spec.ID("vpc", "svc3"),
		"--peer-owner-id", svc3, "--query", "VpcPeeringConnection.VpcPeeringConnectionId", "--output", "text")
	eventually(t, "the request is there", func() error { return same("pending-acceptance", status(hub, id)) })
	refused("OperationNotPermitted", hub, "accept-vpc-peering-connection", "--vpc-peering-connection-id", id)
	aws(svc3, "accept-vpc-peering-connection", "--vpc-peering-connection-id", id)
	for _, account := range []string{hub, svc3} {
		eventually(t, "the peering is active", func() error { return same("active", status(account, id)) })
	}

	// Filter and page: two at a time are all of them, once each.
	want("a filter", aws(hub, "describe-vpc-peering-connections", "--filters", "Name=accepter-vpc-info.vpc-id,Values="+spec.ID("vpc", "svc3"),
		"Name=status-code,Values=active", "--query", "VpcPeeringConnections[].VpcPeeringConnectionId", "--output", "text"), id)
	refused("InvalidParameterValue", hub, "describe-vpc-peering-connections", "--filters", "Name=no-such-filter,Values=1")
	ids := func(args ...string) []string {
		t.Helper()
		var out []string
		text := aws(hub, append([]string{"describe-vpc-peering-connections", "--query", "VpcPeeringConnections[].VpcPeeringConnectionId", "--output", "json"}, args...)...)
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			t.Fatal(err)
		}
		slices.Sort(out)
		return out
	}
	all := ids()
	before := c.requests("DescribeVpcPeeringConnections")
	if paged := ids("--page-size", "5"); !slices.Equal(paged, all) || len(all) < 5 {
		t.Errorf("paged: %v; at once: %v", paged, all)
	}
	c.must("fault", "page-size", "2") // as AWS may: fewer than asked for, and a token
	if paged := ids(); !slices.Equal(paged, all) {
		t.Errorf("in pages of two: %v; at once: %v", paged, all)
	}
	c.must("fault", "page-size", "off")
	if n := c.requests("DescribeVpcPeeringConnections") - before; n < 1+(len(all)+1)/2 {
		t.Errorf("%d requests for %d peerings in pages of two", n, len(all))
	}

	// A route, and the same again.
	route := []string{"create-route", "--route-table-id", spec.ID("rtb", "hub-public"), "--destination-cidr-block", "10.112.0.0/16",
		"--vpc-peering-connection-id", id}
	aws(hub, route...)
	aws(hub, route...) // the same target is no error at AWS
	refused("RouteAlreadyExists", hub, "create-route", "--route-table-id", spec.ID("rtb", "hub-public"), "--destination-cidr-block", "10.112.0.0/16",
		"--vpc-peering-connection-id", spec.ID("pcx", "svc1"))

	// Throttled, and let in again.
	c.must("fault", "throttle", "empty")
	refused("RequestLimitExceeded", hub, "describe-vpc-peering-connections")
	c.must("fault", "throttle", "off")

	// Back to the beginning, for the next program.
	aws(hub, "delete-route", "--route-table-id", spec.ID("rtb", "hub-public"), "--destination-cidr-block", "10.112.0.0/16")
	aws(svc3, "delete-vpc-peering-connection", "--vpc-peering-connection-id", id)
	eventually(t, "the peering is deleted", func() error { return same("deleted", status(hub, id)) })
}

// requests counts the requests of an action in the lab's log.
func (c cli) requests(action string) int {
	c.t.Helper()
	return strings.Count(c.must("log"), " "+action+" ")
}
