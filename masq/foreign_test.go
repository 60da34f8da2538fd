package masq

import (
	"regexp"
	"strings"
	"testing"

	"peerhub/hub"
)

// counting is what packets write into our table.
var counting = regexp.MustCompile(`(?s)\n\t+elements = \{ [^}]* ct count over [^}]*\}`)

// foreignProblems are those of one look at the kernel.
func foreignProblems(t *testing.T, p *Plane) []hub.Problem {
	t.Helper()
	v, _ := plan(t, p, sample())
	var out []hub.Problem
	for _, problem := range v.(*View).Problems(sample()) {
		if problem.Code == hub.ForeignChain {
			out = append(out, problem)
		}
	}
	return out
}

// What stands in the way of packets of ours is named, with the packets as witnesses; its
// near twin that lets them pass is not. Nothing of either changes.
func TestForeignChainsThatHarmAreNamed(t *testing.T) {
	t.Parallel()
	const firewalld = `table inet fw {
		chain pass { type filter hook forward priority filter + 10; policy accept;
			ct state { established, related } accept; ct status dnat accept; iifname "lo" accept; ct state { invalid } drop
			jump zones; reject with icmpx admin-prohibited; }
		chain zones { iifname "docker0" goto trusted; ZONE return; }
		chain trusted { accept; } }`
	for name, c := range map[string]struct {
		harm, twin string   // nft scripts, or lines of iptables-nft
		words      []string // of the problem
		passes     bool     // the harmed packets arrive all the same: it is a translation
	}{
		"policy of a forward chain": {
			`table inet acme { chain pass { type filter hook forward priority 5; policy drop; iifname "docker0" accept; } }`,
			`table inet acme { chain pass { type filter hook forward priority 5; policy drop; iifname { "docker0", "tun0" } accept; oifname "tun0" accept; iifname "tun1" accept; oifname "tun1" accept; } }`,
			[]string{"table inet acme", "chain pass (forward, priority 5)", "drops what comes from tun0", "policy is drop", "nft insert rule inet acme pass iifname tun0 accept; nft insert rule inet acme pass oifname tun0 accept"}, false},
		"a policy that only the way back meets": {
			`table ip acme { chain pass { type filter hook forward priority -10; policy drop; iifname "tun*" accept; ct state new accept; } }`,
			`table ip acme { chain pass { type filter hook forward priority -10; policy drop; iifname "tun*" accept; ct state established,related accept; } }`,
			[]string{"table ip acme", "priority -10", "what comes back from 10.110.0.1"}, false},
		"docker": {
			"iptables -P FORWARD DROP\niptables -N DOCKER-USER\niptables -A FORWARD -j DOCKER-USER\niptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\niptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT\niptables -A FORWARD -p tcp --dport 443 -j ACCEPT",
			"iptables -P FORWARD DROP\niptables -N DOCKER-USER\niptables -A FORWARD -j DOCKER-USER\niptables -A DOCKER-USER -i tun0 -m comment --comment vpn -j ACCEPT\niptables -A DOCKER-USER -i tun1 -j ACCEPT\niptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
			[]string{"table ip filter", "chain FORWARD (forward, priority 0)", "policy is drop, for what it has not accepted before"}, false},
		"firewalld": {
			strings.Replace(firewalld, "ZONE", `iifname "eth9"`, 1), strings.Replace(firewalld, "ZONE", `iifname "tun0" accept; iifname "tun1" accept; iifname "eth9"`, 1),
			[]string{"table inet fw", "chain pass (forward, priority 10)", "rule with handle"}, false},
		"one spoke": {
			`table ip acme { chain pre { type filter hook prerouting priority -300; ip daddr 10.110.0.0/16 counter drop comment "no billing"; } }`,
			`table ip acme { chain pre { type filter hook prerouting priority -300; ip daddr 10.113.0.0/16 counter drop; ip daddr 10.110.0.0/16 tcp dport 25 drop; } }`,
			[]string{"table ip acme", "chain pre (prerouting, priority -300)", "10.110.0.", "rule with handle 2"}, false},
		"a set": {
			`table ip acme { set bad { type ipv4_addr; flags interval; elements = { 10.110.0.0/24, 192.0.2.0/24 } } chain pre { type filter hook postrouting priority 300; iifname "tun0" ip daddr @bad drop; } }`,
			`table ip acme { set bad { type ipv4_addr; flags interval; elements = { 10.109.0.0/24, 192.0.2.0/24 } } chain pre { type filter hook postrouting priority 300; iifname "tun0" ip daddr @bad drop; } }`,
			[]string{"chain pre (postrouting, priority 300)"}, false},
		"a verdict map": {
			`table inet acme { chain pass { type filter hook forward priority 0; iifname vmap { "tun0" : jump no, "eth9" : accept }; } chain no { ip protocol { tcp, udp, icmp } drop; } }`,
			`table inet acme { chain pass { type filter hook forward priority 0; iifname vmap { "tun9" : jump no, "eth9" : accept }; } chain no { ip protocol { tcp, udp, icmp } drop; } }`,
			[]string{"of chain no; see", "chain pass (forward"}, false},
		"a translation before ours": {
			`table ip acme { chain post { type nat hook postrouting priority 90; oifname "eth0" masquerade; } }`,
			`table ip acme { chain post { type nat hook postrouting priority 90; oifname "eth9" masquerade; ip saddr 172.17.0.0/16 masquerade; } }`,
			[]string{"table ip acme", "chain post (postrouting, priority 90)", "translates, before hubd does,", "return"}, true},
		"a translation loaded after ours": {
			"iptables -t nat -A POSTROUTING -s 172.27.240.0/22 -o eth0 -j MASQUERADE",
			"iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
			[]string{"table ip nat", "chain POSTROUTING (postrouting, priority 100)"}, true},
		"a redirection": {
			`table ip acme { chain pre { type nat hook prerouting priority -100; iifname "tun0" ip daddr 10.110.0.5 dnat to 10.110.0.6; } }`,
			`table ip acme { chain pre { type nat hook prerouting priority -100; iifname "tun0" ip daddr 10.109.0.5 dnat to 10.110.0.6; iifname "tun0" udp dport 53 redirect; } }`,
			[]string{"chain pre (prerouting, priority -100)", "for 10.110.0.5"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, part := range []struct {
				script string
				harm   bool
			}{{c.harm, true}, {c.twin, false}} {
				r := newRig(t, hub.OwnershipPlain)
				syncTo(t, r.p, sample())
				if found := foreignProblems(t, r.p); len(found) > 0 {
					t.Fatalf("before: %+v", found)
				}
				load := part.script
				if strings.HasPrefix(load, "table") {
					load = "nft -f - <<'X'\n" + strings.NewReplacer("; }", ";\n}\n", "} }", "}\n}\n").Replace(load) + "\nX"
				}
				r.hub.run(t, load)
				list := func() string { return counting.ReplaceAllString(r.hub.run(t, "nft -s list ruleset"), "") }
				before := list()
				found := foreignProblems(t, r.p)
				_, err := r.client.try(t, pingOnce+billingHost)
				if arrives := err == nil; arrives != (!part.harm || c.passes) {
					t.Errorf("harm %t: a ping arrives: %t", part.harm, arrives)
				}
				if after := list(); after != before {
					t.Errorf("the ruleset changed:\n%s\nbefore:\n%s", after, before)
				}
				if !part.harm {
					if len(found) > 0 {
						t.Errorf("the twin is named: %+v", found)
					}
					continue
				}
				if len(found) != 1 {
					t.Fatalf("named: %+v", found)
				}
				text := found[0].Subject + ": " + found[0].Detail + "\n" + found[0].Mend
				for _, w := range c.words {
					if !strings.Contains(text, w) {
						t.Errorf("no %q in %s", w, text)
					}
				}
				// The mend is no empty word.
				commands, _, _ := strings.Cut(found[0].Mend, "; or the same")
				r.hub.run(t, commands)
				for _, left := range foreignProblems(t, r.p) {
					if strings.Contains(left.Detail, "tun0") {
						t.Errorf("after the mend: %+v", left)
					}
				}
				r.client.run(t, pingOnce+billingHost)
			}
		})
	}
}

// A nat chain with our priority that was there before ours is asked after it.
func TestATranslationLoadedBeforeOursIsNotNamed(t *testing.T) {
	t.Parallel()
	r := newRig(t, hub.OwnershipPlain)
	r.hub.run(t, "iptables -t nat -A POSTROUTING -s 172.27.240.0/22 -o eth0 -j SNAT --to-source 10.100.0.77; ip addr add 10.100.0.77/24 dev eth0")
	r.beyond.serve(t, 9000, beyondHosts...)
	syncTo(t, r.p, sample())
	r.client.udp(t, billingHost+":9000").talk(t, "one", "from 10.100.0.10 ")
	if found := foreignProblems(t, r.p); len(found) > 0 {
		t.Errorf("named: %+v", found)
	}
	// The control: made anew it is asked first, and named.
	r.hub.run(t, "nft delete table ip nat; iptables -t nat -A POSTROUTING -s 172.27.240.0/22 -o eth0 -j SNAT --to-source 10.100.0.77")
	r.client.udp(t, billingHost+":9000").talk(t, "one", "from 10.100.0.77 ")
	if found := foreignProblems(t, r.p); len(found) != 1 {
		t.Errorf("named: %+v", found)
	}
}
