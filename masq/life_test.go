package masq

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"peerhub/hub"

	"github.com/google/go-cmp/cmp"

	"golang.org/x/sys/unix"
)

// without returns the sample without the reaches that match.
func without(gone func(hub.Reach) bool) hub.Desired {
	w := sample()
	w.Reaches = slices.DeleteFunc(w.Reaches, gone)
	return w
}

// Running flows of a removed spoke stop with the apply that removes it, those of its
// neighbour go on; when it comes back, so does the client's socket.
func TestRemovingASpokeStopsItsFlows(t *testing.T) {
	t.Parallel()
	r := newRig(t, hub.OwnershipPlain)
	r.beyond.serve(t, 9000, beyondHosts...)
	syncTo(t, r.p, sample())
	gone := r.client.udp(t, billingHost+":9000")
	stays := r.client.udp(t, dataHost+":9000")
	gone.talk(t, "one", " one")
	stays.talk(t, "one", " one")
	entries := func() string { return r.hub.run(t, "conntrack -L -p udp 2>/dev/null") }
	if out := entries(); !strings.Contains(out, billingHost) || !strings.Contains(out, dataHost) {
		t.Fatalf("conntrack does not have both flows:\n%s", out)
	}
	syncTo(t, r.p, without(func(r hub.Reach) bool { return r.Mark == billing }))
	if out := entries(); strings.Contains(out, billingHost) || !strings.Contains(out, dataHost) {
		t.Errorf("conntrack after the removal:\n%s", out)
	}
	before := r.drops(t)["drop_other"].Packets
	gone.send(t, "two")
	await(t, "the next datagram is dropped", func() bool { return r.drops(t)["drop_other"].Packets > before })
	stays.talk(t, "two", " two")
	if strings.Contains(gone.output(), " two") {
		t.Error("the removed spoke answered")
	}
	syncTo(t, r.p, sample())
	gone.talk(t, "three", " three")
}

// The gate alone stops a flow whose mark is no longer live, before conntrack forgets it:
// this is what happens between the batch and the deletion.
func TestTheGateStopsARemovedMark(t *testing.T) {
	t.Parallel()
	r := newRig(t, hub.OwnershipPlain)
	r.beyond.serve(t, 9000, beyondHosts...)
	syncTo(t, r.p, sample())
	flow := r.client.udp(t, billingHost+":9000")
	flow.talk(t, "one", " one")
	r.hub.run(t, fmt.Sprintf("nft delete element inet hubd out { 0x%x }", billing))
	flow.send(t, "two")
	await(t, "drop_removed rises", func() bool { return r.drops(t)["drop_removed"].Packets == 1 })
	// It is somebody else's doing, so it is repaired.
	changes := syncTo(t, r.p, sample())
	if len(changes) != 1 || changes[0].Object != "element out "+markText(billing) {
		t.Errorf("repair: %+v", changes)
	}
	flow.talk(t, "three", " three")
}

// When a spoke loses one prefix its flows there go, the others stay.
func TestRemovingAPrefixStopsItsFlowsOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t, hub.OwnershipPlain)
	r.beyond.serve(t, 9000, beyondHosts...)
	syncTo(t, r.p, sample())
	stays := r.client.udp(t, billingHost+":9000")
	gone := r.client.udp(t, billingHost2+":9000")
	gone.talk(t, "one", " one")
	stays.talk(t, "one", " one")
	syncTo(t, r.p, without(func(r hub.Reach) bool { return r.Prefix == prefix("10.111.0.0/16") }))
	out := r.hub.run(t, "conntrack -L -p udp 2>/dev/null")
	if strings.Contains(out, billingHost2) || !strings.Contains(out, billingHost) {
		t.Errorf("conntrack after the removal:\n%s", out)
	}
	stays.talk(t, "two", " two")
}

