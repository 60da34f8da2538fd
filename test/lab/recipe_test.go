package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"peerhub/test/fabric"
)

// How long a request may take that should arrive, and one that should not. The
// second is about patience only: what proves the refusal is the drop's reason.
const (
	arrives = 20 * time.Second
	refused = "1"
)

// TestRecipe shows that the lab is true: by hand the hub works, and without any one
// line of the recipe it does not, for the reason the recipe states.
func TestRecipe(t *testing.T) {
	t.Parallel()
	l := startLab(t, testSpec("r"))
	r := l.Runner()
	recipe := l.Spec.Recipe(l.Dir)

	t.Run("nothing set", func(t *testing.T) {
		for _, from := range Talkers() {
			mustDrop(t, l, []string{from}, l.Spec.Targets(), "internet", fabric.ReasonNoRoute)
		}
	})
	apply(t, r, recipe, func(line Line) bool { return !strings.Contains(line.Shell, "MASQUERADE") })
	t.Run("routes by hand, source check on", func(t *testing.T) {
		mustDrop(t, l, Talkers(), l.Spec.Targets(), HostHub, fabric.ReasonSourceCheck)
	})
	check := "aws ec2 modify-network-interface-attribute --network-interface-id " + l.Spec.ID("eni", HostHub)
	t.Run("routes by hand, source check off", func(t *testing.T) {
		must(t, r.shell(t.Context(), l.Spec.HubAccount, check+" --no-source-dest-check"))
		for _, to := range l.Spec.Targets() {
			mustDrop(t, l, Talkers(), []string{to}, to, fabric.ReasonPeerSource)
		}
	})
	must(t, r.shell(t.Context(), l.Spec.HubAccount, check+" --source-dest-check"))
	apply(t, r, recipe, func(line Line) bool { return strings.Contains(line.Shell, "MASQUERADE") })
	t.Run("all lines", func(t *testing.T) {
		mustArrive(t, l, Talkers(), l.Spec.Targets())
		mustPing(t, l)
		mustEcho(t, l)
	})
	for _, line := range recipe {
		t.Run(fmt.Sprintf("without line %d", line.N), func(t *testing.T) {
			must(t, r.Undo(t.Context(), recipe, line))
			mustDrop(t, l, line.Without.From, line.Without.To, line.Without.Place, line.Without.Reason)
			mustArrive(t, l, others(Talkers(), line.Without.From), l.Spec.Targets())
			mustArrive(t, l, line.Without.From, others(l.Spec.Targets(), line.Without.To))
			must(t, r.Redo(t.Context(), recipe, line))
			mustArrive(t, l, line.Without.From, line.Without.To)
		})
	}
	t.Run("a group that admits nobody", func(t *testing.T) {
		// A way back for the closed host's subnet, so that only its group is left to refuse.
		svc := l.Spec.Services[0]
		must(t, r.shell(t.Context(), svc.Account, fmt.Sprintf(
			"aws ec2 create-route --route-table-id %s --destination-cidr-block %s --vpc-peering-connection-id %s",
			l.Spec.ID("rtb", svc.Host+"-main"), l.Spec.HubSubnet(), l.Spec.ID("pcx", svc.Host))))
		mustDrop(t, l, Talkers(), []string{svc.Host + closedSuffix}, svc.Host+closedSuffix, fabric.ReasonGroup)
		must(t, r.shell(t.Context(), svc.Account, fmt.Sprintf(
			"aws ec2 authorize-security-group-ingress --group-id %s --protocol tcp --port 80 --cidr %s",
			l.Spec.ID("sg", svc.Host+closedSuffix), l.Spec.HubSubnet())))
		mustArrive(t, l, Talkers(), []string{svc.Host + closedSuffix})
	})
}

