package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"peerhub/test/fabric"
)

// Line is one line of the by-hand recipe: what a person would type to make the hub
// work without any program of ours.
type Line struct {
	N       int    `json:"n"`
	Where   string `json:"where"` // a host, or the account whose keys `aws` uses
	Shell   string `json:"shell"`
	Undo    string `json:"undo"`
	For     string `json:"for"`
	Without Expect `json:"without"`

	pushes     bool // takes effect when a client connects
	reconnects bool // makes the clients connect anew
}

// String is the line as a person reads it: what it is for, what happens without it,
// and what to type.
func (l Line) String() string {
	where := "on " + l.Where
	if strings.HasPrefix(l.Shell, "aws ") {
		where = "as account " + l.Where
	}
	return fmt.Sprintf("# %d. %s: %s\n#    left out: %s\n%s", l.N, where, l.For, l.Without, l.Shell)
}

// String is what happens, in words of hublab drops.
func (e Expect) String() string {
	return fmt.Sprintf("%s to %s: %s at %s", strings.Join(e.From, ", "), strings.Join(e.To, ", "), e.Reason, e.Place)
}

// Expect says what happens when a line is left out and all others stand.
type Expect struct {
	From   []string `json:"from"`   // hosts that no longer arrive
	To     []string `json:"to"`     // at these services
	Place  string   `json:"place"`  // where their packets end; a name of `hublab drops`
	Reason string   `json:"reason"` // and why; a reason of `hublab drops`, or ReasonNotForwarding
}

// ReasonNotForwarding is the reason for a drop that the hub's own kernel makes: the
// counter Ip InAddrErrors of /proc/net/snmp rises in the hub. The fabric never sees
// the packet.
const ReasonNotForwarding = "not-forwarding"

// Talkers are the hosts that are to reach the services.
func Talkers() []string { return []string{HostLaptop1, HostLaptop2, HostOffice} }

// Targets are the services that are peered when the lab comes up.
func (s Spec) Targets() []string {
	var out []string
	for _, v := range s.services() {
		if v.Peering == PeeringActive {
			out = append(out, v.Host)
		}
	}
	return out
}

// Recipe lists the lines for a lab of this Spec in that run directory, in an order
// that works. The VPN server, its site's iroute and the peerings are there already:
// it is the company's hub as it was before.
func (s Spec) Recipe(dir string) []Line {
	var (
		vpn     = newVPNFiles(dir)
		people  = []string{HostLaptop1, HostLaptop2}
		office  = []string{HostOffice}
		targets = s.Targets()
		out     []Line
	)
	add := func(l Line) {
		l.N = len(out) + 1
		out = append(out, l)
	}
	add(Line{Where: HostHub, Shell: "sysctl -w net.ipv4.ip_forward=1", Undo: "sysctl -w net.ipv4.ip_forward=0",
		For:     "the kernel passes packets from the tunnel on",
		Without: Expect{Talkers(), targets, HostHub, ReasonNotForwarding}})
	translate := func(what, from string, hosts []string) {
		rule := fmt.Sprintf("POSTROUTING -s %s -o %s -j MASQUERADE", from, s.HubInterface)
		add(Line{Where: HostHub, Shell: "iptables -t nat -A " + rule, Undo: "iptables -t nat -D " + rule,
			For:     what + " packets leave the hub with its own address: neither the interface's check nor the peering takes another",
			Without: Expect{hosts, targets, HostHub, "eni-source-check"}})
	}
	translate("people's", s.Pool.String(), people)
	translate("the office's", s.OfficeLAN.String(), office)
	add(Line{Where: HostHub,
		Shell:   fmt.Sprintf("ip route add %s dev %s", s.OfficeLAN, s.Tunnel),
		Undo:    fmt.Sprintf("ip route del %s dev %s", s.OfficeLAN, s.Tunnel),
		For:     "answers to the office go into the tunnel: iroute tells OpenVPN, not the kernel",
		Without: Expect{office, targets, HostHub, "eni-source-check"}})
	for _, v := range s.services() {
		if v.Peering != PeeringActive {
			continue
		}
		there := fmt.Sprintf("--route-table-id %s --destination-cidr-block %s", s.id("rtb", "hub-public"), v.VPC)
		back := fmt.Sprintf("--route-table-id %s --destination-cidr-block %s", s.id("rtb", v.Host+"-a"), s.HubSubnet())
		add(Line{Where: s.HubAccount,
			Shell:   fmt.Sprintf("aws ec2 create-route --region %s %s --vpc-peering-connection-id %s", s.Region, there, s.id("pcx", v.Host)),
			Undo:    fmt.Sprintf("aws ec2 delete-route --region %s %s", s.Region, there),
			For:     "the hub's subnet finds " + v.Host,
			Without: Expect{Talkers(), []string{v.Host}, HostHub, "no-route"}})
		add(Line{Where: v.Account,
			Shell:   fmt.Sprintf("aws ec2 create-route --region %s %s --vpc-peering-connection-id %s", v.region(s), back, s.id("pcx", v.Host)),
			Undo:    fmt.Sprintf("aws ec2 delete-route --region %s %s", v.region(s), back),
			For:     v.Host + " finds the way back to the hub",
			Without: Expect{Talkers(), []string{v.Host}, v.Host + "-a", "no-route"}})
	}
	push := func(what, file string, hosts []string) {
		path := filepath.Join(vpn.ClientDir, file)
		var text []string
		for _, a := range s.Aggregates {
			text = append(text, pushLine(a))
		}
		add(Line{Where: HostHub, pushes: true,
			Shell:   fmt.Sprintf("printf '%s\\n' >> %s", strings.Join(text, `\n`), path),
			Undo:    fmt.Sprintf("sed -i '/^push /d' %s", path),
			For:     what + " of the services' addresses when they connect",
			Without: Expect{hosts, targets, "internet", "no-route"}})
	}
	push("people hear", "DEFAULT", people)
	push("the office hears (a client with a file of its own does not read DEFAULT)", s.OfficeClient, office)
	add(Line{Where: HostHub, reconnects: true,
		Shell:   fmt.Sprintf(`k=$({ echo status 3; sleep 1; } | nc -NU %[1]s | awk -F'\t' '/^CLIENT_LIST/{print "client-kill "$11}'); { echo "$k"; sleep 1; } | nc -NU %[1]s`, vpn.Management),
		For:     "everybody connects again and hears",
		Without: Expect{Talkers(), targets, "internet", "no-route"}})
	return out
}

// NotForwarded counts the packets that a host's kernel received for others and did
// not forward: Ip InAddrErrors of /proc/net/snmp (RFC 4293 ipSystemStatsInAddrErrors).
func NotForwarded(ctx context.Context, ns string) (uint64, error) {
	out, err := fabric.Exec(ctx, ns, "cat", "/proc/net/snmp")
	if err != nil {
		return 0, err
	}
	var names []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] != "Ip:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, n := range names {
			if n == "InAddrErrors" && i < len(f) {
				return strconv.ParseUint(f[i], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("no Ip InAddrErrors in /proc/net/snmp of %s", ns)
}
