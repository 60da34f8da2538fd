package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
	"peerhub/test/fabric"
	"peerhub/test/lab"
)

// bin is where TestMain builds hubd, hubctl and hublab.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "e2ebin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // some tests run them as nobody
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	build := exec.Command("go", "build", "-trimpath", "-o", dir+"/", "peerhub/cmd/hubd", "peerhub/cmd/hubctl", "peerhub/cmd/hublab", "peerhub/test/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs under test: %v\n%s", err, out)
		return 1
	}
	bin = dir
	return m.Run()
}

// patience is how long something may take that should happen. Nobody waits that long
// unless it does not.
const patience = 60 * time.Second

// rig is a lab under test.
type rig struct {
	*lab.Lab
	t *testing.T
}

// start starts a lab of the default numbers, changed by edit, and removes it when the
// test ends. name is part of the names of its namespaces: short, lower case.
func start(t *testing.T, name string, edit func(*lab.Spec, *lab.Options)) *rig {
	t.Helper()
	spec := lab.DefaultSpec()
	dir, err := os.MkdirTemp("", "e2e") // short: unix sockets allow 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	opt := lab.Options{Dir: filepath.Join(dir, "run"), Hubd: filepath.Join(bin, "hubd")}
	if edit != nil {
		edit(&spec, &opt)
	}
	spec.Prefix = fmt.Sprintf("e%s%d-", name, os.Getpid())
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	l, err := lab.Start(ctx, spec, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			logTail(t, l)
		}
		if err := errors.Join(l.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return &rig{Lab: l, t: t}
}

// in is the same lab for a subtest, whose failures are its own.
func (r *rig) in(t *testing.T) *rig { return &rig{Lab: r.Lab, t: t} }

// logTail shows what hubd said and asked last.
func logTail(t *testing.T, l *lab.Lab) {
	t.Helper()
	asked := l.Requests(0)
	for _, q := range asked[max(0, len(asked)-15):] {
		t.Logf("%s %s %s %s: %s", q.Time.Format(time.TimeOnly), q.Principal, q.Action, q.Params, q.Code)
	}
	b, err := os.ReadFile(filepath.Join(l.Dir, lab.UnitHubd+".log"))
	if err != nil {
		return // it never ran
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	t.Logf("hubd's last lines:\n%s", strings.Join(all[max(0, len(all)-25):], "\n"))
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// ns is the namespace of a host.
func (r *rig) ns(host string) string { return r.Spec.Prefix + host }

// addr is the first address of a host.
func (r *rig) addr(host string) string {
	r.t.Helper()
	h, ok := r.Spec.Host(host)
	if !ok {
		r.t.Fatalf("no host %s", host)
	}
	return h.Addresses[0].String()
}

// exec runs a program in a host and fails the test when it fails.
func (r *rig) exec(host string, argv ...string) string {
	r.t.Helper()
	out, err := fabric.Exec(r.t.Context(), r.ns(host), argv...)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// sh runs a shell line in a host.
func (r *rig) sh(host, line string) string {
	r.t.Helper()
	return r.exec(host, "sh", "-c", line)
}

// answer is what a program printed and how it ended.
type answer struct {
	out, talk string
	code      int
}

// try runs a program in a host and tells how it ended.
func (r *rig) try(host string, argv ...string) answer {
	r.t.Helper()
	return finish(r.t, fabric.Command(r.t.Context(), r.ns(host), argv...))
}

func finish(t *testing.T, cmd *exec.Cmd) answer {
	t.Helper()
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %v: %v", cmd.Args, err)
	}
	return answer{out.String(), talk.String(), cmd.ProcessState.ExitCode()}
}

// hubctl runs hubctl on the hub, as root.
func (r *rig) hubctl(args ...string) answer {
	r.t.Helper()
	return r.try(lab.HostHub, append([]string{filepath.Join(bin, "hubctl"), "--config", filepath.Join(r.HubdDir(), "hubd.yaml")}, args...)...)
}

// hubctlJSON runs hubctl with -o json and reads its answer into v.
func (r *rig) hubctlJSON(v any, args ...string) answer {
	r.t.Helper()
	a := r.hubctl(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(a.out), v); err != nil {
		r.t.Fatalf("hubctl %v: exit %d: %v\n%s%s", args, a.code, err, a.out, a.talk)
	}
	return a
}

// problem is a problem as hubctl prints it.
type problem struct{ Code, Subject, Detail, Mend string }

// problems asks hubctl status.
func (r *rig) problems() []problem {
	r.t.Helper()
	var s struct{ Problems []problem }
	r.hubctlJSON(&s, "status")
	return s.Problems
}

// hasProblem is content when status shows a problem of that code whose subject or
// detail has the word in it.
func (r *rig) hasProblem(code hub.Code, word string) error {
	r.t.Helper()
	list := r.problems()
	for _, p := range list {
		if p.Code == string(code) && strings.Contains(p.Subject+" "+p.Detail, word) {
			return nil
		}
	}
	return fmt.Errorf("no %s of %q in %v", code, word, list)
}

// change is a change as hubctl prints it.
type change struct{ Plane, Verb, Object, Detail string }

// sync asks for a pass now and tells what it changed.
func (r *rig) sync(flags ...string) []change {
	r.t.Helper()
	var s struct{ Changes []change }
	r.hubctlJSON(&s, append([]string{"sync", "--yes"}, flags...)...)
	return s.Changes
}

// aws runs Debian's aws with an account's administrator's keys.
func (r *rig) aws(account string, args ...string) string {
	r.t.Helper()
	c, err := r.Credentials(account)
	r.must(err)
	cmd := fabric.Command(r.t.Context(), r.ns(lab.HostAWS), append([]string{"/usr/bin/aws", "--endpoint-url", c.Endpoint}, args...)...)
	cmd.Env = append(os.Environ(), c.Environ()...)
	a := finish(r.t, cmd)
	if a.code != 0 {
		r.t.Fatalf("aws %v as %s: exit %d: %s", args, account, a.code, a.talk)
	}
	return strings.TrimSpace(a.out)
}

// eventually waits until f is content.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waited %s until %s: %v", patience, what, err)
		case <-tick.C:
		}
	}
}

