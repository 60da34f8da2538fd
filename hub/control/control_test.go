package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

// daemon is a hubd that remembers what it was told.
type daemon struct {
	hold  chan struct{} // not nil: a sync ends when it is closed, and says on held that it began
	held  chan struct{}
	mu    sync.Mutex
	asked []string
	ready error
}

func (d *daemon) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, what)
}

func (d *daemon) Status(context.Context) (Status, error) {
	return Status{Schema: Schema, Mode: hub.ModeSync, Spokes: []Spoke{{Name: "billing"}}, Clients: []Client{{Name: "laptop1"}}}, nil
}
func (d *daemon) Plan(context.Context) (Plan, error) {
	return Plan{Schema: Schema, Changes: []Change{{Plane: hub.PlaneMasq, Verb: hub.VerbAdd, Object: "x"}}}, nil
}
func (d *daemon) Config(context.Context) (Config, error) {
	return Config{}, errors.New("the config is gone")
}
func (d *daemon) Desired(context.Context) (hub.Desired, error) { return want, nil }
func (d *daemon) Adoption(context.Context) (Adoption, error)   { return Adoption{Schema: Schema}, nil }
func (d *daemon) Adopt(context.Context, AdoptRequest, string) (Adoption, error) {
	d.note("adopt")
	return Adoption{Schema: Schema}, nil
}
func (d *daemon) Reload(context.Context, string) (Done, error) {
	d.note("reload")
	return Done{Schema: Schema}, nil
}
func (d *daemon) Ready(context.Context) error { return d.ready }
func (d *daemon) Sync(_ context.Context, r SyncRequest, by string) (Synced, error) {
	d.note(fmt.Sprintf("sync %v by %s", r.AllowRemovals, by))
	if d.hold != nil {
		d.held <- struct{}{}
		<-d.hold
	}
	return Synced{Schema: Schema, Mode: hub.ModeSync}, nil
}
func (d *daemon) Pause(_ context.Context, r PauseRequest, _ string) (Paused, error) {
	d.note(fmt.Sprintf("pause %v", r.Seconds))
	return Paused{Schema: Schema, Pause: &Pause{By: "test"}}, nil
}
func (d *daemon) Confirm(_ context.Context, r ConfirmRequest, by string) (Synced, error) {
	d.note(fmt.Sprintf("confirm %v by %s", r.Undo, by))
	return Synced{Schema: Schema}, nil
}
func (d *daemon) History(_ context.Context, q hub.HistoryQuery) (History, error) {
	return History{Schema: Schema, Entries: []hub.HistoryEntry{{At: q.Since, Count: q.Limit, Mode: hub.Mode(q.Spoke)}}}, nil
}
func (d *daemon) Resume(context.Context, ResumeRequest, string) (Paused, error) {
	d.note("resume")
	return Paused{Schema: Schema}, nil
}

// want has every field that hubctl export reads.
var want = hub.Desired{
	Base: hub.Base{Egresses: []hub.Egress{{ID: "eth0", Class: 1, Address: netip.MustParseAddr("10.100.0.10"), Subnet: netip.MustParsePrefix("10.100.0.0/24")}},
		Tunnels: []hub.Tunnel{{Name: "tun0", Origins: []netip.Prefix{netip.MustParsePrefix("172.27.240.0/22")}, ToHub: []hub.Service{{Protocol: "icmp"}}}}},
	Spokes:  []hub.Spoke{{ID: "vpc-00000001", Name: "billing", Number: 3}},
	Reaches: []hub.Reach{{Spoke: "vpc-00000001", Prefix: netip.MustParsePrefix("10.110.0.0/16"), Real: netip.MustParsePrefix("10.110.0.0/16"), Mark: 0x1000003}},
	Routes: []hub.VPCRoute{{Scope: hub.Scope{Account: "222222222222", Region: "r"}, Table: "rtb-1", Destination: netip.MustParsePrefix("10.100.0.0/24"),
		Unit: hub.Unit{Kind: hub.UnitSpoke, Spoke: "vpc-00000001"}}},
}

const group = "games" // any group that every Debian has

