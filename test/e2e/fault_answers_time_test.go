package e2e

import (
	"errors"
	"fmt"
	"slices"

	"peerhub/hub"
	"peerhub/test/lab"
)

// faultsOfTempo are answers that come late, too seldom, or are of another time.
var faultsOfTempo = []fault{
	{
		id: "F05", name: "AWS throttles every call, then recovers; two spokes grow meanwhile",
		inject: `hublab fault throttle empty`,
		expect: "calls become rarer; afterwards no burst: the new prefixes are written once each",
		run: func(s *scene) {
			stood := s.standing()
			s.inject()
			first, later := s.callRates(s.probes[0])
			if first == 0 || 2*later > first {
				s.t.Errorf("%d calls at first, %d in the same time later: the rate does not fall", first, later)
			}
			if err := same(stood, s.standing()); err != nil {
				s.t.Errorf("something changed: %v", err)
			}
			s.paste("hublab fault throttle off\nhublab fault throttle on")
			s.paste("aws $SVC1 ec2 associate-vpc-cidr-block --vpc-id $SVC1_VPC --cidr-block 10.113.0.0/16\naws $SVC2 ec2 associate-vpc-cidr-block --vpc-id $SVC2_VPC --cidr-block 10.114.0.0/16")
			after := len(s.Requests(0))
			s.clock()
			s.paste("hubctl sync --yes || true")
			s.converged("both prefixes are routed", func() error { return s.routed("10.113.0.0/16", "10.114.0.0/16") })
			created, throttled := 0, 0
			for _, q := range s.Requests(after) {
				if byHubd(q) && q.Action == "CreateRoute" {
					created++
				}
				if q.Code == "RequestLimitExceeded" {
					throttled++
				}
			}
			if created != 2 || throttled != 0 {
				s.t.Errorf("%d routes created and %d calls throttled afterwards, want 2 and 0", created, throttled)
			}
			s.saw("%d calls at first, %d in the same time later; afterwards 2 routes, each by one call, 0 throttled", first, later)
		},
		control: "the source's back-off",
		off:     func(g *stage) { g.without("source-backoff") },
		harm: func(s *scene) string {
			s.inject()
			if first, later := s.callRates(s.probe("udp", lab.HostLaptop1, "svc1")); 2*later > first {
				return fmt.Sprintf("hubd went on asking: %d calls at first, %d in the same time later", first, later)
			}
			return ""
		},
	},
	{
		id: "F14", name: "AWS's clock is an hour ahead of the hub's, then an hour behind",
		inject: "hublab fault clock-skew by=1h",
		expect: "refused as expired, hubd follows AWS's clock; nothing changes, what is new is routed, timers go on",
		run: func(s *scene) {
			stood := s.standing()
			s.inject()
			s.afterPolls(3)
			if err := same(stood, s.standing()); err != nil {
				s.t.Errorf("an hour ahead: %v", err)
			}
			s.paste("hublab fault clock-skew by=-1h")
			s.clock()
			s.paste("aws $SVC1 ec2 describe-vpcs >/dev/null 2>&1 || true\nhublab fault clock-skew off; aws $SVC1 ec2 associate-vpc-cidr-block --vpc-id $SVC1_VPC --cidr-block 10.113.0.0/16 >/dev/null; hublab fault clock-skew by=-1h")
			s.converged("the new prefix is routed", func() error { return s.routed("10.113.0.0/16") })
			n := 0
			for _, q := range s.Requests(0) {
				if q.Code == "RequestExpired" {
					n++
				}
			}
			if n == 0 {
				s.t.Error("nothing was refused: it shows nothing")
			}
			s.saw("%d calls refused as expired, then accepted; nothing changed", n)
			s.paste("hublab fault clock-skew off")
			s.sync()
		},
		control: "hubd (stopped while the clock differs)",
		harm: func(s *scene) string {
			s.paste("kill -STOP $HUBD_PID; aws $SVC1 ec2 associate-vpc-cidr-block --vpc-id $SVC1_VPC --cidr-block 10.113.0.0/16 >/dev/null")
			defer s.paste("kill -CONT $HUBD_PID")
			s.inject()
			if s.routed("10.113.0.0/16") != nil {
				return "the new prefix got no route"
			}
			return ""
		},
	},
}

// callRates counts hubd's calls while a probe sends 500 packets, and again while it sends as
// many after 250 more: the probe is the clock, which a busy machine slows as it slows hubd.
func (s *scene) callRates(p *probe) (first, later int) {
	s.t.Helper()
	during := func(packets int) int {
		from := len(s.Requests(0))
		before, _ := p.counts()
		eventually(s.t, "the probe has sent more", func() error {
			if now, _ := p.counts(); now < before+packets {
				return fmt.Errorf("%d of %d", now-before, packets)
			}
			return nil
		})
		n := 0
		for _, q := range s.Requests(from) {
			if byHubd(q) {
				n++
			}
		}
		return n
	}
	first = during(500)
	_ = during(250)
	return first, during(500)
}

// routed is content when the hub's public table has routes to all of these.
func (s *scene) routed(prefixes ...string) error {
	list := s.routesOf(s.Spec.ID("rtb", "hub-public"))
	for _, p := range prefixes {
		if !slices.ContainsFunc(list, func(r string) bool { return len(r) > len(p) && r[:len(p)+1] == p+" " }) {
			return fmt.Errorf("no route to %s in %v", p, list)
		}
	}
	return nil
}

// faultsOfMetadata are what the instance's metadata service does.
var faultsOfMetadata = []fault{
	{
		id: "F12", name: "the metadata service hands out expired credentials, is slow, is down, and hubd starts amid it",
		inject: "hublab fault imds-expired on\nhublab fault imds-slow 5s",
		expect: "state kept, the reason is in status, hubd recovers without a restart",
		run: func(s *scene) {
			stood := s.standing()
			s.inject()
			eventually(s.t, "status says so", func() error { return s.hasProblem(hub.SourceStale, s.Spec.HubAccount) })
			s.paste("hublab fault imds-slow off\nhublab fault imds-down on")
			s.hubctl("sync", "--yes")
			s.hubctl("sync", "--yes")
			eventually(s.t, "status says so still", func() error { return s.hasProblem(hub.SourceStale, s.Spec.HubAccount) })
			if err := same(stood, s.standing()); err != nil {
				s.t.Errorf("something changed: %v", err)
			}
			s.clock()
			s.paste("hublab fault imds-down off\nhublab fault imds-expired off")
			s.converged("hubd is content without a restart", s.healthy)
			s.saw("nothing changed; SOURCE_STALE named the reason; healed by itself")
		},
		control: "what hubd remembers: the state directory is empty and hubd starts",
		harm: func(s *scene) string {
			s.paste("hublab fault imds-down on; hublab unit kill hubd; on-hub nft delete table inet hubd || true; rm -rf $STATE; hublab unit start hubd || true")
			s.stops(lab.HostLaptop1, "svc1")
			return "a hub without memory did not know where to send anything"
		},
	},
}

// healthy is content when no source is stale.
func (s *scene) healthy() error {
	s.hubctl("sync", "--yes")
	for _, code := range []hub.Code{hub.SourceStale, hub.AnswerDoubt, hub.RoleDenied} {
		if s.hasProblem(code, "") == nil {
			return errors.New("a source is stale")
		}
	}
	return nil
}
