package soak

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"peerhub/test/lab"
)

var (
	minutes = flag.Float64("minutes", 0, "how long to soak; 0 is the short form")
	seed    = flag.Uint64("seed", 0, "what happens; 0: the short form's own, or another each time")
)

// bin is where TestMain builds hubd and hubctl.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-trimpath", "-o", dir+"/", "peerhub/cmd/hubd", "peerhub/cmd/hubctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build hubd and hubctl: %v\n%s", err, out)
		return 1
	}
	bin = dir
	return m.Run()
}

// spec is a company of six services, all of which the clients' aggregate covers.
func spec(name string) lab.Spec {
	s := lab.DefaultSpec()
	s.Prefix = fmt.Sprintf("s%s%d-", name, os.Getpid())
	p := netip.MustParsePrefix
	s.Services = []lab.Service{
		{Host: "svc1", Account: "222222222222", VPC: p("10.110.0.0/16"), Peering: lab.PeeringActive, Closed: true},
		{Host: "svc2", Account: "333333333333", VPC: p("10.120.0.0/16"), Peering: lab.PeeringActive},
		{Host: "svc3", Account: "444444444444", VPC: p("10.112.0.0/16"), Peering: lab.PeeringNone},
		{Host: "svc4", Account: "555555555555", VPC: p("10.113.0.0/16"), Peering: lab.PeeringActive},
		{Host: "svc5", Account: "666666666666", VPC: p("10.114.0.0/16"), Peering: lab.PeeringActive},
		{Host: "svc6", Account: "777777777777", VPC: p("10.115.0.0/16"), Peering: lab.PeeringNone},
		{Host: "stranger", Account: "999999999999", VPC: p("10.66.0.0/16"), Peering: lab.PeeringRequested},
	}
	return s
}

// start brings up a lab to soak.
func start(t *testing.T, name string, o Options) *Soak {
	t.Helper()
	dir, err := os.MkdirTemp("", "soak") // short: unix sockets allow 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	opt := lab.Options{Dir: filepath.Join(dir, "run"), Hubd: filepath.Join(bin, "hubd"), HubdEdit: func(text string) string {
		return "masq: {ownership: " + []string{"persist", "plain"}[o.Seed%2] + "}\nsafety: {removals_after: 2, max_removed: 40%}\n" + text
	}}
	opt.Sim.Delays.ShortVisible, opt.Sim.Delays.LongVisible = time.Minute, time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	l, err := lab.Start(ctx, spec(name), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			if b, err := os.ReadFile(filepath.Join(l.Dir, lab.UnitHubd+".log")); err == nil {
				t.Logf("hubd's last words:\n%s", lastLines(string(b)))
			}
		}
		if err := errors.Join(l.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	o.Hubctl, o.Say = filepath.Join(bin, "hubctl"), t.Logf
	s, err := New(l, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// lastLines is the end of hubd's log, without what the looks themselves ask.
func lastLines(text string) string {
	all := slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return strings.Contains(l, "sync asked for") })
	return strings.Join(all[max(0, len(all)-25):], "\n")
}

// TestSoak lives through random faults: 20 seconds of them in the short form, as long as
// -minutes says otherwise, with a look each minute at 50 pairs.
func TestSoak(t *testing.T) {
	t.Parallel()
	o := Options{Seed: cmp.Or(*seed, 1), Length: 16 * time.Second, Round: 5 * time.Second, Pairs: 20, Patience: time.Minute}
	if *minutes > 0 {
		o.Seed = cmp.Or(*seed, uint64(time.Now().Unix()))
		o.Length, o.Round, o.Pairs = time.Duration(*minutes*float64(time.Minute)), 45*time.Second, 50
	}
	t.Logf("seed %d", o.Seed)
	if err := start(t, "a", o).Run(t.Context()); err != nil {
		t.Errorf("seed %d: %v", o.Seed, err)
	}
}

// TestWithoutHubd is the control: one peering without a hubd, and the look fails, by the
// tables and by packets.
func TestWithoutHubd(t *testing.T) {
	t.Parallel()
	s := start(t, "b", Options{Seed: *seed, Pairs: 40, Patience: 2 * time.Second})
	if err := s.Look(t.Context()); err != nil {
		t.Fatalf("with hubd: %v", err)
	}
	if err := s.lab.KillUnit(lab.UnitHubd); err != nil {
		t.Fatal(err)
	}
	if _, err := s.admin.Peer(t.Context(), "svc3"); err != nil {
		t.Fatal(err)
	}
	if err := s.model.compare(t.Context()); err == nil {
		t.Error("nobody made routes for a new peering, and the model sees no difference")
	} else {
		t.Logf("the tables: %v", err)
	}
	if err := s.try(t.Context()); err == nil {
		t.Error("nobody made routes for a new peering, and every packet arrives")
	} else {
		t.Logf("the packets: %v", err)
	}
}
