package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"peerhub/test/ec2sim"
	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// event is something that may happen.
type event struct {
	name   string
	weight int
	// restless: it ends hubd, and so what is told of its memory.
	restless bool
	do       func(*Soak, context.Context) (string, error)
}

// events are all of them. What they do is told in a word, for the log.
var events = []event{
	{"AWS answers badly", 8, false, (*Soak).badAnswers},
	{"a peering comes or goes", 6, false, (*Soak).peering},
	{"a VPC grows or shrinks", 4, false, (*Soak).prefix},
	{"the config changes", 3, false, (*Soak).config},
	{"the config is broken for a while", 1, false, (*Soak).brokenConfig},
	{"somebody flushes the firewall", 2, false, (*Soak).flush},
	{"somebody removes kernel routes or rules", 3, false, (*Soak).trample},
	{"somebody removes a VPC route", 2, false, (*Soak).removeRoute},
	{"hubd stands still", 2, false, (*Soak).freeze},
	{"a VPN client is cut off", 1, false, (*Soak).client},
	{"the OpenVPN server starts anew", 1, false, (*Soak).server},
	{"hubd is killed", 3, true, (*Soak).kill},
	{"hubd starts anew", 1, true, (*Soak).restart},
	{"hubd loses its state", 1, true, (*Soak).lose},
}

// choose takes one by weight; restful leaves out those that end hubd.
func choose(rng *rand.Rand, restful bool) event {
	sum := 0
	for _, e := range events {
		if !restful || !e.restless {
			sum += e.weight
		}
	}
	at := rng.IntN(sum)
	for _, e := range events {
		if restful && e.restless {
			continue
		}
		if at -= e.weight; at < 0 {
			return e
		}
	}
	return events[0]
}

func one[T any](s *Soak, list ...T) T { return list[s.rng.IntN(len(list))] }

// badAnswers lets the API misbehave for a few seconds.
func (s *Soak) badAnswers(ctx context.Context) (string, error) {
	fault := one(s, [2]string{ec2sim.FaultEmpty200, "on"}, [2]string{ec2sim.FaultHTML200, "on"}, [2]string{ec2sim.FaultNoRequestID, "on"},
		[2]string{ec2sim.FaultEmpty200, "DescribeRouteTables"}, [2]string{ec2sim.FaultHTML200, "DescribeVpcPeeringConnections"},
		[2]string{ec2sim.FaultUnavailable, "on"}, [2]string{ec2sim.FaultLatency, "400ms"}, [2]string{ec2sim.FaultStaleReplica, "2s"},
		[2]string{ec2sim.FaultDeny, "CreateRoute@" + s.lab.Spec.HubAccount}, [2]string{ec2sim.FaultRouteLag, "1s"},
		[2]string{ec2sim.FaultPage2Fail, "on"}, [2]string{ec2sim.FaultThrottle, "on"})
	if fault[0] == ec2sim.FaultPage2Fail {
		if err := s.lab.SetFault(ec2sim.FaultPageSize, "1"); err != nil {
			return "", err
		}
	}
	if err := s.lab.SetFault(fault[0], fault[1]); err != nil {
		return "", err
	}
	err := s.pass(ctx, time.Duration(1000+s.rng.IntN(3000))*time.Millisecond)
	return strings.Join(fault[:], " "), errors.Join(err, s.healthy())
}

// healthy ends every fault of the API.
func (s *Soak) healthy() error {
	var errs []error
	for _, f := range s.lab.Faults() {
		if f.Value != "" {
			errs = append(errs, s.lab.SetFault(f.Name, "off"))
		}
	}
	return errors.Join(errs...)
}

// hosts are the services that come and go; the first stays, so that hubd is never alone.
func (s *Soak) hosts() []lab.Service {
	return slices.DeleteFunc(slices.Clone(s.lab.Spec.Services[1:]), func(v lab.Service) bool { return v.Host == "stranger" })
}

func (s *Soak) peering(ctx context.Context) (string, error) {
	v := one(s, s.hosts()...)
	list, err := s.admin.Peerings(ctx)
	if err != nil {
		return "", err
	}
	vpc := s.lab.Spec.ID("vpc", v.Host)
	for _, p := range list {
		if p.Status.Code != "active" || aws.ToString(p.AccepterVpcInfo.VpcId) != vpc {
			continue
		}
		by := one(s, s.lab.Spec.HubAccount, v.Account)
		err := s.admin.Unpeer(ctx, by, aws.ToString(p.VpcPeeringConnectionId))
		if s.rng.IntN(3) > 0 {
			return v.Host + " goes, ended by " + by, err
		}
		_, again := s.admin.Peer(ctx, v.Host)
		return v.Host + " is peered anew", errors.Join(err, again)
	}
	_, err = s.admin.Peer(ctx, v.Host)
	return v.Host + " comes", err
}

// second is the prefix that a service's VPC may have beside its own.
func second(v lab.Service) netip.Prefix {
	a := v.VPC.Addr().As4()
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, a[1] + 100, 16, 0}), 20)
}

