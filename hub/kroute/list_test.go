package kroute

import (
	"maps"
	"math/rand"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

// byValue lets cmp compare routes and prefixes by their own equality.
var byValue = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b route) bool { return a == b }),
}

func randomKey(r *rand.Rand, n int) routeKey {
	i := r.Intn(n)
	return routeKey{Table: closedTable + uint32(i%2), Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24), Metric: uint32(i % 3)}
}

// contents is what a list has, in its order.
func contents(l list) []route {
	var out []route
	for _, r := range l.all() {
		out = append(out, *r)
	}
	return out
}

// A list is a sorted map, whichever way it was changed, and what it was made from stays.
func TestAListIsASortedMap(t *testing.T) {
	for seed := range int64(16) {
		r := rand.New(rand.NewSource(seed))
		space := 20 + r.Intn(900) // few keys meet often, many fill several blocks
		model := map[routeKey]route{}
		var l list
		for range 25 {
			before, was := l, contents(l)
			switch r.Intn(4) {
			case 0:
				x := route{randomKey(r, space), hop{Dev: string(rune('a' + r.Intn(4)))}}
				l, model[x.routeKey] = l.with(x), x
			case 1:
				k := randomKey(r, space)
				l = l.without(k)
				delete(model, k)
			default:
				var edits []edit
				for range r.Intn(2 * space) {
					x := route{randomKey(r, space), hop{Dev: string(rune('a' + r.Intn(4)))}}
					if r.Intn(3) == 0 {
						edits = append(edits, edit{key: x.routeKey})
						delete(model, x.routeKey)
					} else {
						edits = append(edits, edit{x.routeKey, &x})
						model[x.routeKey] = x
					}
				}
				l = l.edited(edits)
			}
			want := slices.SortedFunc(maps.Values(model), func(a, b route) int { return compareKeys(&a.routeKey, &b.routeKey) })
			if got := contents(l); !slices.Equal(want, got) {
				t.Fatalf("seed %d (-model +list):\n%s", seed, cmp.Diff(want, got, byValue))
			}
			if now := contents(before); !slices.Equal(was, now) {
				t.Fatalf("seed %d: the list it was made from changed (-before +after):\n%s", seed, cmp.Diff(was, now, byValue))
			}
			if l.n != len(model) {
				t.Fatalf("seed %d: %d routes counted, %d there", seed, l.n, len(model))
			}
			for range 20 {
				k := randomKey(r, space)
				at, found := l.find(k)
				if _, there := model[k]; found != there || found && l.get(at).routeKey != k {
					t.Fatalf("seed %d: %+v: there %t, found %t", seed, k, there, found)
				}
			}
		}
	}
}

func TestOfTwoRoutesWithOneKeyTheFirstStays(t *testing.T) {
	k := func(i byte) routeKey {
		return routeKey{Table: 26741, Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, i, 0, 0}), 16)}
	}
	got := contents(newList([]route{{k(3), hop{Dev: "a"}}, {k(1), hop{Dev: "b"}}, {k(3), hop{Dev: "c"}}, {k(1), hop{Dev: "d"}}}))
	if diff := cmp.Diff([]route{{k(1), hop{Dev: "b"}}, {k(3), hop{Dev: "a"}}}, got, byValue); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What Apply says it reached is worked out, not read. It is what a reading finds.
func TestWhatApplyReachedIsWhatTheKernelHas(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	watched(t, p, nil)
	r := rand.New(rand.NewSource(1))
	for round := range 25 {
		d := twoWays()
		d.Reaches = nil
		share := r.Intn(4) // small and large steps
		for i := range 400 {
			if r.Intn(4) < share {
				continue
			}
			way := r.Intn(2)
			a := netip.AddrFrom4([4]byte{10, 200, byte(i >> 4), byte(i << 4)})
			d.Reaches = append(d.Reaches, reach("vpc-x", a.String()+"/28", []string{"eth0", "eth1"}[way], uint32(way+1)))
		}
		if r.Intn(3) == 0 {
			d.Base.Tunnels = d.Base.Tunnels[:1]
		}
		if r.Intn(3) == 0 {
			d.Base.Egresses[0].Gateway = netip.MustParseAddr("10.100.0.2")
		}
		pass(t, p, d)
		if round%5 == 4 { // somebody else takes one away: the next view must not be of before
			n.run("ip", "route", "del", d.Reaches[0].Prefix.String(), "table", tableText(table(uint8(d.Reaches[0].Mark>>24))))
			eventually(t, "the event of the removal", p.stale.Load)
			if changes := pass(t, p, d); len(changes) != 1 || changes[0].Verb != hub.VerbAdd {
				t.Fatalf("round %d: one route was taken away, the changes are %v", round, changes)
			}
		}
		reached := p.seen
		found, err := p.conn.read(p.in)
		if err != nil {
			t.Fatal(err)
		}
		if f, r := contents(found.routes), contents(reached.routes); !slices.Equal(f, r) {
			t.Fatalf("round %d, routes (-kernel +reached):\n%s", round, cmp.Diff(f, r, byValue))
		}
		if diff := cmp.Diff(found.rules, reached.rules); diff != "" {
			t.Fatalf("round %d, rules (-kernel +reached):\n%s", round, diff)
		}
	}
}

func TestOfTwoWantsForOnePlaceTheFirstCounts(t *testing.T) {
	d := twoWays()
	d.Base.Tunnels = nil
	d.Reaches = append(d.Reaches, reach("vpc-late", "10.110.0.0/16", "eth0", 1), reach("vpc-held", "10.130.0.0/16", "eth0", 1))
	d.Reaches[3].Hold = true
	for _, c := range []struct {
		name  string
		have  []route
		spoke hub.SpokeID
		count int
	}{
		{"neither is there", nil, "vpc-a", 1},
		{"the first is there", []route{{routeKey{Table: 26741, Dst: d.Reaches[0].Prefix}, hop{Via: d.Base.Egresses[0].Gateway, Dev: "eth0"}}}, "", 0},
		{"another one is there", []route{{routeKey{Table: 26741, Dst: d.Reaches[0].Prefix}, hop{Dev: "eth1"}}}, "vpc-a", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := &view{routes: newList(c.have)}
			var got []hub.Change
			for _, x := range v.Plan(d) {
				if x.Object == "route 10.110.0.0/16 table 26741" {
					got = append(got, x)
				}
			}
			if len(got) != c.count || c.count > 0 && got[0].Unit.Spoke != c.spoke {
				t.Errorf("want %d changes of %q, got %v", c.count, c.spoke, got)
			}
		})
	}
}
