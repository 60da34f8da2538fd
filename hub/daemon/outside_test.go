package daemon

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"peerhub/hub"
	"peerhub/hub/control"
)

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("never: %s", what)
		}
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestFromOutside asks a daemon over its real sockets.
func TestFromOutside(t *testing.T) {
	w := newWorld(t, base)
	var err error
	if w.opts.Metrics, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	if w.opts.Control, _, err = control.Listen(socket, "nosuchgroup"); err != nil {
		t.Fatal(err)
	}
	laptop := netip.MustParseAddr("172.27.240.7")
	w.opts.Clients = func(_ context.Context, want hub.Desired) ([]control.Client, []hub.Problem) {
		c := control.Client{Server: "people", Name: "laptop1", Address: &laptop}
		for _, r := range want.Reaches {
			if r.Name == "billing" {
				c.Lacks = append(c.Lacks, r.Prefix)
			}
		}
		return []control.Client{c}, []hub.Problem{{Code: hub.ClientLacks, Subject: "laptop1"}}
	}
	w.opts.Counters = func(context.Context) (map[uint16]Counter, error) {
		out := map[uint16]Counter{}
		for n := range uint16(10) {
			out[n] = Counter{Packets: control.Traffic{Out: 5, In: 4}, Bytes: control.Traffic{Out: 500, In: 400}}
		}
		return out, nil
	}
	w.opts.Flows = func(context.Context, hub.Desired) ([]Flow, error) {
		return []Flow{{Protocol: "tcp", Source: netip.AddrPortFrom(laptop, 4000), Target: netip.MustParseAddrPort("8.8.8.8:443")}}, nil
	}
	_, stop := w.start()
	url := "http://" + w.opts.Metrics.Addr().String()
	eventually(t, "ready", func() bool { code, _ := get(t, url+"/readyz"); return code == 200 })
	caller := control.NewCaller(socket)
	eventually(t, "clients", func() bool {
		s, err := caller.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return len(s.Clients) == 1 && len(s.Clients[0].Lacks) == 1
	})

	s, err := caller.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, sp := range append(s.Spokes, *s.HubVPC) {
		lines = append(lines, fmt.Sprintf("%s %v %s out=%d got=%d/%d", sp.Name, sp.Prefixes, *sp.KRoute, sp.Packets.Out, sp.ClientsGot.OK, sp.ClientsGot.Total))
	}
	want := []string{"billing [10.110.0.0/16] ok out=5 got=0/1", "infra [10.100.0.0/16] ok out=5 got=1/1"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}

	if !slices.ContainsFunc(s.Problems, func(p hub.Problem) bool { return p.Code == hub.ClientLacks }) {
		t.Errorf("problems: %+v", s.Problems)
	}
	plan, err := caller.Plan(t.Context())
	if err != nil || len(plan.Changes) != 0 || len(plan.Cuts) != 0 {
		t.Errorf("plan: %+v %v", plan, err)
	}
	shown, err := caller.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	from := map[string]control.Setting{}
	for _, s := range shown.Settings {
		from[s.Key] = s
	}
	if got := from["hub.vpc"]; got.Value != "vpc-00000001" || got.From != "instance metadata" {
		t.Errorf("hub.vpc is shown as %+v", got)
	}

	code, text := get(t, url+"/metrics")
	for _, line := range []string{
		`hubd_spoke_works{account="222222222222",spoke="billing"} `, `hubd_spoke_packets_total{account="222222222222",spoke="billing",direction="out"} 5`,
		`hubd_mode{mode="sync"} 1`, `hubd_changes_total{plane="masq",verb="add"} 2`, `hubd_clients_lacking 1`, `hubd_source_fresh{account="111111111111"} 1`,
		`hubd_problems{code="COLLISION"} 0`, `hubd_build_info{version="test"} 1`, `hubd_ready 1`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("metrics (%d) lack %s", code, line)
		}
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	if _, err := parser.TextToMetricFamilies(strings.NewReader(text)); err != nil {
		t.Errorf("the page of metrics cannot be read: %v\n%s", err, text)
	}
	for _, no := range []string{"10.110.0.0", "laptop1", "172.27."} {
		if strings.Contains(text, no) {
			t.Errorf("metrics name %s", no)
		}
	}
	for _, path := range []string{"/debug/pprof/", "/debug/vars", "/", "/v1/status"} {
		if code, _ := get(t, url+path); code != 404 {
			t.Errorf("%s answers %d", path, code)
		}
	}
	stop()
	if _, err := caller.Status(t.Context()); err == nil {
		t.Error("the socket answers after the end")
	}
	if w.store.last.Hub.VPC != "vpc-00000001" || len(w.store.last.Spokes) != 1 {
		t.Errorf("the last report is %+v", w.store.last)
	}
}