// TestRenumbered shows that nothing in the lab rests on the numbers of the documents.
func TestRenumbered(t *testing.T) {
	t.Parallel()
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	s := Spec{
		Prefix: fmt.Sprintf("n%d-", os.Getpid()), Region: "eu-central-1", Salt: "other",
		HubAccount: "010203040506", HubName: "kern", HubVPC: p("172.20.0.0/16"), HubPublic: a("192.0.2.77"), HubInterface: "ens5",
		Tunnel: "tun7", Pool: p("10.9.8.0/24"), Aggregates: []netip.Prefix{p("10.32.0.0/12"), p("192.168.64.0/18")},
		OfficeLAN: p("10.77.3.0/25"), OfficeClient: "werk-ulm", Internet: p("198.51.100.128/25"), API: a("203.0.113.200"),
		ExternalID: "another", Services: []Service{
			{Host: "billing", Account: "121212121212", VPC: p("10.40.0.0/16"), Peering: PeeringActive},
			{Host: "search", Account: "343434343434", Region: "eu-west-1", VPC: p("192.168.64.0/20"), Peering: PeeringActive},
		},
		More: 1, MorePrefix: p("10.33.0.0/20"),
	}
	l := startLab(t, s)
	r := l.Runner()
	recipe := s.Recipe(l.Dir)
	mustDrop(t, l, Talkers(), s.Targets(), "internet", fabric.ReasonNoRoute)
	apply(t, r, recipe, func(Line) bool { return true })
	mustArrive(t, l, Talkers(), s.Targets())
	for _, line := range recipe[:4] {
		must(t, r.Undo(t.Context(), recipe, line))
		mustDrop(t, l, line.Without.From, line.Without.To, line.Without.Place, line.Without.Reason)
		must(t, r.Redo(t.Context(), recipe, line))
	}
	mustArrive(t, l, Talkers(), s.Targets())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// apply types the wanted lines of the recipe.
func apply(t *testing.T, r Runner, recipe []Line, want func(Line) bool) {
	t.Helper()
	for _, line := range recipe {
		if want(line) {
			must(t, r.Do(t.Context(), line))
		}
	}
}

// ask fetches a service's page from a host.
func ask(ctx context.Context, l *Lab, from, to, patience string) (string, error) {
	h, ok := l.Spec.Host(to)
	if !ok {
		return "", fmt.Errorf("no host %s", to)
	}
	return fabric.Exec(ctx, l.Spec.Prefix+from, "curl", "-sS", "--max-time", patience, "http://"+h.Addresses[0].String()+"/")
}

// eachPair runs f for all pairs at once and waits.
func eachPair(from, to []string, f func(from, to string)) {
	var wg sync.WaitGroup
	for _, a := range from {
		for _, b := range to {
			wg.Go(func() { f(a, b) })
		}
	}
	wg.Wait()
}

// mustArrive fails unless every host gets every service's answer, and the service
// saw the hub's address.
func mustArrive(t *testing.T, l *Lab, from, to []string) {
	t.Helper()
	eachPair(from, to, func(a, b string) {
		h, _ := l.Spec.Host(b)
		hub, _ := l.Host(HostHub)
		want := fmt.Sprintf("vpc=%s host=%s client=%s\n", l.Spec.VPCName(h), b, hub.Addresses[0])
		var got string
		var err error
		ctx, cancel := context.WithTimeout(t.Context(), arrives)
		defer cancel()
		if await(ctx, "", func() bool { got, err = ask(ctx, l, a, b, "3"); return got == want }) != nil {
			t.Errorf("%s to %s: got %q, %v; want %q; drops: %v", a, b, got, err, want, drops(l))
		}
	})
}

// mustDrop fails unless every request is refused and the drops at that place for
// that reason rose meanwhile.
func mustDrop(t *testing.T, l *Lab, from, to []string, place, reason string) {
	t.Helper()
	before := count(t, l, place, reason)
	eachPair(from, to, func(a, b string) {
		if got, err := ask(t.Context(), l, a, b, refused); err == nil {
			t.Errorf("%s to %s: arrived (%q); want a drop at %s: %s", a, b, got, place, reason)
		}
	})
	want := before + uint64(len(from)*len(to))
	// On a busy machine a packet may be on its way still when its sender has given up.
	ctx, cancel := context.WithTimeout(t.Context(), arrives)
	defer cancel()
	if await(ctx, "", func() bool { return count(t, l, place, reason) >= want }) != nil {
		t.Errorf("%v to %v: drops at %s for %s rose from %d to %d; want at least %d; drops: %v",
			from, to, place, reason, before, count(t, l, place, reason), want, drops(l))
	}
}

// count reads how many packets a place has dropped for a reason.
func count(t *testing.T, l *Lab, place, reason string) uint64 {
	t.Helper()
	if reason == ReasonNotForwarding {
		n, err := NotForwarded(t.Context(), l.Spec.Prefix+place)
		must(t, err)
		return n
	}
	for _, d := range l.Drops() {
		if d.Name == place && d.Reason == reason {
			return d.Count
		}
	}
	return 0
}

// drops lists what was dropped, without the noise of IPv6 neighbours.
func drops(l *Lab) []string {
	var out []string
	for _, d := range l.Drops() {
		if d.Reason != fabric.ReasonBroadcast {
			out = append(out, fmt.Sprintf("%s %s %d (%s)", d.Name, d.Reason, d.Count, d.Last))
		}
	}
	return out
}

func others(all, some []string) []string {
	var out []string
	for _, a := range all {
		if !strings.Contains(" "+strings.Join(some, " ")+" ", " "+a+" ") {
			out = append(out, a)
		}
	}
	return out
}

func mustPing(t *testing.T, l *Lab) {
	t.Helper()
	for _, from := range Talkers() {
		_, err := fabric.Exec(t.Context(), l.Spec.Prefix+from, "ping", "-c1", "-W5", l.Spec.Services[0].Address().String())
		must(t, err)
	}
}

// mustEcho checks the echo services, which answer with the name of their own VPC.
func mustEcho(t *testing.T, l *Lab) {
	t.Helper()
	for _, svc := range l.Spec.Services[:2] {
		for _, flags := range []string{"-N", "-u -W1"} {
			out, err := fabric.Exec(t.Context(), l.Spec.Prefix+HostLaptop1, "sh", "-c",
				fmt.Sprintf("echo hello | nc -w5 %s %s 7", flags, svc.Address()))
			must(t, err)
			if want := svc.Host + ": hello\n"; out != want {
				t.Errorf("echo (nc %s) at %s: got %q, want %q", flags, svc.Host, out, want)
			}
		}
	}
}
