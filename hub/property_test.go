package hub_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

// world makes random topologies: few VPCs, few prefixes, so that they meet often.
type world struct{ *rand.Rand }

func newWorld(seed int64) world { return world{rand.New(rand.NewSource(seed))} }

func pick[T any](w world, list ...T) T { return list[w.Intn(len(list))] }

// prefix is mostly ordinary, sometimes one that must be refused or is none.
func (w world) prefix() netip.Prefix {
	switch w.Intn(12) {
	case 0:
		return pick(w, pfxs("10.100.0.0/16", "10.100.4.0/24", "172.27.240.0/22", "172.27.0.0/16", "192.168.0.0/16", "192.168.77.0/28",
			"0.0.0.0/0", "8.8.8.0/24", "169.254.169.0/24", "100.64.0.0/16", "10.0.0.0/8", "10.110.0.0/30", "10.99.0.0/24", "2600::/56")...)
	case 1:
		return netip.Prefix{}
	}
	bits := pick(w, 16, 16, 17, 20, 24, 28)
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(110 + w.Intn(6)), byte(w.Intn(4) * 64), byte(w.Intn(2) * 16)}), bits)
}

func (w world) account() hub.AccountID {
	return pick(w, billing, hub.AccountID("333333333333"), hubAccount, hub.AccountID("888888888888"), hub.AccountID("999999999999"))
}

func (w world) peering(n int) hub.Peering {
	p := pcx(n, w.account())
	p.Peer.VPC = hub.VPCID(fmt.Sprintf("vpc-%d", n%12)) // several peerings of one VPC
	p.Name = pick(w, "", "", "shop", "infra-tokyo", "日本")
	p.State = pick(w, hub.PeeringActive, hub.PeeringActive, hub.PeeringActive, hub.PeeringActive, hub.PeeringPending, hub.PeeringProvisioning,
		hub.PeeringDeleted, hub.PeeringFailed, "hibernating")
	if p.State == hub.PeeringActive {
		for range w.Intn(4) {
			p.Peer.Prefixes = append(p.Peer.Prefixes, w.prefix())
		}
		if w.Intn(20) == 0 {
			p.Peer.Bad = []string{"10.1.2.3/99"}
		}
	}
	return p
}

func (w world) topology() hub.Topology {
	var ps []hub.Peering
	active := make(map[hub.VPCID]bool)
	for n := range 1 + w.Intn(20) {
		p := w.peering(n + 1)
		if p.State == hub.PeeringActive && active[p.Peer.VPC] {
			p.State, p.Peer.Prefixes = hub.PeeringDeleted, nil // one active peering between two VPCs
		}
		active[p.Peer.VPC] = active[p.Peer.VPC] || p.State == hub.PeeringActive
		ps = append(ps, p)
	}
	t := topology(ps...)
	for _, p := range ps {
		if w.Intn(2) == 0 && !slices.ContainsFunc(t.Tables, func(x hub.Table) bool { return x.VPC == p.Peer.VPC }) {
			t = seeing(t, p, "rtb-s-"+string(p.Peer.VPC))
		}
		if w.Intn(4) == 0 && len(p.Peer.Prefixes) > 0 {
			t.Tables[1].Routes = append(t.Tables[1].Routes, hub.Route{Destination: p.Peer.Prefixes[0], Target: string(p.ID)})
		}
	}
	return t
}

func (w world) policy() hub.Policy {
	p := policy()
	p.ListedOnly = w.Intn(8) == 0
	p.HubTables.Kind = pick(w, hub.TablesOwnSubnet, hub.TablesAll)
	p.ReturnRoute = pick(w, hub.ReturnSubnet, hub.ReturnAddress, hub.ReturnVPC)
	if w.Intn(4) == 0 {
		p.Allow = pfxs("100.64.0.0/10", "8.8.0.0/16")
	}
	if w.Intn(4) == 0 {
		p.Accounts[billing] = hub.Account{Name: "billing", Exclude: pfxs("10.112.0.0/15"), Role: hub.RoleNone}
	}
	return p
}

func (w world) shuffled(t hub.Topology) hub.Topology {
	t.Peerings, t.Tables, t.Sources = slices.Clone(t.Peerings), slices.Clone(t.Tables), slices.Clone(t.Sources)
	shuffle(w, t.Peerings)
	shuffle(w, t.Tables)
	shuffle(w, t.Sources)
	for i := range t.Peerings {
		t.Peerings[i].Peer.Prefixes = slices.Clone(t.Peerings[i].Peer.Prefixes)
		shuffle(w, t.Peerings[i].Peer.Prefixes)
	}
	return t
}

func shuffle[T any](w world, list []T) {
	w.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
}

