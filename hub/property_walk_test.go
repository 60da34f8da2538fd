package hub_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

var (
	walkPasses = flag.Int("passes", 4000, "passes of the long property test")
	walkSeed   = flag.Int64("walk-seed", 1, "seed of its first company")
)

// stepsOfALife is how long one company is watched before it is held against a fresh start.
const stepsOfALife = 25

// TestLivesOfCompanies walks companies through random lives, with planes that fail, hubds
// that start anew and sources that do not answer, and checks every pass. The flag passes
// says how many; `make properties` has 200,000.
func TestLivesOfCompanies(t *testing.T) {
	mix, passes, steps := map[string]int{}, 0, 0
	for seed := *walkSeed; passes < *walkPasses; seed++ {
		l := newLife(t, seed)
		for n := range stepsOfALife {
			if err := l.step(); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, n, err)
			}
		}
		if err := l.againstAFreshStart(); err != nil {
			t.Fatalf("seed %d, in the end: %v", seed, err)
		}
		passes, steps = passes+l.passes, steps+stepsOfALife
		for k, n := range l.mix {
			mix[k] += n
		}
	}
	t.Logf("%d passes, %d answers; of these had", passes, steps)
	for _, k := range kinds {
		t.Logf("  %-15s %5.1f %%", k, 100*float64(mix[k])/float64(steps))
		if mix[k]*10 < steps {
			t.Errorf("only %d of %d answers had a %s: it proves little", mix[k], steps, k)
		}
	}
}

// life is one company, its hub, and what speaks for removals.
type life struct {
	*company
	*rig
	evidence
	passes int
	broken bool // a plane failed since the last step without failures
}

func newLife(t *testing.T, seed int64) *life {
	return &life{company: newCompany(seed), rig: newRig(t)}
}

// step is one answer and what follows from it.
func (l *life) step() error {
	topo, fresh := l.company.step()
	l.in.Topology = topo
	if l.Intn(3) == 0 {
		l.in.Policy = l.company.policy()
		l.in.Policy.Safety = hub.Safety{RemovalsAfter: 1 + l.Intn(3), MaxRemoved: pick(l.world, 20, 20, 50, 100)}
	}
	l.in.AllowRemovals = l.Intn(12) == 0
	l.trouble()
	if l.Intn(8) == 0 {
		l.start()
	}
	prev := hub.Desired{}
	if l.in.Prev != nil {
		prev = *l.in.Prev
	}
	if fresh {
		l.seen(prev, topo)
	}
	standing := l.standing()
	l.again()
	l.passes++
	log := l.place.written()
	now := l.rep.Desired
	if err := errors.Join(sound(now, l.in.Policy, l.in.Remembered), ordered(standing, log), backward(log), wanted(now, log)); err != nil {
		return err
	}
	in := l.in
	if err := l.judge(prev, now, in, fresh); err != nil {
		return err
	}
	if err := l.holdersStay(prev, now); err != nil {
		return err
	}
	if slices.ContainsFunc(log, func(s string) bool { return strings.Contains(s, " remove reach ") }) {
		l.mix["removal"]++
	}
	if l.Intn(4) == 0 {
		l.rec.Repair(context.Background(), pick(l.world, hub.Planes[:]...))
	}
	return l.twice(now)
}

// trouble makes planes fail, or ends that.
func (l *life) trouble() {
	l.broken = false
	for _, name := range hub.Planes {
		p := l.planes[name]
		p.readErr, p.refuses, p.keeps = nil, "", ""
		switch l.Intn(12) {
		case 0:
			p.readErr = errors.New("cannot be read")
		case 1:
			p.refuses = pick(l.world, ".112.", ".113.", "10.1")
		case 2:
			p.keeps = pick(l.world, ".112.", ".113.", "10.1")
		default:
			continue
		}
		l.broken = true
	}
}

