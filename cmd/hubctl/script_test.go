package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"peerhub/hub"
	"peerhub/hub/control"
	"peerhub/test/ec2sim"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hubctl": main})
}

// TestScripts runs the real main against a hubd that answers from files: one script a behaviour.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"status.json", "plan.json"} {
				data, err := os.ReadFile(filepath.Join("testdata", name))
				if err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), data, 0o644); err != nil {
					return err
				}
			}
			env.Setenv("SOCK", filepath.Join(env.WorkDir, "s"))
			env.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"hubd": hubd, "told": told, "aws": cloud, "json": hasJSON, "code": code},
	})
}

// fake is a hubd that answers from files of the script's folder.
type fake struct {
	dir string
	mu  sync.Mutex
	log []string
}

func (f *fake) note(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, what)
}

var ago = regexp.MustCompile(`"ago:(-?[0-9a-z]+)"`)

// answer reads NAME.json; "ago:12s" in it stands for that moment.
func answer[T any](f *fake, name string) (T, error) {
	var out T
	data, err := os.ReadFile(filepath.Join(f.dir, name+".json"))
	if errors.Is(err, os.ErrNotExist) {
		return out, fmt.Errorf("this hubd has no %s", name)
	}
	if err != nil {
		return out, err
	}
	text := ago.ReplaceAllStringFunc(string(data), func(s string) string {
		d, err := time.ParseDuration(ago.FindStringSubmatch(s)[1])
		if err != nil {
			return s
		}
		return time.Now().Add(-d).UTC().Format(`"` + time.RFC3339 + `"`)
	})
	return out, json.Unmarshal([]byte(text), &out)
}

func (f *fake) Status(context.Context) (control.Status, error) {
	return answer[control.Status](f, "status")
}
func (f *fake) Plan(context.Context) (control.Plan, error) { return answer[control.Plan](f, "plan") }
func (f *fake) Config(context.Context) (control.Config, error) {
	return answer[control.Config](f, "config")
}
func (f *fake) Desired(context.Context) (hub.Desired, error) {
	p := netip.MustParsePrefix
	return hub.Desired{
		Base: hub.Base{Egresses: []hub.Egress{{ID: "eth0", Class: 1, Address: netip.MustParseAddr("10.100.0.10"), Gateway: netip.MustParseAddr("10.100.0.1"), Subnet: p("10.100.0.0/24")}},
			Tunnels: []hub.Tunnel{{Name: "tun0", Origins: []netip.Prefix{p("172.27.240.0/22")}, Other: hub.OtherDrop}}},
		Spokes:  []hub.Spoke{{ID: "vpc-00000002", Name: "billing", Number: 1}},
		Reaches: []hub.Reach{{Spoke: "vpc-00000002", Name: "billing", Prefix: p("10.110.0.0/16"), Real: p("10.110.0.0/16"), Egress: "eth0", Mark: 0x1000001}},
		Routes: []hub.VPCRoute{{Scope: hub.Scope{Account: "111111111111", Region: "ap-northeast-1"}, Table: "rtb-00000001", Destination: p("10.110.0.0/16"),
			Peering: "pcx-00000002", Side: hub.SideHub, Spoke: "vpc-00000002"}},
	}, nil
}
func (f *fake) Ready(context.Context) error { return nil }
func (f *fake) Sync(_ context.Context, r control.SyncRequest, _ string) (control.Synced, error) {
	f.note(fmt.Sprintf("sync allow_removals=%v mode=%s confirm=%gs", r.AllowRemovals, r.Mode, r.ConfirmSeconds))
	return answer[control.Synced](f, "synced")
}
func (f *fake) Pause(_ context.Context, r control.PauseRequest, _ string) (control.Paused, error) {
	f.note(fmt.Sprintf("pause %gs %v", r.Seconds, r.Places))
	p := &control.Pause{By: "root", Since: time.Now().UTC(), Places: r.Places}
	if r.Seconds > 0 {
		until := time.Now().Add(time.Duration(r.Seconds) * time.Second).UTC()
		p.Until = &until
	}
	return control.Paused{Schema: control.Schema, Pause: p, Pauses: []control.Pause{*p}}, nil
}
func (f *fake) Confirm(_ context.Context, r control.ConfirmRequest, _ string) (control.Synced, error) {
	f.note(fmt.Sprintf("confirm undo=%v", r.Undo))
	return answer[control.Synced](f, "synced")
}
func (f *fake) History(_ context.Context, q hub.HistoryQuery) (control.History, error) {
	f.note(fmt.Sprintf("history limit=%d since=%v spoke=%q", q.Limit, !q.Since.IsZero(), q.Spoke))
	return answer[control.History](f, "history")
}
func (f *fake) Resume(_ context.Context, r control.ResumeRequest, _ string) (control.Paused, error) {
	f.note(fmt.Sprintf("resume %v", r.Places))
	return control.Paused{Schema: control.Schema}, nil
}
func (f *fake) Adoption(context.Context) (control.Adoption, error) {
	return answer[control.Adoption](f, "adoption")
}
func (f *fake) Adopt(context.Context, control.AdoptRequest, string) (control.Adoption, error) {
	f.note("adopt")
	return answer[control.Adoption](f, "adoption")
}
func (f *fake) Reload(context.Context, string) (control.Done, error) {
	f.note("reload")
	return control.Done{Schema: control.Schema}, nil
}

