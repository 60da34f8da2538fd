package e2e

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"peerhub/hub/failpoint"
	"peerhub/test/lab"
	"peerhub/test/soak/admin"
)

var crashSeeds = flag.Int("crash-seeds", 20, "F56: how often hubd is killed at each point, each time by another seed")

// faultsOfCrashes kill hubd at every instruction that matters.
var faultsOfCrashes = []fault{crashFault(0)}

// TestKilledAtEveryPoint is F56 in short: every point once, in one mode.
func TestKilledAtEveryPoint(t *testing.T) {
	t.Parallel()
	v := crashFault(1).play(t, "persist")
	t.Logf("%s; control: %s; lost %d", v.Seen, v.Control, v.Lost)
}

// crashFault kills hubd at each point by that many seeds; 0: as the flag says.
func crashFault(seeds int) fault {
	return fault{
		id: "F56", name: "kill -9 at every named failpoint, at an arrival and amid a change that a seed chooses",
		inject: "# for every POINT of hub/failpoint; hubd is built with -tags failpoints\n" +
			"on-hub env HUBD_FAILPOINT=POINT:N:kill hubd --config $CONFIG\non-hub hubd --config $CONFIG",
		expect:  "after a restart the plan is empty, tables, kernel and ledger are as the cloud and the config say; no foreign route was deleted; no packet is lost",
		control: "the ledger entry before the call (it is written after it)",
		setup: func(g *stage) {
			g.replace("accounts: {", fmt.Sprintf("safety: {removals_after: 1, max_removed: 100%%}\naccounts: {%q: {name: svc4}, ", "555555555555"))
			g.opt.Sim.Delays.ShortVisible, g.opt.Sim.Delays.LongVisible = 20*time.Second, 20*time.Second
		},
		run: func(s *scene) {
			if seeds == 0 {
				seeds = *crashSeeds
			}
			newCrasher(s).all(seeds)
		},
		off:  func(g *stage) { g.without("ledger-intent") },
		harm: orphaned,
	}
}

// orphaned kills hubd between CreateRoute and its record, withdraws the want meanwhile, and
// tells which routes stay for ever.
func orphaned(s *scene) string {
	c := newCrasher(s)
	c.must(s.KillUnit(lab.UnitHubd))
	c.change("arrive")
	c.startFailing("route.created:1:kill", "HUBD_OFF=ledger-intent")
	eventually(s.t, "hubd dies", c.died)
	c.change("exclude")
	c.must(s.SetUnitEnv(lab.UnitHubd, "HUBD_OFF=ledger-intent"))
	c.must(s.StartUnit(s.t.Context(), lab.UnitHubd))
	s.afterPolls(3)
	left := ""
	eventually(s.t, "hubd has nothing to do", s.quiet)
	for _, t := range c.tables() {
		for _, r := range s.routesOf(t) {
			if strings.Contains(r, c.svc4) {
				left += t + " " + r + " "
			}
		}
	}
	if left != "" {
		left = "routes that nobody wants and nobody removes: " + left
	}
	return left
}

// crasher is F56 at work: a spoke, svc4, comes, grows, shrinks, is excluded and goes, while
// hubd dies all the time and two other spokes carry the probes.
type crasher struct {
	*scene
	admin    *admin.Admin
	rng      *rand.Rand
	svc4     string // id of its peering, "" when there is none
	asked    bool   // it is a request that hubd accepts
	second   bool   // it has its second prefix
	excluded bool   // the config refuses all of it
	requests int    // how many were looked at
	reached  map[string]int
	slowest  time.Duration
}

var svc4Second = netip.MustParsePrefix("10.201.0.0/20")

func newCrasher(s *scene) *crasher {
	return &crasher{scene: s, admin: admin.New(s.Lab), reached: map[string]int{}, requests: len(s.Requests(0))}
}

// Changes of the world. Those of growing end in additions, those of going in removals.
var (
	growing = []string{"arrive", "grow", "include"}
	going   = []string{"leave", "shrink", "exclude"}
	either  = slices.Concat(growing, going)
)

