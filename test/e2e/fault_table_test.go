package e2e

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"peerhub/test/lab"
)

// fault is one row of the fault suite: something that goes wrong, what must happen, and
// the same with a defence off.
type fault struct {
	id, name string
	// inject is what goes wrong, as lines of a shell on the lab's machine: run as they
	// are by scene.inject, printed in docs/faults.md. See scene.variables for what they may use.
	inject string
	expect string
	// lossy says why probes may lose packets; "" means that none may.
	lossy string
	// lossyPlain is the same in mode plain, where it differs.
	lossyPlain string
	// grown says why hubd may hold much more memory afterwards than before; "" means that it may not.
	grown string
	setup func(*stage) // of both labs
	// run injects and returns when the network is as expected; what it saw it tells by
	// scene.saw. The invariants are checked before and after by the runner.
	run func(*scene)

	control string // the defence that is off, in words
	off     func(*stage)
	// harm injects the same with the defence off and tells the harm that it saw; "" means
	// that there was none, and fails the row: then the defence is good for nothing.
	harm func(*scene) string
}

// losses says why probes may lose packets in an ownership mode.
func (f fault) losses(mode string) string {
	if mode == "plain" && f.lossyPlain != "" {
		return f.lossyPlain
	}
	return f.lossy
}

// stage is what a lab of the suite is made of.
type stage struct {
	spec  *lab.Spec
	opt   *lab.Options
	mode  string // persist or plain
	keys  [][2]string
	env   []string
	ahead atomic.Int64 // how far the row has moved AWS's clock, where setup gave it one
	bare  bool         // no probes and no traffic before run: the row makes its own
}

// replace changes hubd's config before it starts.
func (g *stage) replace(old, fresh string) { g.keys = append(g.keys, [2]string{old, fresh}) }

// without switches defences of hubd off (package failpoint).
func (g *stage) without(defences ...string) {
	g.env = append(g.env, "HUBD_OFF="+strings.Join(defences, ","))
}

// edit is the stage's config.
func (g *stage) edit(text string) string {
	pairs := append([][2]string{
		{"kernel:", "masq: {ownership: " + g.mode + "}\nkernel:"}, {"poll: 2s", "poll: 1s"},
	}, g.keys...)
	for _, p := range pairs {
		if !strings.Contains(text, p[0]) {
			panic(fmt.Sprintf("the lab's config has no %q", p[0]))
		}
		text = strings.Replace(text, p[0], p[1], 1)
	}
	return text
}

// closedList is what the suite must hold: no row may be missing.
var closedList = func() []string {
	var out []string
	add := func(from, to int) {
		for n := from; n <= to; n++ {
			out = append(out, fmt.Sprintf("F%02d", n))
		}
	}
	add(1, 31)
	add(33, 41)
	add(54, 54)
	add(56, 65)
	return out
}()

// faults are all rows, in order.
func faults() []fault {
	all := slices.Concat(faultsOfAnswers, faultsOfRoutes, faultsOfState, faultsOfFirewall, faultsOfKernel, faultsOfReplacement, faultsOfLife, faultsOfRivals, faultsOfCrashes)
	slices.SortFunc(all, func(a, b fault) int { return strings.Compare(a.id, b.id) })
	return all
}