// Flows of a spoke that went away while nobody ran are found in conntrack at the start.
func TestFlowsOfAForgottenSpokeGoAtTheStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, hub.OwnershipPlain)
	r.beyond.serve(t, 9000, beyondHosts...)
	syncTo(t, r.p, sample())
	gone := r.client.udp(t, billingHost+":9000")
	stays := r.client.udp(t, dataHost+":9000")
	gone.talk(t, "one", " one")
	stays.talk(t, "one", " one")
	if err := r.p.Close(); err != nil {
		t.Fatal(err)
	}
	r.hub.run(t, "nft flush ruleset")
	r.p = open(t, r.hub, hub.OwnershipPlain)
	want := without(func(r hub.Reach) bool { return r.Mark == billing })
	v, changes := plan(t, r.p, want)
	i := slices.IndexFunc(changes, func(c hub.Change) bool { return c.Verb == hub.VerbRemove })
	if i < 0 || changes[i].Object != "flows "+markText(billing) {
		t.Fatalf("plan has no removal of the forgotten flows: %+v", changes)
	}
	if _, err := r.p.Apply(ctx, v, changes); err != nil {
		t.Fatal(err)
	}
	out := r.hub.run(t, "conntrack -L -p udp 2>/dev/null")
	if strings.Contains(out, billingHost) || !strings.Contains(out, dataHost) {
		t.Errorf("conntrack after the start:\n%s", out)
	}
	syncTo(t, r.p, want)
}

// A second apply of the same want writes nothing: nft monitor hears only the marker.
func TestNothingIsWrittenTwice(t *testing.T) {
	t.Parallel()
	for _, mode := range bothModes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			n := newNS(t, "hub")
			p := open(t, n, mode)
			syncTo(t, p, sample())
			mon := n.start(t, "exec nft monitor")
			// The monitor is listening when it reports a change.
			i := 0
			await(t, "nft monitor listens", func() bool {
				i++
				n.run(t, fmt.Sprintf("nft add table inet start%d", i))
				return strings.Contains(mon.output(), "start")
			})
			for range 3 {
				if changes := syncTo(t, p, sample()); len(changes) > 0 {
					t.Errorf("changes: %+v", changes)
				}
			}
			n.run(t, "nft add table inet end")
			mon.await(t, "end")
			for _, line := range strings.Split(mon.output(), "\n") {
				if line != "" && !strings.HasPrefix(line, "add table inet start") && !strings.HasPrefix(line, "add table inet end") &&
					!strings.HasPrefix(line, "# new generation") {
					t.Errorf("nft monitor heard %q", line)
				}
			}
		})
	}
}

// nft prints and parses everything we make, in both modes, empty and full, and nobody
// else's table is touched.
func TestNftReadsWhatIsMade(t *testing.T) {
	t.Parallel()
	const foreign = `table ip foreign {
		set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }
		chain forward { type filter hook forward priority filter; policy accept; ip daddr @s counter packets 7 bytes 9 accept comment "theirs"; }
	}`
	for _, mode := range bothModes {
		for name, want := range map[string]hub.Desired{"empty": {}, "full": sample()} {
			t.Run(string(mode)+" "+name, func(t *testing.T) {
				t.Parallel()
				n := newNS(t, "hub")
				n.run(t, "nft '"+foreign+"'")
				before := n.run(t, "nft -a list ruleset")
				p := open(t, n, mode)
				if got := p.Mode().Ownership; got != mode {
					t.Errorf("mode is %s: %s", got, p.Mode().Why)
				}
				syncTo(t, p, want)
				n.run(t, "nft list ruleset >/dev/null")
				var parsed struct{ Nftables []map[string]json.RawMessage }
				if err := json.Unmarshal([]byte(n.run(t, "nft -j list ruleset")), &parsed); err != nil || len(parsed.Nftables) < 50 {
					t.Errorf("nft -j: %d objects, %v", len(parsed.Nftables), err)
				}
				if got := n.run(t, "nft -a list table ip foreign"); got != before {
					t.Errorf("the foreign table changed:\n%s", cmp.Diff(before, got))
				}
				if err := p.Cleanup(ctx); err != nil {
					t.Fatal(err)
				}
				if got := n.run(t, "nft -a list ruleset"); got != before {
					t.Errorf("after cleanup:\n%s", cmp.Diff(before, got))
				}
				if err := p.Cleanup(ctx); err != nil {
					t.Errorf("a second cleanup: %v", err)
				}
			})
		}
	}
}