// amid says which changes bring hubd to a point; most is up to which arrival there is one.
func amid(point string) (changes []string, most int) {
	switch point {
	case "start.opened", "masq.claimed", "history.added", "tags.create", "tags.created":
		if strings.HasPrefix(point, "tags.") {
			return growing, 1
		}
		return either, 1
	case "start.recover":
		return []string{"lose"}, 2
	case "accept.ask", "accept.done":
		return []string{"request"}, 1
	case "masq.flows", "tags.deleted":
		return []string{"exclude"}, 1
	case "route.deleted", "ledger.forgotten":
		return going, 1
	case "ledger.intend", "ledger.intended", "route.created", "ledger.confirm", "ledger.confirmed":
		return []string{"arrive", "include"}, 3
	case "notes.temp", "notes.renamed":
		return []string{"pause"}, 1
	case "repair.begin":
		return []string{"trample"}, 1
	case "control.sync":
		return []string{"sync"}, 1
	case "control.paused":
		return []string{"pause"}, 1
	case "control.resumed":
		return []string{"resume"}, 1
	case "control.reloaded":
		return []string{"reload"}, 1
	case "masq.batch", "masq.committed", "last.temp", "last.renamed", "pass.begin", "survey.read":
		return either, 2
	}
	return either, 1
}

// all kills hubd at every point.
func (c *crasher) all(seeds int) {
	c.t.Helper()
	s := c.scene
	for _, point := range failpoint.Points {
		if strings.HasPrefix(point, "cleanup.") {
			continue // when the probes have ended
		}
		for seed := range seeds {
			c.once(point, seed)
		}
		if c.reached[point] == 0 {
			c.t.Errorf("%s was never reached", point)
		}
		c.untouched(point)
	}
	for _, p := range s.probes {
		p.end() // cleaning up ends what they need
	}
	for _, point := range []string{"cleanup.plane", "cleanup.cleared"} {
		for seed := range seeds {
			c.cleanup(point, seed)
		}
		if c.reached[point] == 0 {
			c.t.Errorf("%s was never reached", point)
		}
	}
	for _, back := range []string{"include", "shrink", "leave"} {
		if c.change(back) {
			eventually(c.t, "in the end: "+back, c.agree)
		}
	}
	s.reaches(everybody, s.Spec.Targets())
	died := 0
	for _, n := range c.reached {
		died += n
	}
	s.took = c.slowest
	s.saw("hubd died %d times at %d points, with %d seeds each, and found back each time, in %d ms at most", died, len(c.reached), seeds, c.slowest.Milliseconds())
}

// once kills hubd at one point, and waits until another hubd has put everything in order.
func (c *crasher) once(point string, seed int) {
	c.t.Helper()
	h := fnv.New64a()
	fmt.Fprint(h, point)
	c.rng = rand.New(rand.NewPCG(h.Sum64(), uint64(seed)))
	changes, most := amid(point)
	change, n := changes[c.rng.IntN(len(changes))], 1+c.rng.IntN(min(most, seed+1)) // the first one comes for certain
	what := fmt.Sprintf("%s, seed %d: arrival %d, %s", point, seed, n, change)
	c.prepare(change)
	alive := slices.Contains([]string{"trample", "sync", "pause", "resume", "reload"}, change)
	c.must(c.KillUnit(lab.UnitHubd))
	if !alive {
		c.change(change)
	}
	c.startFailing(fmt.Sprintf("%s:%d:kill", point, n))
	if alive && c.died() != nil {
		c.change(change)
	}
	eventually(c.t, what+": hubd dies, or gets by", func() error {
		if c.died() == nil {
			return nil
		}
		return c.agree()
	})
	if c.died() == nil {
		c.reached[point]++
	}
	c.must(errors.Join(c.KillUnit(lab.UnitHubd), c.SetUnitEnv(lab.UnitHubd)))
	began := time.Now()
	c.must(c.StartUnit(c.t.Context(), lab.UnitHubd))
	c.goOn(change)
	eventually(c.t, what+": hubd finds back", c.agree)
	c.slowest = max(c.slowest, time.Since(began))
	c.foreignDeletes(what)
	c.leftovers(what)
}

// prepare brings the world to where the change can happen, with a hubd that works.
func (c *crasher) prepare(change string) {
	c.t.Helper()
	for _, need := range map[string][]string{
		"arrive": {"include", "leave"}, "request": {"include", "leave"}, "leave": {"include", "arrive"},
		"grow": {"include", "arrive", "shrink"}, "shrink": {"include", "arrive", "grow"},
		"exclude": {"include", "arrive"}, "include": {"arrive", "exclude"}, "trample": {"include", "arrive"}, "lose": {"include", "arrive"},
	}[change] {
		if c.change(need) {
			eventually(c.t, "before "+change+": "+need, c.agree)
		}
	}
	if change == "exclude" { // what must go has flows
		_, _ = c.ask(lab.HostLaptop1, "svc4", 1)
	}
	if change == "resume" {
		c.hubctl("pause")
	}
}