func TestCuts(t *testing.T) {
	p := netip.MustParsePrefix
	want := hub.Desired{
		Base: hub.Base{Tunnels: []hub.Tunnel{
			{Name: "tun0", Origins: []netip.Prefix{p("172.27.240.0/22")}, Other: hub.OtherDrop, ToHub: []hub.Service{{Protocol: "udp", Port: 53}, {Protocol: "icmp"}}},
			{Name: "tun1", Origins: []netip.Prefix{p("172.28.0.0/24")}, Other: hub.OtherLeave},
		}},
		Reaches: []hub.Reach{{Prefix: p("10.110.0.0/16")}},
	}
	const (
		arrives = iota // the firewall comes with this plan
		spoke          // a spoke goes with this plan
		quiet          // nothing is pending
	)
	pending := map[int][]hub.Change{
		arrives: {{Verb: hub.VerbAdd, Unit: hub.Unit{Kind: hub.UnitBase}}},
		spoke:   {{Verb: hub.VerbRemove, Unit: hub.Unit{Kind: hub.UnitSpoke}}},
	}
	tests := []struct {
		name           string
		source, target string
		protocol       string
		ours, local    bool
		plan           int
		cut            bool
	}{
		{name: "to a spoke, from before hubd", source: "172.27.240.7:1", target: "10.110.1.2:80", cut: true},
		{name: "to a spoke, by hubd", source: "172.27.240.7:1", target: "10.110.1.2:80", ours: true},
		{name: "to the internet", source: "172.27.240.7:1", target: "8.8.8.8:53", cut: true},
		{name: "to the internet while the firewall stands", source: "172.27.240.7:1", target: "8.8.8.8:53", plan: spoke},
		{name: "to the internet from a tunnel left alone", source: "172.28.0.7:1", target: "8.8.8.8:53"},
		{name: "to a spoke from a tunnel left alone", source: "172.28.0.7:1", target: "10.110.1.2:80", cut: true},
		{name: "not from a tunnel", source: "10.100.0.7:1", target: "8.8.8.8:53"},
		{name: "to the hub, listed", source: "172.27.240.7:1", target: "172.27.240.1:53", protocol: "udp", local: true},
		{name: "to the hub, listed whatever its number", source: "172.27.240.7:1", target: "172.27.240.1:8", protocol: "icmp", local: true},
		{name: "to the hub, not listed", source: "172.27.240.7:1", target: "172.27.240.1:22", local: true, cut: true},
		{name: "to a spoke that goes", source: "172.27.240.7:1", target: "10.120.1.2:80", ours: true, plan: spoke, cut: true},
		{name: "when nothing changes", source: "172.27.240.7:1", target: "8.8.8.8:53", plan: quiet},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.protocol == "" {
				tt.protocol = "tcp"
			}
			f := Flow{Protocol: tt.protocol, Source: netip.MustParseAddrPort(tt.source), Target: netip.MustParseAddrPort(tt.target), Ours: tt.ours, Local: tt.local}
			rep := hub.Report{Desired: want, Planes: []hub.PlaneReport{{Plane: hub.PlaneMasq, Pending: pending[tt.plan]}}}
			if got := len(cuts(rep, []Flow{f}, nil)) == 1; got != tt.cut {
				t.Errorf("cut: %v", got)
			}
		})
	}
}