func (s *Soak) prefix(ctx context.Context) (string, error) {
	v := one(s, s.hosts()...)
	if s.grown[v.Host] {
		s.grown[v.Host] = false
		return v.Host + " shrinks", s.admin.RemovePrefix(ctx, v.Host, second(v))
	}
	s.grown[v.Host] = true
	return v.Host + " grows", s.admin.AddPrefix(ctx, v.Host, second(v))
}

// config has an operator exclude a prefix, or change their mind.
func (s *Soak) config(context.Context) (string, error) {
	v := one(s, s.hosts()...)
	s.excluded[v.Host] = !s.excluded[v.Host]
	err := s.writeConfig("")
	return fmt.Sprintf("%s excluded: %v", v.Host, s.excluded[v.Host]), errors.Join(err, s.hangup())
}

func (s *Soak) brokenConfig(ctx context.Context) (string, error) {
	err := errors.Join(s.writeConfig("polll: 3s\n"), s.hangup(), s.pass(ctx, time.Second), s.writeConfig(""), s.hangup())
	return "polll: 3s", err
}

// writeConfig writes the lab's own config with what is excluded now, and more text.
func (s *Soak) writeConfig(more string) error {
	var accounts []string
	for _, v := range s.lab.Spec.Services {
		if v.Host == "stranger" {
			continue
		}
		exclude := ""
		if s.excluded[v.Host] {
			exclude = ", exclude: [" + v.VPC.String() + "]"
		}
		accounts = append(accounts, fmt.Sprintf("%q: {name: %s%s}", v.Account, v.Host, exclude))
	}
	text := accountsLine.ReplaceAllLiteralString(s.original, "accounts: {"+strings.Join(accounts, ", ")+"}")
	return os.WriteFile(configPath(s.lab), []byte(text+more), 0o640)
}

func (s *Soak) hangup() error {
	if p := s.lab.Process(lab.UnitHubd); p != nil {
		return syscall.Kill(p.PID, syscall.SIGHUP)
	}
	return nil
}

// flush is another tool that loads its ruleset and takes everything else away first.
func (s *Soak) flush(ctx context.Context) (string, error) {
	return "nft flush ruleset", s.onHub(ctx, "nft flush ruleset; nft -f "+s.foreignFile())
}

func (s *Soak) trample(ctx context.Context) (string, error) {
	line := one(s, "ip route flush table 26741", "ip route flush table 26740", "ip rule del priority 26799", "ip rule del priority 26740",
		"ip route flush proto 104", "ip rule flush; ip rule add lookup main priority 32766; ip rule add lookup default priority 32767; ip rule add from 192.0.2.7 lookup 77 priority 700")
	return line, s.onHub(ctx, line+" || true")
}

func (s *Soak) removeRoute(ctx context.Context) (string, error) {
	spokes, err := s.model.spokes(ctx)
	if err != nil || len(spokes) == 0 {
		return "none is there", err
	}
	v := one(s, spokes...)
	table, dest, account := s.lab.Spec.ID("rtb", "hub-public"), v.prefixes[0], s.lab.Spec.HubAccount
	err = s.admin.DeleteRoute(ctx, account, table, dest)
	if err != nil && strings.Contains(err.Error(), "InvalidRoute.NotFound") {
		err = nil // hubd has not made it yet
	}
	return fmt.Sprintf("%s of %s", dest, table), err
}

func (s *Soak) freeze(ctx context.Context) (string, error) {
	p := s.lab.Process(lab.UnitHubd)
	if p == nil {
		return "", errors.New("hubd does not run")
	}
	err := errors.Join(syscall.Kill(p.PID, syscall.SIGSTOP), s.pass(ctx, time.Second), syscall.Kill(p.PID, syscall.SIGCONT))
	return "for a second", err
}

func (s *Soak) client(ctx context.Context) (string, error) {
	unit := one(s, lab.UnitLaptop1, lab.UnitLaptop2, lab.UnitOffice)
	return unit, errors.Join(s.lab.KillUnit(unit), s.lab.StartUnit(ctx, unit))
}

func (s *Soak) server(ctx context.Context) (string, error) {
	return "", s.lab.RestartUnit(ctx, lab.UnitServer)
}

func (s *Soak) kill(ctx context.Context) (string, error) {
	return "and started", errors.Join(s.lab.KillUnit(lab.UnitHubd), s.pass(ctx, time.Duration(s.rng.IntN(1000))*time.Millisecond), s.lab.StartUnit(ctx, lab.UnitHubd))
}

func (s *Soak) restart(ctx context.Context) (string, error) {
	return "", s.lab.RestartUnit(ctx, lab.UnitHubd)
}

// lose takes the state away once hubd has nothing left to do. A peering that ended just
// before, with nobody having seen it, would leave its way back in the spoke's table: of that
// nobody knows any more whose it was.
func (s *Soak) lose(ctx context.Context) (string, error) {
	if err := s.settled(ctx); err != nil {
		return "", err
	}
	return "all of it", errors.Join(s.lab.KillUnit(lab.UnitHubd), os.RemoveAll(filepath.Join(s.lab.HubdDir(), "state")), s.lab.StartUnit(ctx, lab.UnitHubd))
}

// onHub runs a line of a shell on the hub.
func (s *Soak) onHub(ctx context.Context, line string) error {
	_, err := fabric.Exec(ctx, s.lab.Spec.Prefix+lab.HostHub, "sh", "-c", line)
	return err
}