// change makes the change unless things are so already, and tells whether it did. Some of
// them hubd answers with its death.
func (c *crasher) change(name string) bool {
	c.t.Helper()
	ctx := c.t.Context()
	var err error
	switch {
	case name == "arrive" && c.svc4 == "":
		c.svc4, err = c.admin.Peer(ctx, "svc4")
	case name == "request" && c.svc4 == "":
		c.svc4, err = c.admin.Request(ctx, "svc4")
		c.asked = true
	case name == "leave" && c.svc4 != "":
		err = c.admin.Unpeer(ctx, c.service("svc4").Account, c.svc4)
		c.svc4, c.asked = "", false
	case name == "grow" && !c.second:
		err = c.admin.AddPrefix(ctx, "svc4", svc4Second)
		c.second = true
	case name == "shrink" && c.second:
		err = c.admin.RemovePrefix(ctx, "svc4", svc4Second)
		c.second = false
	case name == "exclude" && !c.excluded, name == "include" && c.excluded:
		pair := []string{"{name: svc4}", "{name: svc4, exclude: [10.200.0.0/15]}"}
		if c.excluded {
			slices.Reverse(pair)
		}
		c.configure(replacing(pair...))
		c.excluded = !c.excluded
		if c.Process(lab.UnitHubd) != nil {
			err = c.hangup()
		}
	case name == "lose":
		err = os.RemoveAll(c.statePath())
	case name == "trample":
		c.sh(lab.HostHub, "ip route flush table 26741 10.200.0.0/16")
	case name == "reload":
		// As hubctl add-spoke does in the end. Curl fails when hubd dies of it.
		c.try(lab.HostHub, "curl", "-s", "--unix-socket", c.HubdSocket(), "-d", "{}", "http://hubd/v1/reload")
	case slices.Contains([]string{"sync", "pause", "resume"}, name):
		c.hubctl(name)
	default:
		return false
	}
	c.must(err)
	return true
}

// goOn is what a person does after a crash in the middle of their own command.
func (c *crasher) goOn(change string) {
	c.t.Helper()
	switch change {
	case "pause", "resume":
		c.hubctl("resume")
	case "lose":
		c.hubctl("sync", "--yes")
	}
}

// startFailing starts hubd with a failpoint, until it is ready or dead.
func (c *crasher) startFailing(point string, more ...string) {
	c.t.Helper()
	c.must(c.SetUnitEnv(lab.UnitHubd, append(more, "HUBD_FAILPOINT="+point)...))
	if err := c.StartUnit(c.t.Context(), lab.UnitHubd); err != nil && c.Process(lab.UnitHubd) != nil {
		c.t.Fatal(err)
	}
}

// died is content when hubd does not run any more.
func (c *crasher) died() error {
	if c.Process(lab.UnitHubd) != nil {
		return errors.New("it lives")
	}
	return nil
}

// cleanup kills `hubd --cleanup` at a point; the next one removes the rest.
func (c *crasher) cleanup(point string, seed int) {
	c.t.Helper()
	what := fmt.Sprintf("%s, seed %d", point, seed)
	c.must(c.KillUnit(lab.UnitHubd))
	hubd := filepath.Join(failing(c.t), "hubd")
	n := 1 + seed%4
	if point != "cleanup.plane" {
		n = 1
	}
	a := c.try(lab.HostHub, "env", fmt.Sprintf("HUBD_FAILPOINT=%s:%d:kill", point, n), hubd, "--config", c.configPath(), "--cleanup")
	if a.code == -1 {
		c.reached[point]++
	}
	if a = c.try(lab.HostHub, hubd, "--config", c.configPath(), "--cleanup"); a.code != 0 {
		c.t.Fatalf("%s: the second --cleanup: exit %d: %s%s", what, a.code, a.out, a.talk)
	}
	c.untouched(what)
	if err := c.compare(nil); err != nil {
		c.t.Fatalf("%s: something of ours is left: %v", what, err)
	}
	c.foreignDeletes(what)
	c.sh(lab.HostHub, hubd+" --config "+c.configPath()+" --fail-closed")
	c.must(c.StartUnit(c.t.Context(), lab.UnitHubd))
	c.hubctl("sync", "--yes") // a first start beside a working VPN waits for a word
	eventually(c.t, what+": hubd starts anew", c.agree)
}
