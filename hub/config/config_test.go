package config

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"peerhub/hub"
)

var update = flag.Bool("update", false, "rewrite the expected messages")

const reference = "../../deploy/hubd.yaml"

// expect compares an error with the messages in file, or writes them there.
func expect(t *testing.T, err error, file string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if Find(err) == nil {
		t.Fatalf("not a list of mistakes: %v", err)
	}
	got := err.Error() + "\n"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

func TestEveryMistakeIsReportedWithItsPlace(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files of mistakes: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(Source{Name: "hubd.yaml", Data: data})
			expect(t, err, strings.TrimSuffix(file, ".yaml")+".txt")
		})
	}
}

func TestMistakesAmongFilesNameBothPlaces(t *testing.T) {
	for _, dir := range []string{"twice", "misnamed", "two"} {
		t.Run(dir, func(t *testing.T) {
			_, err := Load(filepath.Join("testdata/accounts", dir, "hubd.yaml"))
			expect(t, err, filepath.Join("testdata/accounts", dir, "want.txt"))
		})
	}
}

func TestReferenceHasEveryKey(t *testing.T) {
	c, err := Load(reference)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	file, err := parse(data)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	collect(file.Docs[0].Body, "", seen)
	for section, keys := range schema {
		for _, key := range keys {
			path := strings.TrimPrefix(section+"."+key, ".")
			if !seen[path] {
				t.Errorf("the reference lacks %s", path)
			}
			delete(seen, path)
		}
	}
	delete(seen, "accounts.*")
	for path := range seen {
		t.Errorf("the schema lacks %s", path)
	}
	for _, s := range c.Settings() {
		if s.From == "default" && !strings.Contains(s.Key, "vpn") {
			t.Errorf("%s has no line in the reference", s.Key)
		}
	}
}

// collect lists the schema paths of a tree.
func collect(n ast.Node, key string, seen map[string]bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			path := (value{key: key}).child(v.Key.(*ast.StringNode).Value)
			seen[schemaPath(path)] = true
			collect(v.Value, path, seen)
		}
	case *ast.SequenceNode:
		for _, v := range n.Values {
			collect(v, key+"[0]", seen)
		}
	}
}

func TestReferenceAsTypes(t *testing.T) {
	got, err := Load(reference)
	if err != nil {
		t.Fatal(err)
	}
	p := netip.MustParsePrefix
	want := Config{
		Path: reference,
		Policy: hub.Policy{
			Mode: hub.ModeSync, HubName: "infra-tokyo",
			Accounts: map[hub.AccountID]hub.Account{
				"222222222222": {Name: "billing"},
				"333333333333": {Name: "web", Exclude: []netip.Prefix{p("100.64.0.0/10")}},
				"444444444444": {Name: "legacy", Role: "arn:aws:iam::444444444444:role/vpn", ExternalID: "x-1",
					SpokeTables: hub.TableChoice{Kind: hub.TablesTag, Tag: "peerhub=yes"}},
				"555555555555": {Name: "vendor", Role: hub.RoleNone},
			},
			Protect:     []netip.Prefix{p("192.168.77.0/24")},
			HubTables:   hub.TableChoice{Kind: hub.TablesOwnSubnet},
			SpokeTables: hub.TableChoice{Kind: hub.TablesAll},
			ReturnRoute: hub.ReturnSubnet,
			VPNs: []hub.VPN{{
				Name: "people", Interfaces: []string{"tun0"}, Pools: []netip.Prefix{p("172.27.240.0/22")},
				Sites:     []hub.Site{{Name: "tokyo", Client: "office-tokyo", Networks: []netip.Prefix{p("172.168.0.0/24")}}},
				ClientDir: "/etc/openvpn/ccd", OwnFiles: hub.OwnFilesInclude, Status: "/run/openvpn-server/people.sock",
				Aggregates: []netip.Prefix{p("10.96.0.0/11")},
				ToHub:      []hub.Service{{Protocol: "icmp"}, {Protocol: "udp", Port: 53}}, Other: hub.OtherDrop,
			}},
			Safety: hub.Safety{RemovalsAfter: 3, MaxRemoved: 20},
			Masq:   hub.MasqPolicy{Ownership: hub.OwnershipAuto, MaxFlows: 8192},
		},
		Hub: Hub{Name: "infra-tokyo", Region: "ap-northeast-1", VPC: "vpc-0d41c2b3a4f5e6071", Instance: "i-0abc1234def567890",
			Interfaces: []Interface{{Name: "eth0", ENI: "eni-0123456789abcdef0"}}},
		AWS: AWS{Role: "arn:aws:iam::{account}:role/peerhub-spoke", ExternalID: "ph-4f1d27",
			Regions: []hub.Region{"ap-northeast-1", "us-west-2"}},
		Poll:    30 * time.Second,
		Control: Control{Socket: "/run/hubd/hubd.sock", Group: "hubadmin"},
		Metrics: Metrics{Listen: "127.0.0.1:9586"},
		Log:     Log{Level: "info", Format: "auto"},
		State:   "/var/lib/hubd",
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultsAndOrigins(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("hubd.yaml", "version: 1\nstate: var\naccounts:\n  \"222222222222\":\nvpn:\n- {name: a, interfaces: [tun0], pools: [172.27.240.0/22], client_dir: ccd}\n")
	write("accounts.d/444444444444.yaml", "# from hubctl\n\"444444444444\":\n  name: search\n")
	write("accounts.d/README", "no account")
	c, err := Load(filepath.Join(dir, "hubd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if c.State != filepath.Join(dir, "var") || c.Policy.VPNs[0].ClientDir != filepath.Join(dir, "ccd") {
		t.Errorf("relative paths became %s and %s", c.State, c.Policy.VPNs[0].ClientDir)
	}
	if len(c.Policy.Accounts) != 2 || c.Policy.Accounts["444444444444"].Name != "search" {
		t.Errorf("accounts are %v", c.Policy.Accounts)
	}
	if c.Poll != 30*time.Second || c.Policy.Mode != hub.ModeSync || c.Policy.SetSysctls {
		t.Errorf("defaults are %v %v %v", c.Poll, c.Policy.Mode, c.Policy.SetSysctls)
	}
	from := map[string]string{}
	for _, s := range c.Settings() {
		from[s.Key] = strings.TrimPrefix(s.From, dir+"/")
	}
	for key, want := range map[string]string{
		"state": "hubd.yaml:2", "poll": "default", "hub.vpc": FromMetadata, "vpn[0].pools": "hubd.yaml:6",
		"vpn[0].own_files": "default", "accounts.222222222222": "hubd.yaml:4",
		"accounts.444444444444.name": "accounts.d/444444444444.yaml:3",
	} {
		if from[key] != want {
			t.Errorf("%s is from %q, want %q", key, from[key], want)
		}
	}
}

func TestPlainHTTPNeedsItsSwitch(t *testing.T) {
	src := Source{Name: "hubd.yaml", Data: []byte("version: 1\naws: {endpoint: \"http://127.0.0.1:4566\", allow_insecure_endpoint: true}\n")}
	c, err := Parse(src)
	if err != nil || c.AWS.Endpoint == "" {
		t.Errorf("with the switch: %q %v", c.AWS.Endpoint, err)
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, reference) {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(Source{Name: "hubd.yaml", Data: data}, Source{Name: "222222222222.yaml", Data: data})
		if err != nil && Find(err) == nil {
			t.Fatalf("not a list of mistakes: %v", err)
		}
		c.Settings()
	})
}
