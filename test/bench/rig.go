package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"peerhub/hub"
	"peerhub/hub/kroute"
	"peerhub/masq"
	"peerhub/test/fabric"
)

// rig is a client, a hub and everything beyond it, on veth: three namespaces of their own.
// The client's cable ends at the hub in an interface that is called tun0.
type rig struct {
	client, hub, beyond string // names of namespaces
	ns                  *os.File
	masq                *masq.Plane
	kroute              *kroute.Plane
	loop                *hub.Reconciler
	in                  hub.Input
}

var rigs atomic.Int32

const (
	clientAddr = "172.27.240.2"
	hubAddr    = "10.100.0.10"
	routerAddr = "10.100.0.1"
)

// cable is how the client reaches the hub.
type cable struct {
	hub              string // the hub's interface
	hubEnd, farEnd   string // addresses with their lengths
	throughTheTunnel bool   // the way to everything else comes with OpenVPN, not with the cable
}

// asTunnel is a cable that plays the tunnel: what OpenVPN costs is not measured.
var asTunnel = cable{hub: "tun0", hubEnd: "172.27.240.1/22", farEnd: clientAddr + "/22"}

// newRig builds the namespaces. Nothing of ours runs in the hub yet.
func newRig(ctx context.Context, c cable) (*rig, error) {
	name := fmt.Sprintf("bench-%d-%d-", os.Getpid(), rigs.Add(1))
	r := &rig{client: name + "client", hub: name + "hub", beyond: name + "beyond"}
	for _, ns := range []string{r.client, r.hub, r.beyond} {
		if err := fabric.NewNS(ns); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	script := func(ns, text string) error {
		_, err := fabric.Exec(ctx, ns, "sh", "-ec", text)
		return err
	}
	// No IPv6 here: its address detection would write to the kernel while idle passes are counted.
	quiet := "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"
	err := errors.Join(
		script(r.hub, quiet), script(r.client, quiet), script(r.beyond, quiet),
		script(r.hub, fmt.Sprintf(`ip link add %[1]s type veth peer name eth0 netns %[2]s
			ip link add eth0 type veth peer name eth0 netns %[3]s
			ip addr add %[4]s dev %[1]s; ip addr add %[5]s/24 dev eth0
			ip link set %[1]s up; ip link set eth0 up; sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.src_valid_mark=1 net.ipv4.conf.all.rp_filter=2`,
			c.hub, r.client, r.beyond, c.hubEnd, hubAddr)),
		script(r.client, fmt.Sprintf(`ip addr add %s dev eth0; ip link set eth0 up`, c.farEnd)),
		// Everything in 10.0.0.0/8 is answered by this one host.
		script(r.beyond, fmt.Sprintf(`ip addr add %s/24 dev eth0; ip link set eth0 up; ip route add local 10.101.0.0/16 dev lo
			ip route add local 10.102.0.0/15 dev lo`, routerAddr)),
		script(r.hub, `ip route add default via `+routerAddr),
	)
	if !c.throughTheTunnel {
		err = errors.Join(err, script(r.client, `ip route add default via 172.27.240.1`))
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// withRig runs f on a rig that is removed afterwards.
func withRig(ctx context.Context, f func(*rig) error) (err error) {
	r, err := newRig(ctx, asTunnel)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	return f(r)
}

// withRigs runs f on several rigs.
func withRigs(ctx context.Context, n int, f func([]*rig) error) error {
	var rigs []*rig
	var next func() error
	next = func() error {
		if len(rigs) == n {
			return f(rigs)
		}
		return withRig(ctx, func(r *rig) error {
			rigs = append(rigs, r)
			return next()
		})
	}
	return next()
}

func (r *rig) close() error {
	var errs []error
	if r.masq != nil {
		errs = append(errs, r.masq.Close())
	}
	if r.kroute != nil {
		errs = append(errs, r.kroute.Close())
	}
	if r.ns != nil {
		errs = append(errs, r.ns.Close())
	}
	for _, ns := range []string{r.client, r.hub, r.beyond} {
		errs = append(errs, fabric.Delete(ns))
	}
	return errors.Join(errs...)
}

// planes opens the kernel planes in the hub and prepares a pass over n prefixes.
func (r *rig) planes(ctx context.Context, n int, own hub.Ownership) error {
	var err error
	if r.ns, err = os.Open("/run/netns/" + r.hub); err != nil {
		return fmt.Errorf("open the hub's namespace: %w", err)
	}
	if r.masq, err = masq.Open(ctx, masq.Options{NetNS: int(r.ns.Fd()), Ownership: own}); err != nil {
		return err
	}
	if r.kroute, err = kroute.Open(kroute.Options{NetNS: int(r.ns.Fd())}); err != nil {
		return err
	}
	r.loop = hub.NewReconciler(r.kroute, r.masq)
	r.in = hub.Input{Policy: policy(own), Topology: topology(n), Mode: hub.ModeSync}
	return nil
}

// pass runs one pass and fails when something is left to do.
func (r *rig) pass(ctx context.Context) (hub.Report, error) {
	rep, mem := r.loop.Pass(ctx, r.in)
	r.in.Remembered, r.in.Prev = mem, &rep.Desired
	if n := rep.Pending(); n > 0 {
		var why []string
		for _, p := range rep.Planes {
			why = append(why, fmt.Sprintf("%s: %d pending, %s", p.Plane, len(p.Pending), p.Error))
		}
		return rep, fmt.Errorf("the pass left %d changes undone: %s", n, strings.Join(why, "; "))
	}
	return rep, nil
}

// byHand sets up the hub as people do: two iptables rules.
func (r *rig) byHand(ctx context.Context) error {
	_, err := fabric.Exec(ctx, r.hub, "sh", "-ec", `iptables -t nat -A POSTROUTING -s 172.27.240.0/22 -o eth0 -j MASQUERADE
		iptables -A FORWARD -s 172.27.240.0/22 -o eth0 -j ACCEPT`)
	return err
}

// steeredByHand is byHand with our kernel routes, and a third rule that gives packets the
// mark which these go by.
func (r *rig) steeredByHand(ctx context.Context) error {
	if err := errors.Join(r.planes(ctx, 1, hub.OwnershipPlain), r.byHand(ctx)); err != nil {
		return err
	}
	want, _, _ := hub.Decide(r.in.Policy, r.in.Topology, hub.Remembered{})
	if err := bring(ctx, r.kroute, want, false); err != nil {
		return err
	}
	for _, in := range []string{"tun0", "eth0"} { // answers without it fail the reverse path check
		if _, err := fabric.Exec(ctx, r.hub, "iptables", "-t", "mangle", "-A", "PREROUTING", "-i", in, "-j", "MARK",
			"--set-mark", strconv.Itoa(1<<hub.MarkClassShift)); err != nil {
			return err
		}
	}
	return nil
}

// onePerSpoke sets up the hub by the recipe that has a rule for each prefix.
func (r *rig) onePerSpoke(ctx context.Context, n int) error {
	var sb strings.Builder
	sb.WriteString("*nat\n")
	for _, p := range prefixes(n) {
		fmt.Fprintf(&sb, "-A POSTROUTING -s 172.27.240.0/22 -d %s -o eth0 -j MASQUERADE\n", p)
	}
	sb.WriteString("COMMIT\n")
	cmd := fabric.Command(ctx, r.hub, "iptables-restore", "-n")
	cmd.Stdin = strings.NewReader(sb.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("iptables-restore of %d rules: %w: %s", n, err, out)
	}
	return nil
}

// prefixes are n neighbouring /28, from 10.101.0.0 on.
func prefixes(n int) []netip.Prefix {
	out := make([]netip.Prefix, n)
	for i := range out {
		a := uint32(10)<<24 | uint32(101)<<16 + uint32(i)*16
		out[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), 28)
	}
	return out
}

// target is a host in the last of n prefixes: a linear list is slowest there.
func target(n int) netip.Addr { return prefixes(n)[n-1].Addr().Next() }

const prefixesPerSpoke = 50 // the most that AWS grants a VPC

// topology is a hub with active peerings that announce n prefixes together.
func topology(n int) hub.Topology {
	scope := hub.Scope{Account: "111111111111", Region: "ap-northeast-1"}
	t := hub.Topology{
		Hub: hub.Hub{Name: "bench", Scope: scope, Partition: "aws", VPC: "vpc-hub", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.100.0.0/16")},
			Interfaces: []hub.Interface{{Name: "eth0", ID: "eni-hub", Subnet: "subnet-hub", SubnetPrefix: netip.MustParsePrefix("10.100.0.0/24"),
				Address: netip.MustParseAddr(hubAddr), Addresses: []netip.Addr{netip.MustParseAddr(hubAddr)}}}},
		Sources: []hub.Source{{Scope: scope, Fresh: true, Survey: 1}},
	}
	all := prefixes(n)
	for i := 0; len(all) > 0; i++ {
		take := min(prefixesPerSpoke, len(all))
		t.Peerings = append(t.Peerings, hub.Peering{ID: hub.PeeringID(fmt.Sprintf("pcx-%05d", i)), State: hub.PeeringActive, HubRequested: true,
			Peer: hub.Peer{Scope: hub.Scope{Account: hub.AccountID(fmt.Sprintf("%012d", 200000000000+i)), Region: scope.Region},
				VPC: hub.VPCID(fmt.Sprintf("vpc-%05d", i)), Prefixes: all[:take]}})
		all = all[take:]
	}
	return t
}

// policy is one OpenVPN server with one tunnel and one pool.
func policy(own hub.Ownership) hub.Policy {
	return hub.Policy{Mode: hub.ModeSync, ReturnRoute: hub.ReturnSubnet,
		HubTables: hub.TableChoice{Kind: hub.TablesOwnSubnet}, SpokeTables: hub.TableChoice{Kind: hub.TablesAll},
		VPNs:   []hub.VPN{{Name: "people", Interfaces: []string{"tun0"}, Pools: []netip.Prefix{netip.MustParsePrefix("172.27.240.0/22")}, Other: hub.OtherDrop}},
		Safety: hub.Safety{RemovalsAfter: 3, MaxRemoved: 100}, Masq: hub.MasqPolicy{Ownership: own}}
}
