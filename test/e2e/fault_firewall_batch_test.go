package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/google/nftables"

	"peerhub/hub"
	"peerhub/hub/state"
	"peerhub/masq"
	"peerhub/test/lab"
)

// batchPrefixes is more than AWS lets a hub VPC's peerings have.
const batchPrefixes = 10_000

var faultsOfBatches = []fault{{
	id: "F27", name: "10,000 prefixes come, change and go at once",
	inject: "hublab unit kill hubd\non-hub nft delete element inet hubd spokes4 \"{ $SVC1_CIDR }\"\n" +
		"# then hubd's own plane, in a process of its own, is given its last want and 10,000 prefixes more",
	expect:  "each step is one batch, no EMSGSIZE, no ENOBUFS; nft counts every element; what stood before loses no packet",
	control: "our own encoding and buffers (google/nftables' own calls, hubd killed, ownership plain)",
	run: func(s *scene) {
		s.inject()
		want := s.lastWant()
		p, end := s.plane(hub.Ownership(s.mode))
		for _, step := range []struct {
			name string
			mark uint32
			more int
		}{{"come", 1<<24 | 200, batchPrefixes}, {"change", 1<<24 | 201, batchPrefixes}, {"go", 0, 0}} {
			s.clock()
			s.reach(p, withMore(want, step.more, step.mark))
			if n := s.elements(step.mark); n != step.more {
				s.t.Errorf("they %s: nft counts %d elements, want %d", step.name, n, step.more)
			}
			if step.more > 0 {
				s.probes[1].more(10)
			}
		}
		if err := s.arrives(lab.HostLaptop1, "svc1"); err != nil {
			s.t.Errorf("the prefix among the 10,000 that somebody had taken out: %v", err)
		}
		end()
		s.clock()
		s.paste("hublab unit start hubd")
		s.converged("hubd has nothing to do", s.quiet)
		s.afterPolls(2)
		s.reaches(everybody, s.Spec.Targets())
		s.saw("10,000 elements came, changed and went, counted by nft")
	},
	off: func(g *stage) { g.mode = "plain" },
	harm: func(s *scene) string {
		s.inject()
		err := s.addByLibrary(withMore(s.lastWant(), batchPrefixes, 1<<24|200))
		n := s.elements(1<<24 | 200)
		s.stops(lab.HostLaptop1, "svc1")
		return fmt.Sprintf("the call ended with %v, %d of 10,000 elements arrived, and a prefix among them stayed unreachable", err, n)
	},
}}

// lastWant is what hubd wanted last, as its state has it.
func (s *scene) lastWant() hub.Desired {
	s.t.Helper()
	st, err := state.OpenCopy(s.statePath())
	s.must(err)
	want, err := st.LoadDesired(s.t.Context())
	s.must(err)
	s.must(st.Close())
	if want == nil || len(want.Reaches) == 0 {
		s.t.Fatalf("hubd's state has no want: %v", want)
	}
	return *want
}

// withMore is a want with that many prefixes more.
func withMore(want hub.Desired, more int, mark uint32) hub.Desired {
	want.Reaches = slices.Clone(want.Reaches)
	for i := range more {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(130 + i/256), byte(i), 0}), 24)
		want.Reaches = append(want.Reaches, hub.Reach{Spoke: "vpc-many", Name: "many", Prefix: p, Real: p, Egress: want.Base.Egresses[0].ID, Mark: mark})
	}
	slices.SortFunc(want.Reaches, func(a, b hub.Reach) int { return hub.ComparePrefixes(a.Prefix, b.Prefix) })
	return want
}

// plane opens hubd's nftables plane on the hub; end closes it as the end of hubd does.
func (s *scene) plane(o hub.Ownership) (p *masq.Plane, end func()) {
	s.t.Helper()
	ns, err := os.Open("/run/netns/" + s.ns(lab.HostHub))
	s.must(err)
	p, err = masq.Open(s.t.Context(), masq.Options{NetNS: int(ns.Fd()), Ownership: o})
	s.must(err)
	return p, func() {
		s.t.Helper()
		s.must(p.Close())
		s.must(ns.Close())
	}
}

// reach brings the plane to a want in one go.
func (s *scene) reach(p *masq.Plane, want hub.Desired) {
	s.t.Helper()
	v, err := p.Observe(s.t.Context())
	s.must(err)
	after, err := p.Apply(s.t.Context(), v, v.Plan(want))
	s.must(err)
	if left := after.Plan(want); len(left) > 0 {
		s.t.Errorf("left to do: %d changes, the first %+v", len(left), left[0])
	}
}

// elements counts, as nft lists them, the prefixes with a mark.
func (s *scene) elements(mark uint32) int {
	s.t.Helper()
	var out struct {
		Nftables []struct{ Map struct{ Elem [][2]any } }
	}
	s.must(json.Unmarshal([]byte(s.sh(lab.HostHub, "nft -j list map inet hubd spokes4")), &out))
	n := 0
	for _, o := range out.Nftables {
		for _, e := range o.Map.Elem {
			if v, ok := e[1].(float64); ok && uint32(v) == mark {
				n++
			}
		}
	}
	return n
}

// addByLibrary adds a want's prefixes as the library's example does it.
func (s *scene) addByLibrary(want hub.Desired) error {
	s.t.Helper()
	ns, err := os.Open("/run/netns/" + s.ns(lab.HostHub))
	s.must(err)
	defer ns.Close()
	c, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	s.must(err)
	set, err := c.GetSetByName(&nftables.Table{Family: nftables.TableFamilyINet, Name: masq.DefaultTable}, "spokes4")
	s.must(err)
	var elements []nftables.SetElement
	for _, r := range want.Reaches {
		first := r.Prefix.Addr().As4()
		end := first
		for i := range end { // the first address after a prefix of whole bytes
			if i == r.Prefix.Bits()/8-1 {
				end[i]++
			}
		}
		mark := []byte{byte(r.Mark), byte(r.Mark >> 8), byte(r.Mark >> 16), byte(r.Mark >> 24)}
		elements = append(elements, nftables.SetElement{Key: first[:], Val: mark}, nftables.SetElement{Key: end[:], IntervalEnd: true})
	}
	if err := c.SetAddElements(set, elements); err != nil {
		return err
	}
	return c.Flush()
}
