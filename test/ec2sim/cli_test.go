package ec2sim_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"peerhub/test/ec2sim"
)

// cli is an aws command line client as a person has it.
type cli struct {
	t    *testing.T
	lab  *lab
	path string
}

// clis lists the different aws commands of this machine: Debian's and the one on
// PATH.
func clis(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, name := range []string{"/usr/bin/aws", "aws"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatalf("aws CLI: %v", err)
		}
		if !slices.Contains(out, path) {
			out = append(out, path)
		}
	}
	return out
}

// run runs a command and returns what it printed, both streams trimmed.
func (c cli) run(account string, args ...string) (stdout, stderr string) {
	c.t.Helper()
	k := c.lab.keys[account]
	cmd := exec.CommandContext(c.t.Context(), c.path, append([]string{"--endpoint-url", c.lab.url, "--region", tokyo, "--output", "text"}, args...)...)
	empty := filepath.Join(c.t.TempDir(), "none")
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+k[0], "AWS_SECRET_ACCESS_KEY="+k[1], "AWS_SESSION_TOKEN=",
		"AWS_CONFIG_FILE="+empty, "AWS_SHARED_CREDENTIALS_FILE="+empty, "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && errs.Len() == 0 {
		c.t.Fatalf("aws %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(out.String()), strings.TrimSpace(errs.String())
}

// ok runs a command that must succeed.
func (c cli) ok(account string, args ...string) string {
	c.t.Helper()
	out, errs := c.run(account, args...)
	if errs != "" {
		c.t.Fatalf("aws %s: %s", strings.Join(args, " "), errs)
	}
	return out
}

// fails runs a command that must fail with a code.
func (c cli) fails(code, account string, args ...string) {
	c.t.Helper()
	if _, errs := c.run(account, args...); !strings.Contains(errs, "("+code+")") {
		c.t.Errorf("aws %s: want %s, got %q", strings.Join(args, " "), code, errs)
	}
}

func TestBothGenerationsOfTheCLICannotTell(t *testing.T) {
	for _, path := range clis(t) {
		t.Run(strings.ReplaceAll(path, "/", "_"), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, ec2sim.Options{})
			c := cli{t, l, path}
			if got := c.ok(hubAccount, "sts", "get-caller-identity", "--query", "Account"); got != hubAccount {
				t.Errorf("identity %q", got)
			}
			pcx := c.ok(hubAccount, "ec2", "create-vpc-peering-connection", "--vpc-id", hubVPC, "--peer-vpc-id", svcVPC,
				"--peer-owner-id", svcAccount, "--tag-specifications", "ResourceType=vpc-peering-connection,Tags=[{Key=Name,Value=svc}]",
				"--query", "VpcPeeringConnection.VpcPeeringConnectionId")
			l.clock.Add(time.Second)
			c.fails("OperationNotPermitted", hubAccount, "ec2", "accept-vpc-peering-connection", "--vpc-peering-connection-id", pcx)
			c.ok(svcAccount, "ec2", "accept-vpc-peering-connection", "--vpc-peering-connection-id", pcx)
			l.clock.Add(time.Second)
			status := []string{"ec2", "describe-vpc-peering-connections", "--query", "VpcPeeringConnections[].[Status.Code,AccepterVpcInfo.CidrBlock]"}
			if got := c.ok(hubAccount, append(status, "--filters", "Name=status-code,Values=act*", "Name=tag:Name,Values=svc")...); got != "active\t10.110.0.0/16" {
				t.Errorf("filtered: %q", got)
			}
			if got := c.ok(svcAccount, append(status, "--filters", "Name=tag:Name,Values=svc")...); got != "" {
				t.Errorf("the other account sees our tags: %q", got)
			}
			c.fails("InvalidParameterValue", hubAccount, append(status, "--filters", "Name=colour,Values=red")...)

			route := []string{"ec2", "create-route", "--route-table-id", hubTable, "--destination-cidr-block", "10.110.0.0/16"}
			c.ok(hubAccount, append(route, "--vpc-peering-connection-id", pcx)...)
			c.fails("RouteAlreadyExists", hubAccount, append(route, "--gateway-id", hubGateway)...)
			c.fails("DryRunOperation", hubAccount, append(route, "--vpc-peering-connection-id", pcx, "--dry-run")...)
			if got := c.ok(hubAccount, "ec2", "describe-route-tables", "--query", "RouteTables[].Routes[].[DestinationCidrBlock,State]"); !strings.Contains(got, "10.110.0.0/16\tactive") {
				t.Errorf("routes: %q", got)
			}

			for range 6 {
				must(t)(l.AddRouteTable(ec2sim.TableSpec{VPC: hubVPC}))
			}
			ids := strings.Fields(c.ok(hubAccount, "ec2", "describe-route-tables", "--page-size", "5", "--query", "RouteTables[].RouteTableId"))
			if len(ids) != 7 {
				t.Errorf("pages of 5 gave %d tables of 7", len(ids))
			}
			pages := 0
			for _, r := range l.Log() {
				if r.Action == "DescribeRouteTables" && r.Params.Get("NextToken") != "" {
					pages++
				}
			}
			if pages != 1 {
				t.Errorf("%d second pages were asked for, want 1", pages)
			}

			c.ok(hubAccount, "ec2", "modify-instance-attribute", "--instance-id", hubInstance, "--no-source-dest-check")
			c.ok(hubAccount, "ec2", "describe-instances", "--instance-ids", hubInstance)
			c.fails("InvalidAction", hubAccount, "ec2", "describe-volumes")

			l.fault(ec2sim.FaultThrottle, "empty")
			c.fails("RequestLimitExceeded", hubAccount, "ec2", "describe-vpcs")
			l.fault(ec2sim.FaultThrottle, "off")
			c.ok(hubAccount, "ec2", "describe-vpcs")
		})
	}
}
