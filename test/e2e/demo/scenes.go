package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"peerhub/test/lab"
)

var spec = lab.DefaultSpec()

func (s *story) dir() string    { return lab.RunDir(spec.Prefix) }
func (s *story) socket() string { return filepath.Join(s.dir(), "hubd", "hubd.sock") }
func (s *story) config() string { return filepath.Join(s.dir(), "hubd", "hubd.yaml") }

// tell is the whole story. An error means that it could not go on; a claim that could
// not be shown is kept and the story goes on.
func (s *story) tell() error {
	s.ns, s.addr, s.ids = map[string]string{}, map[string]string{}, map[string]string{}
	for _, h := range spec.Hosts() {
		s.ns[h.Name], s.addr[h.Name], s.ids[h.Name] = h.Namespace, h.Addresses[0].String(), h.VPC
	}
	for _, scene := range []func() error{
		s.byHand, s.hubdStarts, s.everybodyReaches, s.nobodyElse, s.newAccount, s.strangers, s.outsideAggregate,
		s.secondaryCIDR, s.peeringDeleted, s.nothingLeft,
	} {
		if err := scene(); err != nil {
			return err
		}
		if s.ctx.Err() != nil {
			return s.ctx.Err()
		}
	}
	return nil
}

// byHand shows what the people who invented this setup saw: three stages, three reasons.
func (s *story) byHand() error {
	say("Before hubd: what AWS does with the packets of an office")
	_ = s.do(s.lab("down")...) // what a killed demo left
	if err := s.do(s.lab("up", "--without-hubd")...); err != nil {
		return err
	}
	s.show("control: the laptop's tunnel is up, it reaches the hub's end of it", contains(" 0% packet loss"),
		s.in("laptop1", "ping", "-c1", "-W3", spec.Pool.Addr().Next().String())...)
	s.dropped("nothing set: the laptop does not even know a way", "internet", "no-route", s.curl("laptop1", "svc1"))

	lines := spec.Recipe(s.dir())
	for _, l := range lines {
		if strings.Contains(l.Shell, "MASQUERADE") {
			continue
		}
		if err := s.do(s.line(l)...); err != nil {
			return err
		}
	}
	if err := s.clientsBack(); err != nil {
		return err
	}
	s.dropped("routes by hand, no NAT: the hub's interface refuses a source that is not its own", "hub", "eni-source-check", s.curl("laptop1", "svc1"))
	eni := s.eni("hub")
	if err := s.do(s.aws(spec.HubAccount, "ec2", "modify-network-interface-attribute", "--network-interface-id", eni, "--no-source-dest-check")...); err != nil {
		return err
	}
	s.dropped("source/destination check off: the peering refuses a source that is not in the hub VPC", "svc1", "pcx-source", s.curl("laptop1", "svc1"))

	for i := len(lines) - 1; i >= 0; i-- {
		if l := lines[i]; l.Undo != "" && !strings.Contains(l.Shell, "MASQUERADE") {
			l.Shell = l.Undo
			if err := s.do(s.line(l)...); err != nil {
				return err
			}
		}
	}
	return s.do(s.aws(spec.HubAccount, "ec2", "modify-network-interface-attribute", "--network-interface-id", eni, "--source-dest-check")...)
}

// line is a line of the by-hand recipe as a command.
func (s *story) line(l lab.Line) []string {
	if args, ok := strings.CutPrefix(l.Shell, "aws "); ok {
		return s.aws(l.Where, strings.Fields(args)...)
	}
	return s.in(l.Where, "sh", "-c", l.Shell)
}

func (s *story) eni(host string) string {
	h, _ := spec.Host(host)
	return h.ENI
}

