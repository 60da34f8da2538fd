package e2e

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// monitor is `nft monitor` or `ip monitor all` running in the hub.
type monitor struct {
	what string
	// sentinel is a harmless write that the monitor must show, and its undoing; %d is
	// a number of its own each time.
	sentinel, undo, shown string

	mu   sync.Mutex
	text strings.Builder
	n    int
	stop func()
}

func (m *monitor) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.text.Write(b)
}

func (m *monitor) lines() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Split(strings.TrimSuffix(m.text.String(), "\n"), "\n")
}

// mark makes the sentinel's write, waits until the monitor has shown it, and tells at
// which line. What was written before is before that line.
func (m *monitor) mark(r *rig) int {
	r.t.Helper()
	at := -1
	eventually(r.t, m.what+" shows the sentinel", func() error {
		m.n++
		r.sh(lab.HostHub, fmt.Sprintf(m.sentinel+" && "+m.undo, m.n, m.n))
		if at = slices.IndexFunc(m.lines(), func(l string) bool { return strings.Contains(l, fmt.Sprintf(m.shown, m.n)) }); at < 0 {
			return fmt.Errorf("not seen: %s", fmt.Sprintf(m.sentinel, m.n))
		}
		return nil
	})
	return at
}

// watch sees every write to the hub's kernel and every call to AWS that changes
// something, by programs that are not ours and by the log of the simulated AWS.
type watch struct {
	nft, ip         *monitor
	fromNft, fromIP int
	requests        int
}

// watch begins; it is sure to be listening when it returns.
func (r *rig) watch() *watch {
	r.t.Helper()
	w := &watch{
		nft: &monitor{what: "nft monitor", sentinel: "nft add table ip sentinel%d", undo: "nft delete table ip sentinel%d", shown: "add table ip sentinel%d"},
		ip: &monitor{what: "ip monitor", sentinel: "ip route add blackhole 192.0.2.%d table 99", undo: "ip route del blackhole 192.0.2.%d table 99",
			shown: "blackhole 192.0.2.%d table 99"},
	}
	for m, argv := range map[*monitor][]string{w.nft: {"nft", "monitor"}, w.ip: {"ip", "monitor", "all"}} {
		ctx, cancel := context.WithCancel(r.t.Context())
		cmd := fabric.Command(ctx, r.ns(lab.HostHub), argv...)
		cmd.Stdout, cmd.Stderr = m, m
		r.must(cmd.Start())
		m.stop = func() { cancel(); _ = cmd.Wait() } // it was killed: no news
		r.t.Cleanup(m.stop)
	}
	w.fromNft, w.fromIP = w.nft.mark(r), w.ip.mark(r)
	w.requests = len(r.Requests(0))
	return w
}

// owned is what a process's life changes by itself: the keeper table dies with hubd and
// comes back with the next one (it has no rule that does anything), and a table that
// persists gets its owner anew.
var owned = regexp.MustCompile(`inet hubd_keep\b|^add table inet hubd$`)

// noise of the monitors: sentinels, who wrote a generation, neighbours that come and
// go by themselves.
var noise = regexp.MustCompile(`sentinel\d+|blackhole 192\.0\.2\.|^# new generation|^\[NEIGH\]|^\[NSID\]|^$`)

// writes lists what was written to nftables, rules, routes, addresses and links since
// the watch began, and which calls would change something at AWS.
func (w *watch) writes(r *rig) []string {
	r.t.Helper()
	var out []string
	toNft, toIP := w.nft.mark(r), w.ip.mark(r)
	for _, l := range slices.Concat(w.nft.lines()[w.fromNft:toNft], w.ip.lines()[w.fromIP:toIP]) {
		if !noise.MatchString(l) && !owned.MatchString(l) {
			out = append(out, l)
		}
	}
	for _, q := range r.Requests(w.requests) {
		if q.Mutating {
			out = append(out, fmt.Sprintf("%s %s %v", q.Account, q.Action, q.Params))
		}
	}
	return out
}

// silent fails when anything was written since the watch began.
func (w *watch) silent(r *rig) {
	r.t.Helper()
	for _, l := range w.writes(r) {
		r.t.Errorf("written: %s", l)
	}
}

// passing is what nft and ip print and nobody wrote: how long a learned route lives,
// who owns a table just now, and the sources that have flows just now.
var passing = regexp.MustCompile(` expires \d+sec| progname hubd|\bowner\b|(?s)(\n\t+elements = \{ [^}]* ct count over [^}]*\})`)

// standing is everything that hubd keeps, as nft and ip print it, with handles and
// without counters, and the VPC route tables.
func (r *rig) standing() string {
	r.t.Helper()
	var sb strings.Builder
	for _, line := range []string{"nft -s -a list table inet hubd", "ip -4 rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all"} {
		fmt.Fprintf(&sb, "# %s\n%s", line, passing.ReplaceAllString(r.sh(lab.HostHub, line), ""))
	}
	for _, t := range r.Sim.Network().Tables {
		fmt.Fprintf(&sb, "# %s\n%s\n", t.ID, strings.Join(r.routesOf(t.ID), "\n"))
	}
	return sb.String()
}

// settled waits until the hub's interface has its IPv6 address and route, which the
// kernel takes its time for: nobody writes them.
func (r *rig) settled() {
	r.t.Helper()
	eventually(r.t, "the hub's interface has settled", func() error {
		dev := r.Spec.HubInterface
		if out := r.sh(lab.HostHub, "ip -6 address show tentative"); out != "" {
			return fmt.Errorf("tentative: %s", out)
		}
		if out := r.sh(lab.HostHub, "ip -6 route show default dev "+dev); out == "" {
			return fmt.Errorf("no IPv6 router on %s", dev)
		}
		return nil
	})
}

// handles are numbers that nft gives to what is made: new after a repair.
var handles = regexp.MustCompile(` # handle \d+`)