// many returns n prefixes of up to 50 to a spoke, some next to each other.
func many(n int) hub.Desired {
	w := sample()
	w.Reaches = nil
	for i := range n {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(i%3) << 4}), 28)
		w.Reaches = append(w.Reaches, hub.Reach{Spoke: hub.SpokeID(fmt.Sprintf("vpc-%d", i/50)), Name: fmt.Sprintf("spoke-%d", i/50),
			Prefix: p, Real: p, Egress: "eth0", Mark: 1<<24 | uint32(i/50+1)})
	}
	return w
}

// 10,000 prefixes are one batch and all of them arrive; one change among them is one
// element.
func TestTenThousandPrefixes(t *testing.T) {
	t.Parallel()
	n := newNS(t, "hub")
	p := open(t, n, hub.OwnershipPlain)
	count := func() int {
		var out struct {
			Nftables []struct{ Map struct{ Elem []any } }
		}
		if err := json.Unmarshal([]byte(n.run(t, "nft -j list map inet hubd spokes4")), &out); err != nil {
			t.Fatal(err)
		}
		total := 0
		for _, o := range out.Nftables {
			total += len(o.Map.Elem)
		}
		return total
	}
	gen := func() uint32 {
		g, err := p.sock.generation()
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	before := gen()
	v, changes := plan(t, p, many(10_000))
	if _, err := p.Apply(ctx, v, changes); err != nil {
		t.Fatal(err)
	}
	if commits := gen() - before; commits != 1 {
		t.Errorf("%d commits, want one", commits)
	}
	syncTo(t, p, many(10_000))
	if got := count(); got != 10_000 {
		t.Errorf("nft counts %d elements", got)
	}
	if changes := syncTo(t, p, many(9_999)); len(changes) != 1 {
		t.Errorf("changes for one prefix: %+v", changes)
	}
	if got := count(); got != 9_999 {
		t.Errorf("nft counts %d elements after one went", got)
	}
}

// A batch that is larger than the socket's buffer is still one batch.
func TestABatchLargerThanTheBuffer(t *testing.T) {
	t.Parallel()
	n := newNS(t, "hub")
	p := open(t, n, hub.OwnershipPlain)
	if err := errors.Join(p.sock.nl.SetWriteBuffer(8<<10), p.sock.nl.SetReadBuffer(8<<10)); err != nil {
		t.Fatal(err)
	}
	p.sock.room = 16 << 10
	before, err := p.sock.generation()
	if err != nil {
		t.Fatal(err)
	}
	syncTo(t, p, many(3000))
	if after, err := p.sock.generation(); err != nil || after != before+1 {
		t.Errorf("%d commits, %v", after-before, err)
	}
	// The control: without more room the kernel refuses.
	q := open(t, newNS(t, "hub"), hub.OwnershipPlain)
	if err := q.sock.nl.SetWriteBuffer(8 << 10); err != nil {
		t.Fatal(err)
	}
	v, changes := plan(t, q, many(3000))
	if _, err := q.Apply(ctx, v, changes); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("with room that is not there: %v", err)
	}
}

// A change that the kernel refuses does not keep the others from being made.
func TestARefusedChangeIsLeftOut(t *testing.T) {
	t.Parallel()
	n := newNS(t, "hub")
	p := open(t, n, hub.OwnershipPlain)
	want := sample()
	inside := want.Reaches[0]
	inside.Prefix = prefix("10.110.64.0/24") // inside 10.110.0.0/16
	want.Reaches = slices.Insert(want.Reaches, 1, inside)
	v, changes := plan(t, p, want)
	v, err := p.Apply(ctx, v, changes)
	if err == nil || !strings.Contains(err.Error(), "element spokes4 10.110.") {
		t.Errorf("error does not name the element: %v", err)
	}
	left := v.Plan(want)
	if len(left) != 1 || left[0].Unit.Kind != hub.UnitPrefix {
		t.Errorf("left to do: %+v", left)
	}
	if out := n.run(t, "nft list map inet hubd spokes4"); !strings.Contains(out, "10.120.0.0/28") {
		t.Errorf("the others were not made:\n%s", out)
	}
}