// hubdStarts: beside a running OpenVPN server, hubd writes nothing until it is told to.
func (s *story) hubdStarts() error {
	say("hubd comes to the running bastion")
	ccd := filepath.Join(s.dir(), "openvpn", "ccd")
	if err := s.do("rm", "-f", filepath.Join(ccd, "DEFAULT")); err != nil {
		return err
	}
	// The site has a file of its own, which hides DEFAULT: it needs one line.
	if err := s.do("sh", "-c", "echo 'config "+filepath.Join(ccd, "peerhub.routes")+"' >> "+filepath.Join(ccd, spec.OfficeClient)); err != nil {
		return err
	}
	if err := s.do(s.lab("unit", "start", "hubd")...); err != nil {
		return err
	}
	s.await(20*time.Second, "the first start beside a running OpenVPN server only looks: plan says what it would do", check{"lists changes, exit code 2",
		func(out string, code int) bool { return code == 2 && strings.Contains(out, s.addrPrefix("svc1")) }}, s.ctl("plan")...)
	s.show("and nothing is written: no table of ours in the kernel", lacks("inet hubd"), s.in("hub", "nft", "list", "tables")...)
	if err := s.do(s.ctl("sync", "--yes")...); err != nil {
		return err
	}
	s.await(20*time.Second, "after hubctl sync nothing is left to do", check{"exit code 0", func(_ string, code int) bool { return code == 0 }}, s.ctl("plan")...)
	return s.clientsBack()
}