// serve starts a server in a folder that everybody can enter, and ends it with the test.
func serve(t *testing.T, d *daemon) (path string, l *Listener) {
	t.Helper()
	dir, err := os.MkdirTemp("", "control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "hubd.sock")
	l, note, err := Listen(path, group)
	if err != nil || note != "" {
		t.Fatalf("listen: %v %s", err, note)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- NewServer(l, d, d).Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return path, l
}

func callerAs(t *testing.T, path string, uid, gid uint32, groups ...uint32) (*Caller, error) {
	t.Helper()
	c, err := connectAs(uid, gid, groups, path)
	if err != nil {
		return nil, err
	}
	caller := NewCaller(path)
	caller.http.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return c, nil }
	t.Cleanup(func() { c.Close() })
	return caller, nil
}

func TestWhoMayDoWhat(t *testing.T) {
	gid, _ := lookup(group)
	tests := []struct {
		name     string
		uid, gid uint32
		groups   []uint32
		connects bool
		writes   bool
	}{
		{name: "root", connects: true, writes: true},
		{name: "a member by its first group", uid: 65534, gid: uint32(gid), connects: true, writes: true},
		{name: "a member by another group", uid: 65534, gid: 65534, groups: []uint32{7, uint32(gid)}, connects: true, writes: true},
		{name: "anybody else", uid: 65534, gid: 65534},
		{name: "anybody else with groups", uid: 65534, gid: 65534, groups: []uint32{1, 2, 3}},
	}
	for _, open := range []bool{false, true} { // open: somebody gave the socket to the world
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s/open=%v", tt.name, open), func(t *testing.T) {
				d := &daemon{}
				path, _ := serve(t, d)
				if open {
					if err := os.Chmod(path, 0o666); err != nil {
						t.Fatal(err)
					}
				}
				verbs := map[string]func(*Caller) error{
					"status":  func(c *Caller) error { _, err := c.Status(t.Context()); return err },
					"plan":    func(c *Caller) error { _, err := c.Plan(t.Context()); return err },
					"sync":    func(c *Caller) error { _, err := c.Sync(t.Context(), SyncRequest{}); return err },
					"pause":   func(c *Caller) error { _, err := c.Pause(t.Context(), PauseRequest{}); return err },
					"adopt":   func(c *Caller) error { _, err := c.Adopt(t.Context(), AdoptRequest{}); return err },
					"reload":  func(c *Caller) error { _, err := c.Reload(t.Context()); return err },
					"confirm": func(c *Caller) error { _, err := c.Confirm(t.Context(), ConfirmRequest{}); return err },
					"history": func(c *Caller) error { _, err := c.History(t.Context(), hub.HistoryQuery{}); return err },
					"resume":  func(c *Caller) error { _, err := c.Resume(t.Context(), ResumeRequest{}); return err },
				}
				for verb, call := range verbs {
					c, err := callerAs(t, path, tt.uid, tt.gid, tt.groups...)
					if !tt.connects && !open {
						if !errors.Is(err, os.ErrPermission) {
							t.Errorf("%s: connecting gave %v", verb, err)
						}
						continue
					}
					if err != nil {
						t.Fatalf("%s: %v", verb, err)
					}
					err = call(c)
					reads := verb == "status" || verb == "plan" || verb == "history"
					if want := reads || tt.writes; want != (err == nil) {
						t.Errorf("%s gave %v", verb, err)
					}
					if err != nil && !errors.Is(err, ErrRefused) {
						t.Errorf("%s failed with %v, want a refusal", verb, err)
					}
				}
				if want := map[bool]int{true: 6}[tt.writes]; len(d.asked) != want {
					t.Errorf("hubd was told %v", d.asked)
				}
			})
		}
	}
}

func TestAnswers(t *testing.T) {
	d := &daemon{}
	path, _ := serve(t, d)
	c := NewCaller(path)
	s, err := c.Status(t.Context())
	if err != nil || s.Mode != hub.ModeSync || s.Spokes[0].Name != "billing" {
		t.Errorf("status: %+v %v", s, err)
	}
	if _, err := c.Config(t.Context()); err == nil || err.Error() != "config: the config is gone" {
		t.Errorf("config: %v", err)
	}
	if _, err := c.Sync(t.Context(), SyncRequest{AllowRemovals: true}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"sync true by root (uid 0)"}, d.asked); diff != "" {
		t.Error(diff)
	}
	if got, err := c.Desired(t.Context()); err != nil || !cmp.Equal(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
		t.Errorf("desired: %+v %v", got, err)
	}
	for verb, want := range map[string]string{
		"healthz": "200 ok\n", "readyz": "200 ok\n",
		"spokes": `200 {"schema":"peerhub/1","spokes":[{"name":"billing"`, "clients": `200 {"schema":"peerhub/1","clients":[{"server":"","name":"laptop1"`,
		"nothing": "404 404 page not found\n",
	} {
		if got := get(t, c, http.MethodGet, verb, ""); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", verb, got)
		}
	}
	d.ready = errors.New("no pass yet")
	if got := get(t, c, http.MethodGet, "readyz", ""); got != `503 {"schema":"peerhub/1","error":"no pass yet"}`+"\n" {
		t.Errorf("readyz: %s", got)
	}
	for body, want := range map[string]string{"{": "400 ", strings.Repeat(" ", bodySize) + "{}": "400 ", "": "200 "} {
		if got := get(t, c, http.MethodPost, "sync", body); !strings.HasPrefix(got, want) {
			t.Errorf("a body of %d bytes: %s", len(body), got)
		}
	}
	if got := get(t, c, http.MethodGet, "sync", ""); !strings.HasPrefix(got, "405 ") {
		t.Errorf("GET sync: %s", got)
	}
}

