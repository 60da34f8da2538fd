package main

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"peerhub/hub/control"
	"peerhub/test/ec2sim"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hubd": main})
}

// TestScripts runs the real main: one script a behaviour. What writes to the kernel runs in a
// network namespace of its own (unshare), which is gone with the process.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Setenv("AWS_EC2_METADATA_DISABLED", "true")
			env.Setenv("SOCK", env.WorkDir+"/s")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"aws": cloud, "code": code, "awaits": awaits, "alive": alive},
	})
}

// code runs a command and checks its exit code.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		got = fmt.Sprint(exit.ExitCode())
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// awaits waits until a hubd answers on $SOCK, with a pass made.
func awaits(ts *testscript.TestScript, neg bool, args []string) {
	caller := control.NewCaller(ts.Getenv("SOCK"))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 1500 {
		s, err := caller.Status(context.Background())
		if err == nil && s.LastPass != nil {
			return
		}
		<-tick.C
	}
	ts.Fatalf("no hubd answers on %s", ts.Getenv("SOCK"))
}

// alive checks that the hubd on $SOCK answers, in a mode; with !, that none does.
func alive(ts *testscript.TestScript, neg bool, args []string) {
	s, err := control.NewCaller(ts.Getenv("SOCK")).Status(context.Background())
	if neg {
		if err == nil {
			ts.Fatalf("a hubd answers")
		}
		return
	}
	ts.Check(err)
	if len(args) == 1 && string(s.Mode) != args[0] {
		ts.Fatalf("mode %s, want %s", s.Mode, args[0])
	}
	if len(args) == 2 && (s.ConfigNote == nil) != (args[1] == "good") {
		ts.Fatalf("config note %v", s.ConfigNote)
	}
}

// cloud starts a simulated EC2 with the hub's account, and sets URL and credentials.
func cloud(ts *testscript.TestScript, neg bool, args []string) {
	sim := ec2sim.New(ec2sim.Options{})
	srv := httptest.NewServer(sim.APIHandler())
	ts.Defer(func() { srv.Close(); sim.Close() })
	id, secret := sim.AddAccount("111111111111", "infra")
	ts.Setenv("AWS_ACCESS_KEY_ID", id)
	ts.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	ts.Setenv("AWS_ENDPOINT_URL", srv.URL)
	_, err := sim.AddVPC(ec2sim.VPCSpec{ID: "vpc-0a000001", Account: "111111111111", Region: "ap-northeast-1", CIDRs: []netip.Prefix{netip.MustParsePrefix("10.100.0.0/16")}})
	ts.Check(err)
	subnet, err := sim.AddSubnet(ec2sim.SubnetSpec{VPC: "vpc-0a000001", CIDR: netip.MustParsePrefix("10.100.0.0/24")})
	ts.Check(err)
	_, err = sim.AddInstance(ec2sim.InstanceSpec{ID: "i-0a000001", Interface: "eni-0a000001", Subnet: subnet, Address: netip.MustParseAddr("10.100.0.10")})
	ts.Check(err)
}