// ask fetches a service's page from a host with curl.
func (r *rig) ask(from, to string, seconds int) (string, error) {
	return fabric.Exec(r.t.Context(), r.ns(from), "curl", "-sS", "--max-time", fmt.Sprint(seconds), "http://"+r.addr(to)+"/")
}

// reaches waits until every host gets every service's answer, and fails unless the
// service saw the hub's address.
func (r *rig) reaches(from, to []string) {
	r.t.Helper()
	var wg sync.WaitGroup
	for _, a := range from {
		for _, b := range to {
			wg.Go(func() {
				h, _ := r.Spec.Host(b)
				hub, _ := r.Host(lab.HostHub) // as it is now: it may have been replaced
				want := fmt.Sprintf("vpc=%s host=%s client=%s\n", r.Spec.VPCName(h), b, hub.Addresses[0])
				var got string
				var err error
				for end := time.Now().Add(patience); time.Now().Before(end) && r.t.Context().Err() == nil; {
					if got, err = r.ask(a, b, 3); got == want {
						return
					}
				}
				r.t.Errorf("%s to %s: %q, %v; want %q; drops: %v; guard: %v", a, b, got, err, want, r.drops(), r.guard())
			})
		}
	}
	wg.Wait()
}

// refused fails when a host gets a service's answer. It says nothing about why: ask
// drops or guard.
func (r *rig) refused(from, to string) {
	r.t.Helper()
	if got, err := r.ask(from, to, 1); err == nil {
		r.t.Errorf("%s to %s: arrived (%q), want it refused", from, to, got)
	}
}

// everybody are the hosts that have business with the services.
var everybody = []string{lab.HostLaptop1, lab.HostLaptop2, lab.HostOffice}