// twice makes the pass again: nothing is to be done.
func (l *life) twice(now hub.Desired) error {
	if l.broken || l.in.AllowRemovals {
		return nil
	}
	l.place.written()
	before := l.in.Remembered
	l.again()
	l.passes++
	if log := l.place.written(); len(log) > 0 {
		return fmt.Errorf("a second time it wrote %v", log)
	}
	if n := l.rep.Pending(); n > 0 && len(l.rep.Held) == 0 {
		return fmt.Errorf("%d changes are left", n)
	}
	if !l.rep.Desired.Equal(now) || !l.in.Remembered.Equal(before) {
		return fmt.Errorf("a second time it wanted something else:\n%s", cmp.Diff(now, l.rep.Desired, values))
	}
	return nil
}

// holdersStay fails when a prefix changed its spoke though the old one announces it as before.
func (l *life) holdersStay(prev, now hub.Desired) error {
	before := map[hub.SpokeID]hub.Spoke{}
	for _, s := range prev.Spokes {
		before[s.ID] = s
	}
	byPrefix := map[string]hub.SpokeID{}
	for _, r := range now.Reaches {
		byPrefix[r.Prefix.String()] = r.Spoke
	}
	for _, r := range prev.Reaches {
		p, ok := liveOf(l.in.Topology, r.Spoke)
		if !ok || p.State != hub.PeeringActive || p.ID != before[r.Spoke].Peering || !hasPrefix(p, r.Prefix) || refusedByConfig(l.in.Policy, before[r.Spoke], r.Prefix) {
			continue
		}
		if holder, ok := byPrefix[r.Prefix.String()]; ok && holder != r.Spoke {
			return fmt.Errorf("%s went from %s to %s, though %s is active", r.Prefix, r.Spoke, holder, p.ID)
		}
	}
	return nil
}

// againstAFreshStart lets the company rest, and holds every place against what a new hub
// with the same memory makes of it.
func (l *life) againstAFreshStart() error {
	for _, p := range l.planes {
		p.readErr, p.refuses, p.keeps = nil, "", ""
	}
	for _, v := range l.vpcs {
		v.hidden, v.ended = 0, nil
		v.prefixes = slices.DeleteFunc(slices.Clone(v.prefixes), func(p netip.Prefix) bool { return !p.IsValid() }) // nonsense is no rest
		if v.live != nil {
			v.live.State = hub.PeeringActive
		}
	}
	l.in.AllowRemovals = true
	for range 2 {
		l.survey()
		l.again()
		l.passes++
	}
	fresh := newRig(l.t)
	fresh.in.Policy, fresh.in.Remembered, fresh.in.Topology = l.in.Policy, l.in.Remembered, l.in.Topology
	fresh.again()
	for _, plane := range hub.Planes {
		have, want := maps.Clone(l.place.have[plane]), fresh.place.have[plane]
		if diff := cmp.Diff(valuesOf(want), valuesOf(have)); diff != "" {
			return fmt.Errorf("%s (-fresh +walked):\n%s", plane, diff)
		}
	}
	return nil
}

// survey asks the company once more.
func (l *life) survey() {
	l.company.survey++
	l.in.Topology = survey(l.answer(), l.company.survey)
}

func valuesOf(have map[string]hub.Object) map[string]string {
	out := map[string]string{}
	for k, o := range have {
		out[k] = o.Value
	}
	return out
}

// backward fails when a way was taken away before those who use it had heard of it: nothing
// is removed from a plane before the planes after it.
func backward(log []string) error {
	at := map[string]int{}
	for i, name := range hub.Planes {
		at[string(name)] = i
	}
	last := map[string]int{}
	for _, line := range log {
		plane, rest, _ := strings.Cut(line, " ")
		object, ok := strings.CutPrefix(rest, "remove reach ")
		if !ok {
			continue
		}
		if before, seen := last[object]; seen && before < at[plane] {
			return fmt.Errorf("%s: %s was rid of it before", line, hub.Planes[before])
		}
		last[object] = at[plane]
	}
	return nil
}

// wanted fails when something was removed that is wanted.
func wanted(now hub.Desired, log []string) error {
	for _, line := range log {
		_, object, ok := strings.Cut(line, " remove reach ")
		if ok && slices.ContainsFunc(now.Reaches, func(r hub.Reach) bool { return r.Prefix.String() == object }) {
			return fmt.Errorf("%s: it is wanted", line)
		}
	}
	return nil
}