// clientsBack makes every client connect anew, once: those that connected before hubd
// wrote the routes do not have them.
func (s *story) clientsBack() error {
	for _, u := range []string{lab.UnitLaptop1, lab.UnitLaptop2, lab.UnitOffice} {
		if err := s.do(s.lab("unit", "restart", u)...); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) addrPrefix(host string) string {
	for _, v := range spec.Services {
		if v.Host == host {
			return v.VPC.String()
		}
	}
	return host
}

// everybodyReaches: the main job.
func (s *story) everybodyReaches() error {
	say("One OpenVPN connection reaches every VPC; the source/destination check is on")
	s.show("the check is on", contains("true"), s.aws(spec.HubAccount, "ec2", "describe-network-interfaces", "--network-interface-ids", s.eni("hub"),
		"--query", "NetworkInterfaces[0].SourceDestCheck")...)
	for _, from := range []string{"laptop1", "laptop2", "office"} {
		for _, to := range []string{"svc1", "svc2"} {
			s.await(15*time.Second, fmt.Sprintf("%s reaches %s, which sees the hub's address", from, to),
				contains("vpc="+to, "client="+s.addr["hub"]), s.curl(from, to)...)
		}
	}
	s.show("the hub VPC itself is reachable too", contains("client="+s.addr["hub"]), s.curl("laptop1", "infra")...)
	s.show("one rule translates, however many spokes", contains("snat", "@address4"), s.in("hub", "nft", "list", "chain", "inet", "hubd", "translate")...)
	return nil
}

// nobodyElse: what must stay unreachable, each with the counter that rose and a control.
func (s *story) nobodyElse() error {
	say("What must stay closed is closed, and says why")
	s.guarded("a VPC that is not peered is refused by the hub", s.curl("laptop1", "svc3"))
	if err := s.do(s.in("laptop1", "ip", "route", "replace", "169.254.169.254", "dev", "tun0")...); err != nil {
		return err
	}
	s.guarded("the hub's instance metadata (IMDS) is refused to a client",
		s.in("laptop1", "curl", "-sS", "--max-time", "3", "http://169.254.169.254/latest/meta-data/"))
	s.show("control: the hub itself gets an answer from IMDS (401: it asks for a token)", contains("401"),
		s.in("hub", "curl", "-sS", "--max-time", "3", "-o", "/dev/null", "-w", "%{http_code}\n", "http://169.254.169.254/latest/meta-data/")...)
	tunnelEnd := spec.Pool.Addr().Next().String()
	s.guarded("the hub's ssh is refused to a client", s.in("laptop1", "nc", "-w3", tunnelEnd, "22"))
	s.show("control: the hub's ssh answers its own VPC", contains("SSH-2.0"), s.in("infra", "sh", "-c", "nc -w3 "+s.addr["hub"]+" 22 </dev/null")...)
	client := s.tunnelAddress("laptop1")
	s.dropped("a service cannot open a connection to a client", "svc1-a", "no-route", s.in("svc1", "nc", "-z", "-w3", client, "22"))
	s.show("control: the other way round arrives", contains("vpc=svc1"), s.curl("laptop1", "svc1")...)
	s.dropped("a host whose security group admits nobody stays closed", "svc1-closed", "sg", s.curl("laptop1", "svc1-closed"))
	return nil
}

// tunnelAddress is a client's address in the VPN pool.
func (s *story) tunnelAddress(host string) string {
	out, _ := s.exec(s.in(host, "ip", "-j", "address", "show", "dev", "tun0"))
	var links []struct {
		AddrInfo []struct{ Family, Local string } `json:"addr_info"`
	}
	if json.Unmarshal([]byte(out), &links) == nil {
		for _, l := range links {
			for _, a := range l.AddrInfo {
				if a.Family == "inet" {
					return a.Local
				}
			}
		}
	}
	return "0.0.0.0"
}

// strangers: nobody gets in by asking; who is listed is let in.
func (s *story) strangers() error {
	say("A stranger asks for a peering; a listed account asks too")
	list := filepath.Join(s.dir(), "hubd", "accounts.d", asking+".yaml")
	if err := s.do("sh", "-c", fmt.Sprintf("echo '%q: {name: svc4}' > %s; kill -HUP $(pgrep -f '[h]ubd --config %s')", asking, list, s.config())); err != nil {
		return err
	}
	if err := s.do(s.aws(asking, "ec2", "create-vpc-peering-connection", "--vpc-id", s.ids["svc4"],
		"--peer-owner-id", spec.HubAccount, "--peer-vpc-id", s.ids["hub"], "--query", "VpcPeeringConnection.Status.Code")...); err != nil {
		return err
	}
	status := []string{"ec2", "describe-vpc-peering-connections", "--query", "VpcPeeringConnections[].Status.Code"}
	s.await(20*time.Second, "the request of a listed account is accepted by hubd", contains("active"), s.aws(asking, status...)...)
	s.show("the stranger's request is still pending", contains("pending-acceptance"), s.aws(stranger, status...)...)
	s.show("no call was made into the stranger's account", check{"prints 0", func(out string, code int) bool {
		return code == 0 && strings.TrimSpace(out) == "0"
	}}, s.callsInto(stranger)...)
	s.show("control: into the listed account there were calls", check{"prints a number above 0", func(out string, code int) bool {
		n, err := strconv.Atoi(strings.TrimSpace(out))
		return code == 0 && err == nil && n > 0
	}}, s.callsInto(asking)...)
	return nil
}

// Accounts of the lab that ask for a peering by themselves.
const (
	stranger = "999999999999"
	asking   = "555555555555"
)

// callsInto counts, in the simulated AWS's log, who took on a role of the account and what
// such a role did there.
func (s *story) callsInto(account string) []string {
	return []string{"sh", "-c", fmt.Sprintf(`%s log -o json | jq '[.requests[] | select(((.params.RoleArn // [""])[0] | test(":%[2]s:")) or (.account == "%[2]s" and (.principal | test("assumed-role"))))] | length'`,
		filepath.Join(s.bin, "hublab"), account)}
}

// newAccount: a third account, inside an aggregate, on a session that was up all the time.
func (s *story) newAccount() error {
	say("A new account, while everything runs")
	before := s.session("laptop1")
	if strings.Count(before, "\n") != 1 {
		return fmt.Errorf("the VPN server and laptop1's session are not to be seen: %q", before)
	}
	start := time.Now()
	if err := s.do(s.ctl("add-spoke", "--config", s.config(), "--account", "444444444444", "--vpc", s.ids["svc3"], "--name", "svc3", "--wait", "--yes")...); err != nil {
		return err
	}
	s.await(20*time.Second, "laptop1 reaches the new account, without a new connection", contains("vpc=svc3", "client="+s.addr["hub"]), s.curl("laptop1", "svc3")...)
	fmt.Printf("  from the first command to the first answer: %.1f s\n", time.Since(start).Seconds())
	s.show("same OpenVPN process, same session as before", contains(before), "sh", "-c", s.sessionCommand("laptop1"))
	return nil
}

// sessionCommand prints the server's process and the client's session: since when.
func (s *story) sessionCommand(client string) string {
	return fmt.Sprintf(`pgrep -f '%s/[o]penvpn/server.conf'; awk -F'\t' '$1=="CLIENT_LIST" && $2=="%s" {print $2, $3, $9}' %s/openvpn/status`,
		s.dir(), client, s.dir())
}

func (s *story) session(client string) string {
	out, _ := s.exec([]string{"sh", "-c", s.sessionCommand(client)})
	return strings.TrimSpace(out)
}

// outsideAggregate: a spoke whose route must be pushed.
func (s *story) outsideAggregate() error {
	say("The account that asked is outside every aggregate: its route must be pushed")
	s.await(20*time.Second, "the route is written where OpenVPN reads it at connect", contains("10.200.0.0 255.255.0.0"),
		"cat", filepath.Join(s.dir(), "openvpn", "ccd", "peerhub.routes"))
	s.await(20*time.Second, "status names who lacks it", contains("laptop1", "10.200.0.0/16"), s.ctl("clients")...)
	s.show("laptop1, connected before, does not reach it yet", refused(), s.curl("laptop1", "svc4")...)
	if err := s.do(s.lab("unit", "restart", lab.UnitLaptop1)...); err != nil {
		return err
	}
	s.await(20*time.Second, "after a reconnect it does", contains("vpc=svc4", "client="+s.addr["hub"]), s.curl("laptop1", "svc4")...)
	return nil
}

// secondaryCIDR: a spoke grows.
func (s *story) secondaryCIDR() error {
	say("A spoke gets a second prefix")
	start := time.Now()
	if err := s.do(s.aws("222222222222", "ec2", "associate-vpc-cidr-block", "--vpc-id", s.ids["svc1"], "--cidr-block", "10.118.0.0/20")...); err != nil {
		return err
	}
	s.await(10*time.Second, "the kernel has a route within one interval", contains("10.118.0.0/20"), s.in("hub", "ip", "route", "show", "table", "all", "proto", "104")...)
	s.await(5*time.Second, "nftables maps it", contains("10.118.0.0/20"), s.in("hub", "nft", "list", "map", "inet", "hubd", "spokes4")...)
	s.await(5*time.Second, "the hub's VPC route table has it", contains("10.118.0.0/20"), s.hubTable()...)
	fmt.Printf("  from the association to all three: %.1f s\n", time.Since(start).Seconds())
	return nil
}

func (s *story) hubTable() []string {
	return s.aws(spec.HubAccount, "ec2", "describe-route-tables", "--route-table-ids", spec.ID("rtb", "hub-public"),
		"--query", "RouteTables[0].Routes[].[DestinationCidrBlock,VpcPeeringConnectionId,State]", "--output", "text")
}

// peeringDeleted: a spoke leaves and takes everything with it.
func (s *story) peeringDeleted() error {
	say("A peering is deleted: everything of that spoke goes")
	s.show("before: the peering's prefixes stand in the kernel", contains("10.200.0.0/16"), s.in("hub", "ip", "route", "show", "table", "all", "proto", "104")...)
	out, _ := s.exec(s.aws(spec.HubAccount, "ec2", "describe-vpc-peering-connections", "--filters", "Name=requester-vpc-info.vpc-id,Values="+s.ids["svc4"],
		"Name=status-code,Values=active", "--query", "VpcPeeringConnections[0].VpcPeeringConnectionId", "--output", "text"))
	if err := s.do(s.aws(spec.HubAccount, "ec2", "delete-vpc-peering-connection", "--vpc-peering-connection-id", strings.TrimSpace(out))...); err != nil {
		return err
	}
	gone := "10.200.0.0"
	s.await(20*time.Second, "the kernel route is gone", lacks(gone), s.in("hub", "ip", "route", "show", "table", "all")...)
	s.await(5*time.Second, "the set element is gone", lacks(gone), s.in("hub", "nft", "list", "table", "inet", "hubd")...)
	s.await(10*time.Second, "the route in the hub's table is gone", lacks(gone), s.hubTable()...)
	s.await(10*time.Second, "the route back in the spoke's table is gone", lacks(spec.HubSubnet().String()), s.aws(asking, "ec2", "describe-route-tables",
		"--query", "RouteTables[].Routes[].[DestinationCidrBlock,VpcPeeringConnectionId]", "--output", "text")...)
	s.await(5*time.Second, "the push is gone", lacks(gone), "cat", filepath.Join(s.dir(), "openvpn", "ccd", "peerhub.routes"))
	s.show("control: the other spokes work on", contains("vpc=svc1"), s.curl("laptop1", "svc1")...)
	return nil
}

// nothingLeft shows the whole at the end.
func (s *story) nothingLeft() error {
	say("At the end")
	s.show("status, as an operator sees it", contains("svc1", "svc2", "svc3"), s.ctl("status")...)
	return nil
}
