package fabric_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"peerhub/test/ec2sim"
	"peerhub/test/fabric"
)

// rig is a fabric of its own with hosts in namespaces of their own.
type rig struct {
	t   testing.TB
	f   *fabric.Fabric
	net ec2sim.Network
	ns  map[string]string // interface id or role -> namespace
}

var rigs atomic.Int64

// newRig starts a fabric with the world network, changed by edit, and a host for
// each interface named.
func newRig(t testing.TB, edit func(*ec2sim.Network), enis ...string) *rig {
	t.Helper()
	r := &rig{t: t, net: world(), ns: make(map[string]string), f: fabric.New(fabric.Options{Logf: t.Logf})}
	t.Cleanup(r.f.Close)
	if edit != nil {
		edit(&r.net)
	}
	r.f.Update(r.net)
	for _, id := range enis {
		ns := r.newNS(id)
		r.must(r.f.AttachENI(ns, "ens5", id))
		r.must(r.f.ConfigureENI(id))
	}
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// newNS makes a namespace that goes away with the test, after the fabric let go of it.
func (r *rig) newNS(role string) string {
	r.t.Helper()
	name := fmt.Sprintf("fab-%d-%d", os.Getpid(), rigs.Add(1))
	r.must(fabric.NewNS(name))
	r.t.Cleanup(func() {
		r.f.Close()
		if err := fabric.Delete(name); err != nil {
			r.t.Error(err)
		}
	})
	r.ns[role] = name
	return name
}

// internet adds a host of the public internet.
func (r *rig) internet(addr string) {
	r.t.Helper()
	a := netip.MustParseAddr(addr)
	mac := net.HardwareAddr{0x02, 0x1e, 0, 0, 0, a.AsSlice()[3]}
	r.must(r.f.AttachInternet(r.newNS(addr), "wan", a, mac))
	r.must(r.f.ConfigureInternet(a))
}

// update changes the network the fabric follows.
func (r *rig) update(edit func(*ec2sim.Network)) {
	n := world()
	edit(&n)
	r.f.Update(n)
}

// exec runs a program on a host.
func (r *rig) exec(role string, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return fabric.Exec(ctx, r.ns[role], argv...)
}

func (r *rig) run(role string, argv ...string) string {
	r.t.Helper()
	out, err := r.exec(role, argv...)
	r.must(err)
	return out
}

// ping sends one echo request; more arguments go to ping.
func (r *rig) ping(role, dst string, more ...string) error {
	_, err := r.exec(role, append([]string{"ping", "-n", "-c", "1", "-W", "5", dst}, more...)...)
	return err
}

func (r *rig) arrives(role, dst string, more ...string) {
	r.t.Helper()
	if err := r.ping(role, dst, more...); err != nil {
		r.t.Errorf("%s to %s should arrive: %v\ndrops: %s", role, dst, err, r.drops())
	}
}

// refused demands that a ping fails and that exactly this place counts exactly
// that packet for exactly this reason.
func (r *rig) refused(place, reason, role, dst string, more ...string) {
	r.t.Helper()
	r.answerRefused(place, reason, role, dst, more...)
	for _, d := range r.f.Drops() {
		if d.Place == place && d.Reason == reason && !strings.Contains(d.Last, " > "+dst) {
			r.t.Errorf("%s to %s: the packet that %s dropped for %s is another one: %s", role, dst, place, reason, d.Last)
		}
	}
}

// answerRefused is refused for a packet that comes back: the ping's answer, or a
// message about it.
func (r *rig) answerRefused(place, reason, role, dst string, more ...string) {
	r.t.Helper()
	before := r.count(place, reason)
	err := r.ping(role, dst, append([]string{"-W", "0.3"}, more...)...)
	if err == nil {
		r.t.Errorf("%s to %s arrived, want %s at %s", role, dst, reason, place)
	}
	if got := r.count(place, reason); got == before {
		r.t.Errorf("%s to %s: %s at %s did not rise from %d: %v\ndrops: %s", role, dst, reason, place, before, err, r.drops())
	}
}

func (r *rig) count(place, reason string) uint64 {
	for _, d := range r.f.Drops() {
		if d.Place == place && d.Reason == reason {
			return d.Count
		}
	}
	return 0
}

func (r *rig) drops() string {
	var b strings.Builder
	for _, d := range r.f.Drops() {
		fmt.Fprintf(&b, "\n  %s %s %d %s", d.Place, d.Reason, d.Count, d.Last)
	}
	return b.String()
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("not within 10 s: %s", what)
		case <-tick.C:
		}
	}
}