// A second daemon is refused with a reason, and its socket works again afterwards.
func TestASecondDaemonIsRefused(t *testing.T) {
	t.Parallel()
	n := newNS(t, "hub")
	first, second := open(t, n, hub.OwnershipPersist), open(t, n, hub.OwnershipPersist)
	syncTo(t, first, sample())
	want := without(func(r hub.Reach) bool { return r.Mark == data })
	for range 3 {
		v, changes := plan(t, second, want)
		v, err := second.Apply(ctx, v, changes)
		if err == nil || !strings.Contains(err.Error(), "is another hubd running?") {
			t.Errorf("error: %v", err)
		}
		if left := v.Plan(want); len(left) == 0 {
			t.Error("a refused apply left nothing to do")
		}
	}
	if out, err := n.try(t, "nft delete table inet hubd"); err == nil {
		t.Errorf("nft deleted an owned table: %s", out)
	}
	if err := second.Cleanup(ctx); err == nil {
		t.Error("cleanup of somebody else's table passed")
	}
	if changes := syncTo(t, first, sample()); len(changes) > 0 {
		t.Errorf("the first one had to repair: %+v", changes)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	before := n.run(t, "nft list table inet hubd")
	syncTo(t, second, sample())
	if after := n.run(t, "nft list table inet hubd"); strings.Replace(before, "flags persist", "flags owner,persist", 1) != after &&
		!strings.Contains(after, "flags owner") {
		t.Errorf("after the claim:\n%s", cmp.Diff(before, after))
	}
	syncTo(t, second, want)
}

// Held things are neither added, replaced nor removed.
func TestHeldThingsStay(t *testing.T) {
	t.Parallel()
	n := newNS(t, "hub")
	p := open(t, n, hub.OwnershipPlain)
	syncTo(t, p, sample())
	want := sample()
	want.Base.Tunnels = want.Base.Tunnels[:1]
	want.Base.Egresses[0].Address = netip.MustParseAddr("10.100.0.99")
	want.Reaches[2].Name = "renamed"
	want.Reaches = append(want.Reaches, hub.Reach{Spoke: "vpc-3", Name: "new", Prefix: prefix("10.140.0.0/16"), Egress: "eth0", Mark: 1<<24 | 9})
	units := hub.Units{}
	units.Add(hub.Unit{Kind: hub.UnitBase})
	_, changes := plan(t, p, want.Holding(units))
	if len(changes) > 0 {
		t.Errorf("held, and yet: %+v", changes)
	}
	// The control: without the hold.
	if _, changes = plan(t, p, want); len(changes) != 10 {
		t.Errorf("without the hold: %d changes: %+v", len(changes), changes)
	}
	units = hub.Units{}
	units.Add(hub.Unit{Kind: hub.UnitSpoke, Spoke: "vpc-2"})
	units.Add(hub.Unit{Kind: hub.UnitSpoke, Spoke: "vpc-3"})
	units.Add(hub.Unit{Kind: hub.UnitEgress, Egress: "eth0"})
	want.Base = sample().Base
	want.Base.Egresses[0].Address = netip.MustParseAddr("10.100.0.99")
	if _, changes = plan(t, p, want.Holding(units)); len(changes) > 0 {
		t.Errorf("held, and yet: %+v", changes)
	}
	// The control: without the hold.
	if _, changes = plan(t, p, want); len(changes) != 7 {
		t.Errorf("without the hold: %d changes: %+v", len(changes), changes)
	}
}

// A flow without an answer stays new to conntrack. It is judged once all the same: its
// packets do not look for prefixes again and again.
func TestAFlowIsJudgedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, hub.OwnershipPlain)
	r.beyond.run(t, `nft 'table ip seen { counter n { }; chain c { type filter hook prerouting priority -400; udp dport 9999 counter name n drop; }; }'`)
	arrived := func(n int) func() bool {
		return func() bool {
			return strings.Contains(r.beyond.run(t, "nft list counters"), fmt.Sprintf("packets %d ", n))
		}
	}
	syncTo(t, r.p, sample())
	old := r.client.udp(t, billingHost+":9999")
	old.send(t, "one")
	await(t, "the first datagram arrives", arrived(1))
	want := sample()
	want.Base.Tunnels[0].Origins = nil
	syncTo(t, r.p, want)
	old.send(t, "two")
	await(t, "the second datagram arrives", arrived(2))
	// The control: the same from a new socket is judged by the new want.
	r.client.udp(t, billingHost+":9999").send(t, "x")
	await(t, "drop_source rises", func() bool { return r.drops(t)["drop_source"].Packets == 1 })
	if !arrived(2)() {
		t.Error("the refused datagram arrived")
	}
}