// hubd starts the fake hubd of this script.
func hubd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: hubd")
	}
	f := &fake{dir: ts.Getenv("WORK")}
	l, _, err := control.Listen(ts.Getenv("SOCK"), "nosuchgroup")
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- control.NewServer(l, f, f).Serve(ctx) }()
	ts.Defer(func() {
		cancel()
		<-done
	})
	fakes.Store(ts.Getenv("WORK"), f)
}

var fakes sync.Map // by script folder

// told checks that hubd was told something, or with !, that it was not.
func told(ts *testscript.TestScript, neg bool, args []string) {
	v, ok := fakes.Load(ts.Getenv("WORK"))
	if !ok {
		ts.Fatalf("no hubd was started")
	}
	f := v.(*fake)
	f.mu.Lock()
	all := strings.Join(f.log, "\n")
	f.mu.Unlock()
	if strings.Contains(all, strings.Join(args, " ")) == neg {
		ts.Fatalf("hubd was told:\n%s", all)
	}
}

// code runs a command and checks its exit code: code 2 hubctl plan.
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

// hasJSON checks that stdout is one object of our schema.
func hasJSON(ts *testscript.TestScript, neg bool, args []string) {
	var v map[string]any
	if err := json.Unmarshal([]byte(ts.ReadFile("stdout")), &v); err != nil {
		ts.Fatalf("stdout is not one JSON object: %v", err)
	}
	if v["schema"] != control.Schema {
		ts.Fatalf("schema is %v", v["schema"])
	}
	for _, key := range args {
		if _, ok := v[key]; ok == neg {
			ts.Fatalf("has %s: %v", key, ok)
		}
	}
}

// cloud starts a simulated EC2 with the hub and two accounts, and a config that leads there.
func cloud(ts *testscript.TestScript, neg bool, args []string) {
	quick := ec2sim.Delays{Pending: time.Millisecond, Active: time.Millisecond, Deleted: ec2sim.Immediate}
	sim := ec2sim.New(ec2sim.Options{Delays: quick})
	srv := httptest.NewServer(sim.APIHandler())
	ts.Defer(func() { srv.Close(); sim.Close() })
	for account, vpc := range map[string][2]string{"111111111111": {"vpc-0a000001", "10.100.0.0/16"}, "222222222222": {"vpc-0a000002", "10.110.0.0/16"}, "333333333333": {"vpc-0a000003", "10.120.0.0/16"}} {
		id, secret := sim.AddAccount(account, account)
		if account == "111111111111" {
			ts.Setenv("AWS_ACCESS_KEY_ID", id)
			ts.Setenv("AWS_SECRET_ACCESS_KEY", secret)
		} else {
			_, err := sim.AddRole(ec2sim.RoleSpec{Account: account, Name: "peerhub-spoke", TrustedBy: []string{"111111111111"}, ExternalID: "ph"})
			ts.Check(err)
		}
		_, err := sim.AddVPC(ec2sim.VPCSpec{ID: vpc[0], Account: account, Region: "ap-northeast-1", CIDRs: []netip.Prefix{netip.MustParsePrefix(vpc[1])}})
		ts.Check(err)
	}
	ts.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	text := fmt.Sprintf(`version: 1
hub: {region: ap-northeast-1, vpc: vpc-0a000001}
aws: {role: "arn:aws:iam::{account}:role/peerhub-spoke", external_id: ph, endpoint: %q, allow_insecure_endpoint: true}
accounts:
  "333333333333": {name: vendor, role: none}
control: {socket: %q}
state: state
`, srv.URL, ts.Getenv("SOCK"))
	ts.Check(os.WriteFile(ts.MkAbs("hubd.yaml"), []byte(text), 0o644))
}