// drops lists what the fabric dropped, without the noise of IPv6 neighbours.
func (r *rig) drops() []string {
	var out []string
	for _, d := range r.Drops() {
		if d.Reason != fabric.ReasonBroadcast {
			out = append(out, fmt.Sprintf("%s %s %d (%s)", d.Name, d.Reason, d.Count, d.Last))
		}
	}
	return out
}

// dropped counts what a place of the fabric dropped for a reason.
func (r *rig) dropped(place, reason string) uint64 {
	for _, d := range r.Drops() {
		if d.Name == place && d.Reason == reason {
			return d.Count
		}
	}
	return 0
}

// guard reads the named counters of the hub's own drops with nft.
func (r *rig) guard() map[string]uint64 {
	out, err := fabric.Exec(r.t.Context(), r.ns(lab.HostHub), "nft", "list", "counters", "table", "inet", "hubd")
	if err != nil {
		return nil // no table
	}
	counts := map[string]uint64{}
	var name string
	for _, word := range strings.Split(out, "\n") {
		f := strings.Fields(word)
		switch {
		case len(f) > 1 && f[0] == "counter":
			name = f[1]
		case len(f) > 1 && f[0] == "packets":
			var n uint64
			if _, err := fmt.Sscan(f[1], &n); err == nil {
				counts[name] = n
			}
		}
	}
	return counts
}

// configure changes hubd's config file as a person would: edit gets the text and
// returns the new one. It takes effect when hubd reads it.
func (r *rig) configure(edit func(string) string) {
	r.t.Helper()
	path := filepath.Join(r.HubdDir(), "hubd.yaml")
	old, err := os.ReadFile(path)
	r.must(err)
	text := edit(string(old))
	if text == string(old) {
		r.t.Fatalf("the edit changes nothing in:\n%s", old)
	}
	r.must(os.WriteFile(path, []byte(text), 0o640))
}

// replacing is an edit that replaces texts, pairwise.
func replacing(pairs ...string) func(string) string { return strings.NewReplacer(pairs...).Replace }

// polls counts how often hubd has asked which peerings there are.
func (r *rig) polls() int {
	n := 0
	for _, q := range r.Requests(0) {
		if q.Action == "DescribeVpcPeeringConnections" && byHubd(q) {
			n++
		}
	}
	return n
}

// byHubd tells whether a request was made with the role of the hub's instance.
func byHubd(q lab.Request) bool {
	return strings.Contains(q.Principal, ":assumed-role/"+lab.HubRole+"/")
}

// afterPolls waits until hubd has asked n times more.
func (r *rig) afterPolls(n int) {
	r.t.Helper()
	before := r.polls()
	eventually(r.t, fmt.Sprintf("hubd has asked %d times more", n), func() error {
		if now := r.polls(); now < before+n {
			return fmt.Errorf("it has asked %d times since", now-before)
		}
		return nil
	})
}

// routesOf lists the routes of a VPC route table: destination and target.
func (r *rig) routesOf(table string) []string {
	var out []string
	for _, t := range r.Sim.Network().Tables {
		if t.ID != table {
			continue
		}
		for _, route := range t.Routes {
			out = append(out, fmt.Sprintf("%s %s blackhole=%v", route.Destination, route.Target, route.Blackhole))
		}
	}
	slices.Sort(out)
	return out
}

// hasRoute tells whether a VPC route table has a route to a prefix.
func (r *rig) hasRoute(table string, dst netip.Prefix) bool {
	return slices.ContainsFunc(r.routesOf(table), func(s string) bool { return strings.HasPrefix(s, dst.String()+" ") })
}

// wantSome is content when there is something.
func wantSome[T any](l []T) error {
	if len(l) == 0 {
		return errors.New("none")
	}
	return nil
}

// same is content when two texts are equal.
func same(a, b string) error {
	if d := cmp.Diff(a, b); d != "" {
		return fmt.Errorf("they differ:\n%s", d)
	}
	return nil
}

// hangup tells hubd to read its config anew.
func (r *rig) hangup() error {
	p := r.Process(lab.UnitHubd)
	if p == nil {
		return errors.New("hubd does not run")
	}
	return syscall.Kill(p.PID, syscall.SIGHUP)
}