// world is a hub VPC with two subnets and an internet gateway, peered with two
// service VPCs: svc in the same region, far in another. Everything is open.
//
//	hub 10.100.0.0/16: eni-hub .0.10 (public 203.0.113.10), eni-mate .0.11, eni-other .1.20
//	svc 10.110.0.0/16: eni-svc .0.10        far 10.120.0.0/16: eni-far .0.10
func world() ec2sim.Network {
	p, a := netip.MustParsePrefix, netip.MustParseAddr
	anywhere := p("0.0.0.0/0")
	open := []ec2sim.NetRule{{Protocol: -1, FromPort: -1, ToPort: -1, Prefix: anywhere}}
	pass := []ec2sim.NetACLEntry{{Number: 100, Allow: true, Protocol: -1, Prefix: anywhere}}
	local := func(prefix string) ec2sim.NetRoute {
		return ec2sim.NetRoute{Destination: p(prefix), Kind: ec2sim.TargetLocal, Target: "local"}
	}
	pcx := func(prefix, id string) ec2sim.NetRoute {
		return ec2sim.NetRoute{Destination: p(prefix), Kind: ec2sim.TargetPeering, Target: id}
	}
	eni := func(name, vpc, sub, addr string, last byte) ec2sim.NetInterface {
		return ec2sim.NetInterface{ID: "eni-" + name, Instance: "i-" + name, VPC: "vpc-" + vpc, Subnet: "subnet-" + sub,
			MAC: net.HardwareAddr{0x06, 0, 0, 0, 0, last}.String(), Addresses: []netip.Addr{a(addr)},
			SourceDestCheck: true, Groups: []string{"sg-" + vpc}, IMDSHopLimit: 1}
	}
	n := ec2sim.Network{
		VPCs: []ec2sim.NetVPC{
			{ID: "vpc-far", Region: "us-west-2", Prefixes: []netip.Prefix{p("10.120.0.0/16")}},
			{ID: "vpc-hub", Region: "ap-northeast-1", Prefixes: []netip.Prefix{p("10.100.0.0/16")}, InternetGateway: "igw-hub"},
			{ID: "vpc-svc", Region: "ap-northeast-1", Prefixes: []netip.Prefix{p("10.110.0.0/16")}},
		},
		Subnets: []ec2sim.NetSubnet{
			{ID: "subnet-far", VPC: "vpc-far", Prefix: p("10.120.0.0/24"), Table: "rtb-far", ACL: "acl-far"},
			{ID: "subnet-hub", VPC: "vpc-hub", Prefix: p("10.100.0.0/24"), Table: "rtb-hub", ACL: "acl-hub"},
			{ID: "subnet-other", VPC: "vpc-hub", Prefix: p("10.100.1.0/24"), Table: "rtb-other", ACL: "acl-other"},
			{ID: "subnet-svc", VPC: "vpc-svc", Prefix: p("10.110.0.0/24"), Table: "rtb-svc", ACL: "acl-svc"},
		},
		Tables: []ec2sim.NetTable{
			{ID: "rtb-far", VPC: "vpc-far", Routes: []ec2sim.NetRoute{local("10.120.0.0/16"), pcx("10.100.0.0/24", "pcx-far")}},
			{ID: "rtb-hub", VPC: "vpc-hub", Routes: []ec2sim.NetRoute{local("10.100.0.0/16"),
				pcx("10.110.0.0/16", "pcx-svc"), pcx("10.120.0.0/16", "pcx-far"),
				{Destination: anywhere, Kind: ec2sim.TargetInternet, Target: "igw-hub"}}},
			{ID: "rtb-other", VPC: "vpc-hub", Routes: []ec2sim.NetRoute{local("10.100.0.0/16")}},
			{ID: "rtb-svc", VPC: "vpc-svc", Routes: []ec2sim.NetRoute{local("10.110.0.0/16"), pcx("10.100.0.0/24", "pcx-svc")}},
		},
		Interfaces: []ec2sim.NetInterface{
			eni("far", "far", "far", "10.120.0.10", 3),
			eni("hub", "hub", "hub", "10.100.0.10", 1),
			eni("mate", "hub", "hub", "10.100.0.11", 4),
			eni("other", "hub", "other", "10.100.1.20", 5),
			eni("svc", "svc", "svc", "10.110.0.10", 2),
		},
		Peerings: []ec2sim.NetPeering{
			{ID: "pcx-far", RequesterVPC: "vpc-hub", AccepterVPC: "vpc-far", Active: true, InterRegion: true},
			{ID: "pcx-svc", RequesterVPC: "vpc-svc", AccepterVPC: "vpc-hub", Active: true},
		},
	}
	for _, s := range n.Subnets {
		n.ACLs = append(n.ACLs, ec2sim.NetACL{ID: s.ACL, Ingress: pass, Egress: pass})
	}
	for _, v := range n.VPCs {
		n.Groups = append(n.Groups, ec2sim.NetGroup{ID: "sg-" + strings.TrimPrefix(v.ID, "vpc-"), VPC: v.ID, Ingress: open, Egress: open})
	}
	hub := theENI(&n, "eni-hub")
	hub.Public = map[netip.Addr]netip.Addr{hub.Addresses[0]: a("203.0.113.10")}
	return n
}

func theENI(n *ec2sim.Network, id string) *ec2sim.NetInterface {
	return &n.Interfaces[slices.IndexFunc(n.Interfaces, func(i ec2sim.NetInterface) bool { return i.ID == id })]
}

func thePeering(n *ec2sim.Network, id string) *ec2sim.NetPeering {
	return &n.Peerings[slices.IndexFunc(n.Peerings, func(p ec2sim.NetPeering) bool { return p.ID == id })]
}

func theTable(n *ec2sim.Network, id string) *ec2sim.NetTable {
	return &n.Tables[slices.IndexFunc(n.Tables, func(t ec2sim.NetTable) bool { return t.ID == id })]
}

func theACL(n *ec2sim.Network, id string) *ec2sim.NetACL {
	return &n.ACLs[slices.IndexFunc(n.ACLs, func(a ec2sim.NetACL) bool { return a.ID == id })]
}

func theGroup(n *ec2sim.Network, id string) *ec2sim.NetGroup {
	return &n.Groups[slices.IndexFunc(n.Groups, func(g ec2sim.NetGroup) bool { return g.ID == id })]
}

func addRoute(n *ec2sim.Network, table, dst, kind, target string) {
	t := theTable(n, table)
	t.Routes = append(t.Routes, ec2sim.NetRoute{Destination: netip.MustParsePrefix(dst), Kind: kind, Target: target})
}