var legalName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,63}$`)

// sound says what is wrong with a want, whatever led to it.
func sound(d hub.Desired, p hub.Policy, mem hub.Remembered) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	forbidden := append(slices.Clone(p.Protect), p.VPNs[0].Pools...)
	for _, s := range p.VPNs[0].Sites {
		forbidden = append(forbidden, s.Networks...)
	}
	for i, r := range d.Reaches {
		if r.Spoke == "vpc-hub" {
			continue
		}
		if r.Prefix != r.Prefix.Masked() || r.Prefix.Bits() < 16 || r.Prefix.Bits() > 28 {
			wrong("%s is no prefix of a VPC", r.Prefix)
		}
		for _, q := range append(forbidden, pfxs("10.100.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "224.0.0.0/3")...) {
			if r.Prefix.Overlaps(q) {
				wrong("%s overlaps %s", r.Prefix, q)
			}
		}
		for _, o := range d.Reaches[:i] {
			if o.Prefix.Overlaps(r.Prefix) {
				wrong("%s of %s overlaps %s of %s", o.Prefix, o.Spoke, r.Prefix, r.Spoke)
			}
		}
		if uint16(r.Mark&hub.MarkSpokeMask) != mem.Numbers[r.Spoke] || r.Mark>>24 != 1 {
			wrong("mark %#x of %s", r.Mark, r.Spoke)
		}
	}
	names, numbers := make(map[string]bool), make(map[uint16]bool)
	for _, s := range d.Spokes {
		if !legalName.MatchString(s.Name) || names[s.Name] || numbers[s.Number] || s.Number == 0 {
			wrong("spoke %+v", s)
		}
		names[s.Name], numbers[s.Number] = true, true
	}
	places := make(map[string]bool)
	for _, r := range d.Routes {
		place := string(r.Table) + r.Destination.String()
		if places[place] || r.Peering == "" || r.Table == "rtb-edge" {
			wrong("route %+v", r)
		}
		places[place] = true
	}
	return errors.Join(errs...)
}

func TestDecideIsSoundAndDoesNotDependOnOrder(t *testing.T) {
	for seed := range int64(400) {
		w := newWorld(seed)
		pol, topo := w.policy(), w.topology()
		_, _, mem := hub.Decide(w.policy(), w.topology(), hub.Remembered{}) // a past of its own
		want, problems, after := hub.Decide(pol, topo, mem)
		if err := sound(want, pol, after); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		want2, problems2, after2 := hub.Decide(pol, w.shuffled(topo), mem)
		if !want2.Equal(want) || !after2.Equal(after) || !slices.Equal(problems, problems2) {
			t.Fatalf("seed %d: another order, another answer (-first +shuffled):\n%s%s", seed, cmp.Diff(want, want2, values), cmp.Diff(problems, problems2))
		}
		want3, _, after3 := hub.Decide(pol, topo, after)
		if !want3.Equal(want) || !after3.Equal(after) {
			t.Fatalf("seed %d: asked again (-first +second):\n%s", seed, cmp.Diff(want, want3, values))
		}
	}
}

// A holder that stays active, and that the config does not speak against, is never changed.
func TestNobodyTakesAPrefixFromAnActiveHolder(t *testing.T) {
	for seed := range int64(150) {
		w := newWorld(seed)
		first := w.topology()
		before, _, mem := hub.Decide(policy(), first, hub.Remembered{})
		second := first
		second.Peerings = slices.Clone(first.Peerings)
		for n := range 10 {
			p := w.peering(100 + n)
			p.ID = hub.PeeringID(fmt.Sprintf("pcx-0%d", n)) // lower ids
			p.Peer.VPC = hub.VPCID(fmt.Sprintf("vpc-new-%d", n))
			second.Peerings = append(second.Peerings, p)
		}
		after, _, _ := hub.Decide(policy(), w.shuffled(second), mem)
		for _, r := range before.Reaches {
			if !slices.ContainsFunc(after.Reaches, func(o hub.Reach) bool { return o.Spoke == r.Spoke && o.Prefix == r.Prefix && o.Mark == r.Mark }) {
				t.Fatalf("seed %d: %s lost %s", seed, r.Spoke, r.Prefix)
			}
		}
	}
}

func TestWhatTheGuardLetsThroughIsSound(t *testing.T) {
	for seed := range int64(100) {
		w := newWorld(seed)
		s := newStory(t)
		for step := range 12 {
			s.policy = w.policy()
			topo := survey(w.topology(), uint64(step+1))
			topo.Sources[0].Fresh = w.Intn(5) > 0
			if w.Intn(10) == 0 {
				topo = hub.Topology{}
			}
			s.allow = w.Intn(10) == 0
			s.with(topo)
			if err := sound(s.verdict.Desired, s.policy, s.mem); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
		}
	}
}

func TestApplyingADiffYieldsTheWantAndTwiceChangesNothing(t *testing.T) {
	for seed := range int64(500) {
		w := newWorld(seed)
		some := func() []hub.Object {
			var out []hub.Object
			for n := range 12 {
				if w.Intn(2) == 0 {
					out = append(out, hub.Object{Key: fmt.Sprintf("k%02d", n), Value: pick(w, "a", "b"), Hold: w.Intn(6) == 0})
				}
			}
			shuffle(w, out)
			return out
		}
		want, have := some(), some()
		got, held := make(map[string]string), make(map[string]bool)
		for _, h := range have {
			got[h.Key] = h.Value
			held[h.Key] = held[h.Key] || h.Hold
		}
		expect := make(map[string]string)
		for _, o := range want {
			held[o.Key] = held[o.Key] || o.Hold
			expect[o.Key] = o.Value
		}
		for key := range held {
			if held[key] { // as it was
				delete(expect, key)
				if v, ok := got[key]; ok {
					expect[key] = v
				}
			}
		}
		for _, c := range hub.Diff(want, have) {
			if c.Verb == hub.VerbRemove {
				delete(got, c.Object)
			} else {
				got[c.Object] = c.Detail
			}
		}
		if diff := cmp.Diff(expect, got); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
		var now []hub.Object
		for key, v := range got {
			now = append(now, hub.Object{Key: key, Value: v, Hold: held[key]})
		}
		if again := hub.Diff(want, now); len(again) != 0 {
			t.Fatalf("seed %d: a second time: %v", seed, again)
		}
	}
}

// Whatever happened on the way, the places end as a fresh start with the same memory would
// leave them, and no plane is ever ahead of those before it.
func TestARandomWalkEndsWhereAFreshStartEnds(t *testing.T) {
	for seed := range int64(40) {
		w := newWorld(seed)
		r := newRig(t)
		for range 10 {
			r.survey++
			r.in.Topology = survey(w.topology(), r.survey)
			r.in.Topology.Sources[0].Fresh = w.Intn(6) > 0
			r.in.Policy = w.policy()
			r.in.AllowRemovals = w.Intn(3) == 0
			for _, p := range r.planes {
				p.readErr, p.refuses, p.keeps = nil, "", ""
				switch w.Intn(8) {
				case 0:
					p.readErr = errors.New("cannot be read")
				case 1:
					p.refuses = pick(w, ".112.", ".113.", "10.1")
				case 2:
					p.keeps = pick(w, ".112.", ".113.", "10.1")
				}
			}
			if w.Intn(6) == 0 {
				r.start()
			}
			standing := r.standing()
			r.again()
			if err := ordered(standing, r.place.written()); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if w.Intn(3) == 0 {
				r.rec.Repair(context.Background(), pick(w, hub.Planes[:]...))
			}
		}
		for _, p := range r.planes {
			p.readErr, p.refuses, p.keeps = nil, "", ""
		}
		r.in.AllowRemovals = true
		last := w.topology() // without states that would keep the past for ever
		last.Peerings = slices.DeleteFunc(last.Peerings, func(p hub.Peering) bool { return p.State != hub.PeeringActive })
		r.next(last.Peerings...).next(last.Peerings...)

		fresh := newRig(t)
		fresh.in.Policy, fresh.in.Remembered = r.in.Policy, r.in.Remembered
		fresh.next(last.Peerings...)
		for _, plane := range hub.Planes {
			if diff := cmp.Diff(fresh.place.keys(plane), r.place.keys(plane), values); diff != "" {
				t.Fatalf("seed %d, %s (-fresh +walked):\n%s", seed, plane, diff)
			}
		}
		r.place.written()
		if r.again().wrote(); t.Failed() {
			t.Fatalf("seed %d: it is not done", seed)
		}
	}
}

// standing returns what each plane has, as "plane object".
func (r *rig) standing() map[string]bool {
	out := make(map[string]bool)
	for _, plane := range hub.Planes {
		for _, key := range r.place.keys(plane) {
			out[string(plane)+" "+key] = true
		}
	}
	return out
}

// ordered replays a pass: whatever clients come to hear of has its way through the hub.
func ordered(standing map[string]bool, log []string) error {
	for _, line := range log {
		plane, rest, _ := strings.Cut(line, " ")
		verb, object, _ := strings.Cut(rest, " ")
		standing[plane+" "+object] = verb != "remove"
		if verb != "add" || !strings.HasPrefix(object, "reach") {
			continue
		}
		for _, before := range []string{"kroute", "masq"} {
			if before == plane {
				break
			}
			if !standing[before+" "+object] {
				return fmt.Errorf("%s: %s does not have it", line, before)
			}
		}
	}
	return nil
}
