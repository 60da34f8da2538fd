package masq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"peerhub/hub"

	"golang.org/x/sys/unix"
)

// dialMany opens TCP connections one after the other until n stand or one is refused.
func (n *ns) dialMany(t *testing.T, addr string, count int) (open int) {
	t.Helper()
	n.inside(t, func() error {
		d := net.Dialer{Timeout: 2 * time.Second}
		for open < count {
			c, err := d.DialContext(t.Context(), "tcp4", addr)
			if err != nil {
				return nil
			}
			t.Cleanup(func() { _ = c.Close() })
			open++
		}
		return nil
	})
	return open
}

// A source that has its share of flows gets no more, while others and its own standing
// flows go on; what has ended does not count. The control is the same without the limit.
func TestASourceHasALimit(t *testing.T) {
	t.Parallel()
	const limit = 20
	for _, max := range []int{limit, 0} {
		t.Run(fmt.Sprint(max), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, hub.OwnershipPlain)
			r.beyond.serve(t, 9000, beyondHosts...)
			want := sample()
			want.Base.MaxFlows = max
			want.Base.Tunnels[1].Other = hub.OtherDrop
			syncTo(t, r.p, want)
			flow := r.client.udp(t, billingHost+":9000")
			flow.talk(t, "one", " one")
			opened := r.client.dialMany(t, billingHost+":9000", 2*limit)
			drops := r.drops(t)["drop_limit"].Packets
			if max == 0 {
				if opened != 2*limit || drops > 0 {
					t.Errorf("%d connections were made without a limit, %d packets dropped", opened, drops)
				}
				return
			}
			if opened != limit-1 || drops == 0 {
				t.Errorf("%d connections beside one flow were made with a limit of %d, %d packets dropped", opened, limit, drops)
			}
			flow.talk(t, "two", " two")
			r.client2.run(t, pingOnce+billingHost)
			if out := r.hub.run(t, "nft list set inet hubd flows"); !strings.Contains(out, clientHost+" ct count over 20") {
				t.Errorf("the set of flows:\n%s", out)
			}
			r.hub.run(t, "conntrack -D -p tcp 2>&1")
			if again := r.client.dialMany(t, dataHost+":9000", 3); again != 3 {
				t.Errorf("%d of 3 connections were made when others had ended", again)
			}
			// A new limit takes effect at once; a table with that set in use can be saved and loaded.
			want.Base.MaxFlows = 2 * limit
			syncTo(t, r.p, want)
			r.hub.run(t, "nft list table inet hubd | unshare -n nft -f -")
		})
	}
}

// The kernel's refusals are told by name, and the table does without.
func TestWhatTheKernelLacks(t *testing.T) {
	t.Parallel()
	n := newNS(t, "hub")
	p := open(t, n, hub.OwnershipPersist)
	if a := p.abilities; !a.own || !a.persist || !a.fullyRandom || !a.count {
		t.Fatalf("abilities of this kernel: %+v", a)
	}
	p.abilities = abilities{own: true}
	syncTo(t, p, sample())
	v, _ := plan(t, p, sample())
	var words []string
	for _, problem := range v.(*View).Problems(sample()) {
		if problem.Code != hub.KernelLacks || problem.Mend == "" {
			t.Errorf("%+v", problem)
		}
		words = append(words, problem.Detail)
	}
	for _, w := range []string{"persist", "max_flows", "fully-random"} {
		if !strings.Contains(strings.Join(words, "\n"), w) {
			t.Errorf("no word of %s in %q", w, words)
		}
	}
	out := n.run(t, "nft list table inet hubd")
	if strings.Contains(out, "fully-random") || !strings.Contains(out, ":2048-65535 random") || strings.Contains(out, "ct count") {
		t.Errorf("the table:\n%s", out)
	}
	if _, err := probe(p.sock, p.table, fstest.MapFS{}); err != nil {
		t.Errorf("probe beside a table: %v", err)
	}
	// A kernel that refuses is not one that fails: an expression nobody has.
	refused, err := p.sock.check([]request{newTable("hubd_probe", 1<<15, "")})
	if err != nil || !errors.Is(refused[0], unix.EOPNOTSUPP) && !errors.Is(refused[0], unix.EINVAL) {
		t.Errorf("an unknown table flag: %v, %v", refused, err)
	}
}

func TestShapesThroughNotes(t *testing.T) {
	t.Parallel()
	for _, s := range []shape{{}, {fullyRandom: true}, {maxFlows: 8192}, {maxFlows: 1, fullyRandom: true}} {
		if got, ok := shapeOf(s.note()); !ok || got != s {
			t.Errorf("%+v: %q is %+v, %t", s, s.note(), got, ok)
		}
	}
	for _, note := range []string{"", "peerhub skeleton 3", "peerhub skeleton 4 max-flows x", "peerhub skeleton 4 max-flows", "somebody's"} {
		if s, ok := shapeOf(note); ok {
			t.Errorf("%q is %+v", note, s)
		}
	}
}

// The alarms of a filling connection table.
func TestConntrackFills(t *testing.T) {
	t.Parallel()
	n := newNS(t, "hub")
	p := open(t, n, hub.OwnershipPlain)
	o, err := p.Conntrack(context.Background())
	if err != nil || o.Limit == 0 {
		t.Fatalf("%+v, %v", o, err)
	}
	for entries, want := range map[uint32]string{0: "", 799: "", 800: "80 %", 949: "80 %", 950: "95 %", 1000: "95 %"} {
		v := &View{state: &state{}, table: "hubd", occupied: Occupancy{entries, 1000}, abilities: p.abilities}
		ps := v.Problems(hub.Desired{})
		if want == "" && len(ps) == 0 {
			continue
		}
		if len(ps) != 1 || ps[0].Code != hub.ConntrackFull || !strings.Contains(ps[0].Detail, want) {
			t.Errorf("%d of 1000: %+v", entries, ps)
		}
	}
}
