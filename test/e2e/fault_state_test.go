package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"peerhub/hub"
	"peerhub/test/lab"
	"peerhub/test/soak/admin"
)

// faultsOfState are what happens to files, and at which instruction hubd dies.
var faultsOfState = []fault{
	{
		id: "F20", name: "hubd is killed between CreateRoute and the confirmation in its ledger",
		inject:  "on-hub env HUBD_FAILPOINT=route.created:1:kill hubd --config $CONFIG # built with -tags failpoints\n# while a spoke comes; then: start hubd",
		expect:  "the intent is in the ledger before the call; the restart adopts exactly that route, and removes it when the spoke is not wanted any more",
		control: "the ledger entry before the call",
		run: func(s *scene) {
			entry := s.dieMaking()
			ledger, err := ledgerOf(filepath.Join(s.statePath(), "state.db"))
			s.must(err)
			if !slices.Contains(ledger, entry+" (not confirmed)") || !s.hasRoute(s.Spec.ID("rtb", "hub-public"), s.service("svc3").VPC) {
				s.t.Errorf("after the crash: ledger %v, table %v", ledger, s.routesOf(s.Spec.ID("rtb", "hub-public")))
			}
			s.clock()
			s.must(errors.Join(s.SetUnitEnv(lab.UnitHubd), s.StartUnit(s.t.Context(), lab.UnitHubd)))
			s.converged("the route is adopted", func() error {
				ledger, err := ledgerOf(filepath.Join(s.statePath(), "state.db"))
				if err == nil && !slices.Contains(ledger, entry) {
					err = fmt.Errorf("the ledger has %v", ledger)
				}
				return err
			})
			s.withoutSVC3()
			eventually(s.t, "it is removed with its spoke", func() error {
				if s.hasRoute(s.Spec.ID("rtb", "hub-public"), s.service("svc3").VPC) {
					return errors.New("it stands")
				}
				return nil
			})
			s.saw("the intent was there, was confirmed by the next hubd, and its route went with the spoke")
		},
		off: func(g *stage) { g.without("ledger-intent") },
		harm: func(s *scene) string {
			s.dieMaking("HUBD_OFF=ledger-intent")
			s.withoutSVC3()
			s.must(errors.Join(s.SetUnitEnv(lab.UnitHubd, "HUBD_OFF=ledger-intent"), s.StartUnit(s.t.Context(), lab.UnitHubd)))
			return s.orphan()
		},
	},
	{
		id: "F21", name: "the state file is empty, truncated, has flipped bits, is missing",
		inject: "# hubd is stopped, the API away; for each of\n" +
			": >$STATE/state.db; rm -f $STATE/state.db-wal\ntruncate -s 9000 $STATE/state.db\nperl -pi -e 's/10\\.110\\.0/10.111.0/g' $STATE/state.db # one bit each\nrm $STATE/state.db*\n# start hubd",
		expect:  "LEDGER_DOUBT says what is wrong with which file, the damaged one is kept aside; nothing is removed before AWS has answered; traffic flows",
		control: "the checksums",
		run: func(s *scene) {
			for name, damage := range damages {
				s.must(s.StopUnit(lab.UnitHubd))
				stood := strings.Join(s.everyRoute(), "\n")
				broken := len(s.setAside())
				s.paste("hublab fault unavailable on\n" + damage)
				s.must(s.StartUnit(s.t.Context(), lab.UnitHubd))
				eventually(s.t, name+": status says so", func() error { return s.hasProblem(hub.LedgerDoubt, "state.db") })
				if err := same(stood, strings.Join(s.everyRoute(), "\n")); err != nil {
					s.t.Errorf("%s: something changed: %v", name, err)
				}
				if kept := len(s.setAside()) - broken; kept != 1 && (name == "truncated" || name == "flipped bits") {
					s.t.Errorf("%s: %d files were kept aside", name, kept)
				}
				s.probes[0].more(20)
				s.clock()
				s.paste("hublab fault unavailable off")
				s.converged("AWS answers, and the doubt is over", func() error {
					if s.hasProblem(hub.LedgerDoubt, "") == nil {
						return errors.New("it is not")
					}
					return s.quiet()
				})
				if err := same(stood, strings.Join(s.everyRoute(), "\n")); err != nil {
					s.t.Errorf("%s: after AWS has answered, something changed: %v", name, err)
				}
			}
			s.saw("%d kinds of damage: LEDGER_DOUBT each time, nothing removed, the broken file kept", len(damages))
		},
		off: func(g *stage) { g.without("state-check") },
		harm: func(s *scene) string {
			p := s.probe("udp", lab.HostLaptop1, "svc1")
			s.must(s.StopUnit(lab.UnitHubd))
			s.paste("hublab fault unavailable on\n" + damages["flipped bits"])
			s.must(s.StartUnit(s.t.Context(), lab.UnitHubd))
			p.stalls(50)
			return "hubd believed the flipped bits, led 10.111.0.0/16 to svc1 and cut 10.110.0.0/16: its traffic stopped"
		},
	},
	{
		id: "F22", name: "the state file is of a newer hubd",
		inject:  "# hubd is stopped\nprintf '\\0\\0\\3\\347' | dd of=$STATE/state.db bs=1 seek=60 conv=notrunc status=none # schema 999\n# start hubd, ten times over",
		expect:  "hubd ends each time with a sentence that says what to do; it writes nothing anywhere; the data plane goes on, and so does a start with a file it knows",
		control: "the check of the version",
		run: func(s *scene) {
			s.must(s.StopUnit(lab.UnitHubd))
			path := filepath.Join(s.statePath(), "state.db")
			good, err := os.ReadFile(path)
			s.must(err)
			s.inject()
			before, stood := digest(s, path), s.standing()
			for range 10 {
				a := s.try(lab.HostHub, filepath.Join(bin, "hubd"), "--config", s.configPath())
				if a.code != 1 || !strings.Contains(a.talk, "newer hubd") || !strings.Contains(a.talk, "install that version") {
					s.t.Fatalf("exit %d: %s%s", a.code, a.out, a.talk)
				}
			}
			if now := digest(s, path); now != before {
				s.t.Error("the newer file was changed")
			}
			if err := same(stood, s.standing()); err != nil {
				s.t.Errorf("something changed: %v", err)
			}
			s.probes[1].more(20)
			s.clock()
			s.must(os.WriteFile(path, good, 0o640))
			s.must(s.StartUnit(s.t.Context(), lab.UnitHubd))
			s.converged("a hubd that knows its file has nothing to do", s.quiet)
			s.afterPolls(2) // until AWS has answered it
			s.saw("10 starts, 10 times exit 1 with what to do; file, kernel and routes the same")
		},
		off: func(g *stage) { g.without("state-check") },
		harm: func(s *scene) string {
			p := s.probe("udp", lab.HostLaptop1, "svc1")
			s.must(s.StopUnit(lab.UnitHubd))
			// What a newer hubd writes may mean something else to this one.
			s.paste("hublab fault unavailable on\n" + damages["flipped bits"] + "\n" + s.fault.inject)
			s.must(s.StartUnit(s.t.Context(), lab.UnitHubd))
			p.stalls(50)
			return "hubd took what it does not understand for its own, and cut a spoke's traffic"
		},
	},
}