func get(t *testing.T, c *Caller, method, verb, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://hubd/v1/"+verb, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, data)
}

func TestLiveSocketIsNotTakenAndDeadOneIs(t *testing.T) {
	path, _ := serve(t, &daemon{})
	_, _, err := Listen(path, group)
	if !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("a second hubd: %v", err)
	}
	if _, err := NewCaller(path).Status(t.Context()); err != nil {
		t.Errorf("the first is disturbed: %v", err)
	}

	dead := filepath.Join(t.TempDir(), "hubd.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := NewCaller(dead).Status(t.Context()); !errors.Is(err, ErrDown) {
		t.Errorf("asking a dead hubd: %v", err)
	}
	fresh, _, err := Listen(dead, group)
	if err != nil {
		t.Fatalf("a dead socket is in the way: %v", err)
	}
	info, err := os.Lstat(dead)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := fresh.Close(); err != nil {
		t.Error(err)
	}
	if _, err := NewCaller(dead).Status(t.Context()); !errors.Is(err, ErrDown) {
		t.Errorf("asking where nothing is: %v", err)
	}

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Listen(file, group); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("a file in the way: %v", err)
	}
}

func TestWithoutTheGroupOnlyRootMayWrite(t *testing.T) {
	l, note, err := Listen(filepath.Join(t.TempDir(), "s"), "nosuchgroup")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !strings.Contains(note, "nosuchgroup") {
		t.Errorf("note %q", note)
	}
	if !l.admins(Peer{known: true}) || l.admins(Peer{known: true, UID: 5, groups: []uint32{0}}) || l.admins(Peer{}) {
		t.Error("somebody but root may write, or root may not")
	}
}

// TestACrowdKeepsNobodyFromBeingAnswered: 600 idle connections and 600 that send slowly, of root's own,
// and hubctl is answered; its twin without the defence is shut out.
func TestACrowdKeepsNobodyFromBeingAnswered(t *testing.T) {
	path, l := serve(t, &daemon{})
	for i := range 1200 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			_, _ = io.WriteString(c, "GET /v1/status HT") // it may be closed already
		}
	}
	if _, err := NewCaller(path).Status(t.Context()); err != nil {
		t.Errorf("hubctl is shut out: %v", err)
	}
	held := func() []*conn {
		l.mu.Lock()
		defer l.mu.Unlock()
		return slices.Clone(l.open[0])
	}
	if n := len(held()); n > perUser {
		t.Errorf("one user holds %d connections", n)
	}
	// As if none of them could be taken: until all are marked, of which some are taken in late.
	shutOut := func() bool {
		for len(held()) < perUser {
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
		}
		for _, c := range held() {
			c.working.Store(true)
		}
		_, err := NewCaller(path).Status(t.Context())
		return err != nil // "too many others", unless the connection is closed before that is read
	}
	for tries := 0; !shutOut(); tries++ {
		if tries == 100 {
			t.Fatal("without the defence hubctl was answered a hundred times")
		}
	}
}

// TestAConnectionThatIsWorkedForIsNotTaken: who waits for a sync gets its answer, whatever comes.
func TestAConnectionThatIsWorkedForIsNotTaken(t *testing.T) {
	d := &daemon{hold: make(chan struct{}), held: make(chan struct{}, 1)}
	path, _ := serve(t, d)
	done := make(chan error, 1)
	go func() {
		_, err := NewCaller(path).Sync(t.Context(), SyncRequest{})
		done <- err
	}()
	<-d.held
	for range 3 * perUser {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if _, err := NewCaller(path).Status(t.Context()); err != nil { // all of them have been taken in
		t.Errorf("hubctl is shut out: %v", err)
	}
	close(d.hold)
	if err := <-done; err != nil {
		t.Errorf("the sync lost its connection: %v", err)
	}
}

func TestSlowPeerIsCutOff(t *testing.T) {
	path, l := serve(t, &daemon{})
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /v1/status HT"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * headerTime)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("it was not cut off: %v", err)
	}
	waitFor(t, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.open) == 0 })
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("it did not come about")
		}
	}
}

func TestEveryListIsThereAndUnknownIsNull(t *testing.T) {
	data, err := json.Marshal(Spoke{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"kroute":null`, `"packets":null`, `"vpcroute":{"hub":null,"spoke":null`, `"peering":null`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s lacks %s", data, want)
		}
	}
}
