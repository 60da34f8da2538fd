package masq

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"peerhub/hub"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestWanted(t *testing.T) {
	t.Parallel()
	base := func(c func(*hub.Base)) hub.Desired {
		var d hub.Desired
		c(&d.Base)
		return d
	}
	cases := []struct {
		name string
		want hub.Desired
		out  []string // object = value, h: held
	}{
		{"nothing", hub.Desired{}, nil},
		{"the sample", sample(), []string{
			`element address4 eth0 = 10.100.0.10`,
			`element back 0x01000007 = "billing"`, `element back 0x01000008 = "data"`,
			`element hub_echo tun0 = `, `element hub_ports tun0 . tcp . 8080 = `, `element hub_ports tun0 . udp . 53 = `,
			`element leave tun1 = `,
			`element origins4 172.168.0.0/24 = "tun0"`, `element origins4 172.27.240.0/22 = "tun0"`, `element origins4 172.28.0.0/24 = "tun1"`,
			`element out 0x01000007 = "billing"`, `element out 0x01000008 = "data"`,
			`element spokes4 10.110.0.0/16 = 0x01000007 "billing"`, `element spokes4 10.111.0.0/16 = 0x01000007 "billing"`, `element spokes4 10.120.0.0/28 = 0x01000008 "data"`,
			`element tunnels tun0 = `, `element tunnels tun1 = `,
		}},
		{"the kernel chooses the address", base(func(b *hub.Base) {
			b.Masquerade, b.Egresses = true, sample().Base.Egresses
		}), nil},
		{"no address is known", base(func(b *hub.Base) { b.Egresses = []hub.Egress{{ID: "eth0", Class: 1}} }), nil},
		{"an egress on hold", base(func(b *hub.Base) {
			b.Egresses = []hub.Egress{{ID: "eth1", Address: netip.MustParseAddr("10.0.0.1"), Hold: true}}
		}), []string{`element address4 eth1 = 10.0.0.1 h`}},
		{"pools in common, inside one another, with host bits, and IPv6", base(func(b *hub.Base) {
			b.Tunnels = []hub.Tunnel{
				{Name: "a", Origins: []netip.Prefix{prefix("10.8.0.0/16"), prefix("10.8.3.0/24"), prefix("fd00::/64")}},
				{Name: "b", Origins: []netip.Prefix{prefix("10.8.0.7/16"), prefix("10.9.0.1/32")}},
			}
		}), []string{`element origins4 10.8.0.0/16 = "a.b"`, `element origins4 10.9.0.1/32 = "b"`, `element tunnels a = `, `element tunnels b = `}},
		{"the same service twice", base(func(b *hub.Base) {
			b.Tunnels = []hub.Tunnel{{Name: "a", ToHub: []hub.Service{{Protocol: "udp", Port: 53}, {Protocol: "icmp"}, {Protocol: "udp", Port: 53}}}}
		}), []string{`element hub_echo a = `, `element hub_ports a . udp . 53 = `, `element tunnels a = `}},
		{"a mark is held when all its prefixes are; names are made safe", hub.Desired{Reaches: []hub.Reach{
			{Name: `x"; }`, Prefix: prefix("10.1.0.0/16"), Mark: 0x02000001, Hold: true},
			{Name: strings.Repeat("n", 80), Prefix: prefix("10.2.0.0/16"), Mark: 0x02000002, Hold: true},
			{Name: strings.Repeat("n", 80), Prefix: prefix("10.3.0.0/16"), Mark: 0x02000002},
			{Name: "again", Prefix: prefix("10.3.0.0/16"), Mark: 0x02000004},
			{Name: "six", Prefix: prefix("fd00:1::/56"), Mark: 0x02000003},
		}}, []string{
			`element back 0x02000001 = "x____" h`, `element back 0x02000002 = "` + strings.Repeat("n", 63) + `"`,
			`element out 0x02000001 = "x____" h`, `element out 0x02000002 = "` + strings.Repeat("n", 63) + `"`,
			`element spokes4 10.1.0.0/16 = 0x02000001 "x____" h`,
			`element spokes4 10.2.0.0/16 = 0x02000002 "` + strings.Repeat("n", 63) + `" h`,
			`element spokes4 10.3.0.0/16 = 0x02000002 "` + strings.Repeat("n", 63) + `"`,
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out []string
			for _, it := range wanted(c.want) {
				s := it.object + " = " + it.value
				if it.hold {
					s += " h"
				}
				out = append(out, s)
			}
			slices.Sort(out)
			if d := cmp.Diff(c.out, out); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// What a change says is enough to make the element again.
func TestElementsThroughChanges(t *testing.T) {
	t.Parallel()
	for _, it := range wanted(sample()) {
		back, err := elementOf(it.object, it.value)
		if err != nil || back != it.element {
			t.Errorf("%+v came back as %+v, %v", it.element, back, err)
		}
	}
	for _, bad := range [][2]string{{"route x", ""}, {"element tunnels", ""}, {"element out 0x1", `"half`}} {
		if e, err := elementOf(bad[0], bad[1]); err == nil {
			t.Errorf("%q was read as %+v", bad, e)
		}
	}
}

// Prefixes and ranges survive the way into the kernel's two edges and back, in any order,
// next to each other and at both ends of the address space.
func TestIntervalsThroughEdges(t *testing.T) {
	t.Parallel()
	d, _ := setByName("spokes4")
	keys := []string{"0.0.0.0/8", "10.0.0.0/28", "10.0.0.16/28", "10.0.0.32/27", "10.0.0.65-10.0.0.70", "10.0.0.71/32", "10.0.0.72/32", "255.255.255.0/24"}
	var edges []edge
	for _, k := range keys {
		b, err := d.appendElement(nil, element{set: d.name, key: k, data: "0x01000007", comment: "c" + k}, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list(b) {
			edges = append(edges, d.decodeEdge(f.data))
		}
	}
	if want := 2*len(keys) - 1; len(edges) != want {
		t.Errorf("%d edges, want %d: the last range has no end", len(edges), want)
	}
	for range 20 {
		rand.Shuffle(len(edges), func(i, j int) { edges[i], edges[j] = edges[j], edges[i] })
		var got []string
		for _, e := range joinEdges(slices.Clone(edges)) {
			if e.data != "0x01000007" || e.comment != "c"+e.key {
				t.Errorf("%+v lost its data or comment", e)
			}
			got = append(got, e.key)
		}
		if diff := cmp.Diff(keys, got); diff != "" {
			t.Fatalf("-want +got:\n%s", diff)
		}
	}
}

// Text that is no key, address or service is an error, never a wrong element.
func TestBadKeysAreErrors(t *testing.T) {
	t.Parallel()
	for k, bad := range map[kind][]string{
		kindIfname:  {"", "sixteen-letters-"},
		kindMark:    {"", "x", "0x100000000"},
		kindAddr:    {"", "10.0.0.0/33", "fd00::/8", "10.0.0.1-", "1.2.3"},
		kindService: {"tun0 . tcp", "tun0 . quic . 1", "tun0 . tcp . 65536", " . tcp . 1"},
		{}:          {"anything"},
	} {
		for _, s := range bad {
			if b, _, err := k.encode(s); err == nil {
				t.Errorf("%s %q became %x", k.name, s, b)
			}
		}
	}
}

// Whatever bytes come as attributes, reading them ends without a panic.
func FuzzAttributes(f *testing.F) {
	d, _ := setByName("spokes4")
	good, err := newElement("hubd", d, element{set: d.name, key: "10.1.0.0/16", data: "0x01000007", comment: "x"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.data)
	f.Add([]byte{3, 0, 1, 0})
	f.Add([]byte{255, 255, 1, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, d := range sets {
			for _, e := range d.decodeAll([][]byte{b}) {
				_, _ = d.appendElement(nil, e, true)
			}
		}
		holds(b, b, true)
		noteOf(b)
	})
}

func TestHolds(t *testing.T) {
	t.Parallel()
	a := func(v uint32) []byte { return attr32(3, v) }
	elem := func(v uint32) []byte { return nest(1, a(v)) }
	cases := []struct {
		name      string
		got, want []byte
		strict    bool
		ok        bool
	}{
		{"equal", a(1), a(1), true, true},
		{"another value", a(2), a(1), false, false},
		{"missing", nil, a(1), false, false},
		{"more, not strict", slices.Concat(a(1), attr32(4, 9)), a(1), false, true},
		{"more, strict", slices.Concat(a(1), attr32(4, 9)), a(1), true, false},
		{"a default more, strict", slices.Concat(a(1), attr32(4, 0)), a(1), true, true},
		{"a list", slices.Concat(elem(1), elem(2)), slices.Concat(elem(1), elem(2)), true, true},
		{"a list in another order", slices.Concat(elem(2), elem(1)), slices.Concat(elem(1), elem(2)), true, false},
		{"a longer list", slices.Concat(elem(1), elem(2)), elem(1), false, false},
		{"a shorter list", elem(1), slices.Concat(elem(1), elem(2)), false, false},
	}
	for _, c := range cases {
		if got := holds(c.got, c.want, c.strict); got != c.ok {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

func TestModeIsChosen(t *testing.T) {
	t.Parallel()
	everything, noPrint := abilities{own: true, persist: true, print: true}, abilities{own: true, persist: true}
	old := abilities{own: true, print: true, fullyRandom: true, count: true}
	for _, c := range []struct {
		a     abilities
		asked hub.Ownership
		want  hub.Ownership
	}{
		{everything, hub.OwnershipAuto, hub.OwnershipPersist},
		{everything, "", hub.OwnershipPersist},
		{everything, hub.OwnershipPlain, hub.OwnershipPlain},
		{noPrint, hub.OwnershipAuto, hub.OwnershipPlain},
		{noPrint, hub.OwnershipPersist, hub.OwnershipPersist},
		{old, hub.OwnershipAuto, hub.OwnershipPlain},
		{old, hub.OwnershipPersist, hub.OwnershipPlain},
		{abilities{}, hub.OwnershipPersist, hub.OwnershipPlain},
	} {
		if got := c.a.choose(c.asked); got.Ownership != c.want || got.Why == "" {
			t.Errorf("%+v asked for %q: %+v", c.a, c.asked, got)
		}
	}
	v := &View{state: &state{}, table: "hubd", abilities: old, asked: hub.OwnershipPersist}
	if ps := v.Problems(hub.Desired{}); len(ps) != 1 || ps[0].Code != hub.KernelLacks {
		t.Errorf("persist on an old kernel: problems %+v", ps)
	}
}

func TestNftPrintsPersist(t *testing.T) {
	t.Parallel()
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	const lib = "usr/lib/x86_64-linux-gnu/libnftables.so.1.1.0"
	for name, c := range map[string]struct {
		files fstest.MapFS
		want  bool
	}{
		"no nft at all":           {fstest.MapFS{}, true},
		"old library":             {fstest.MapFS{lib: file("\x00dormant\x00owner\x00persistent\x00"), "usr/sbin/nft": file("")}, false},
		"new library":             {fstest.MapFS{lib: file("\x00dormant\x00owner\x00persist\x00"), "usr/sbin/nft": file("")}, true},
		"new library of Fedora":   {fstest.MapFS{"usr/lib64/libnftables.so.1.1.0": file("\x00persist\x00")}, true},
		"an old one beside it":    {fstest.MapFS{lib: file("\x00persist\x00"), "usr/local/lib/libnftables.so.1.1.0": file("")}, false},
		"an nft without library":  {fstest.MapFS{"usr/local/sbin/nft": file("")}, false},
		"a name in another place": {fstest.MapFS{"usr/lib/x86_64-linux-gnu/libnftnl.so.11": file(""), "usr/sbin/nft": file("")}, false},
	} {
		if got := nftPrintsPersist(c.files); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// Without CAP_NET_ADMIN Open says what is needed.
func TestOpenWithoutRights(t *testing.T) {
	t.Parallel()
	n := newNS(t, "hub")
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends here, with its rights
		err := unix.Setns(n.fd(), unix.CLONE_NEWNET)
		if err == nil {
			var none [2]unix.CapUserData
			err = unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0])
		}
		if err == nil {
			_, err = Open(ctx, Options{})
		}
		done <- err
	}()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "needs root or CAP_NET_ADMIN") {
		t.Errorf("error: %v", err)
	}
	// The control: with them, in the same namespace.
	open(t, n, hub.OwnershipAuto)
}

// The skeleton has no rule that looks at other traffic: each one of a base chain asks for a
// tunnel or for one of our marks.
func TestEveryBaseRuleAsksForATunnelOrAMark(t *testing.T) {
	t.Parallel()
	for _, c := range chains(shape{maxFlows: 1, fullyRandom: true}) {
		for _, r := range c.rules {
			if c.typ != "" && !strings.Contains(r.text, "name @tunnels") && !strings.Contains(r.text, "ct mark & 0x7f") && !strings.Contains(r.text, " ct mark @") {
				t.Errorf("chain %s: %s", c.name, r.text)
			}
			if strings.Contains(r.text, " drop") && !strings.Contains(r.text, `counter name "drop_`) {
				t.Errorf("chain %s drops without counting: %s", c.name, r.text)
			}
		}
	}
	var b bytes.Buffer
	b.WriteString(Text(hub.Desired{Base: hub.Base{MaxFlows: 1}}))
	for _, d := range sets {
		if !strings.Contains(b.String(), "@"+d.name) {
			t.Errorf("no rule uses set %s", d.name)
		}
	}
}