// damages are what may happen to a state file that nobody has open.
var damages = map[string]string{
	"empty":        ": >$STATE/state.db; rm -f $STATE/state.db-wal",
	"truncated":    "truncate -s 9000 $STATE/state.db",
	"flipped bits": `perl -pi -e 's/10\.110\.0/10.111.0/g' $STATE/state.db`,
	"missing":      "rm $STATE/state.db*",
}

// everyRoute is what hubd keeps in the kernel, the firewall and AWS, in words that do not
// depend on the order in which it was made.
func (s *scene) everyRoute() []string {
	s.t.Helper()
	var out []string
	for _, line := range []string{"ip -4 rule", "ip -4 route show table 26741", "nft -s list map inet hubd spokes4", "nft -s list set inet hubd out", "nft -s list set inet hubd back"} {
		out = append(out, passing.ReplaceAllString(s.sh(lab.HostHub, line), ""))
	}
	for _, t := range s.Sim.Network().Tables {
		out = append(out, t.ID+" "+strings.Join(s.routesOf(t.ID), ", "))
	}
	return out
}

// setAside lists the state files that were found broken.
func (s *scene) setAside() []string {
	s.t.Helper()
	names, err := filepath.Glob(filepath.Join(s.statePath(), "state.db.broken-*"))
	s.must(err)
	return slices.DeleteFunc(names, func(n string) bool { return strings.HasSuffix(n, "-wal") || strings.HasSuffix(n, "-shm") })
}

// digest is a file's content, in short.
func digest(s *scene, path string) [32]byte {
	s.t.Helper()
	b, err := os.ReadFile(path)
	s.must(err)
	return sha256.Sum256(b)
}

// dieMaking has hubd die right after it made the route to svc3 in the hub's table, and
// returns what the ledger calls that route.
func (s *scene) dieMaking(env ...string) string {
	s.t.Helper()
	s.must(s.StopUnit(lab.UnitHubd))
	pcx, err := admin.New(s.Lab).Peer(s.t.Context(), "svc3")
	s.must(err)
	s.must(s.SetUnitEnv(lab.UnitHubd, append(env, "HUBD_FAILPOINT=route.created:1:kill")...))
	s.clock()
	for { // it may have been a route on the spoke's side
		if err := s.StartUnit(s.t.Context(), lab.UnitHubd); err != nil && s.Process(lab.UnitHubd) != nil {
			s.t.Fatal(err)
		}
		eventually(s.t, "hubd dies", func() error {
			if s.Process(lab.UnitHubd) != nil {
				return errors.New("it lives")
			}
			return nil
		})
		if s.hasRoute(s.Spec.ID("rtb", "hub-public"), s.service("svc3").VPC) {
			break
		}
	}
	return fmt.Sprintf("%s %s %s", s.Spec.ID("rtb", "hub-public"), s.service("svc3").VPC, pcx)
}

// withoutSVC3 has the config refuse svc3.
func (s *scene) withoutSVC3() {
	s.t.Helper()
	v := s.service("svc3")
	s.configure(replacing("accounts: {", fmt.Sprintf("accounts: {%q: {name: svc3, exclude: [%s]}, ", v.Account, v.VPC)))
	if s.Process(lab.UnitHubd) != nil {
		s.must(s.hangup())
	}
}

// orphan waits until hubd has nothing to do and tells which routes to svc3, which nobody
// wants, are left.
func (s *scene) orphan() string {
	s.t.Helper()
	s.afterPolls(3)
	eventually(s.t, "hubd has nothing to do", s.quiet)
	for _, r := range s.routesOf(s.Spec.ID("rtb", "hub-public")) {
		if strings.HasPrefix(r, s.service("svc3").VPC.String()+" ") {
			return "a route of ours that nobody wants and nobody removes: " + r
		}
	}
	return ""
}
