package state_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"peerhub/hub"
	"peerhub/hub/state"
)

var compare = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func remembered() hub.Remembered {
	return hub.Remembered{
		Numbers:        map[hub.SpokeID]uint16{"vpc-1": 1, "vpc-2": 65535},
		Winners:        map[netip.Prefix]hub.PeeringID{prefix("10.110.0.0/16"): "pcx-1"},
		Absent:         map[hub.SpokeID]hub.Absence{"vpc-2": {Survey: 7, Count: 2, Since: time.Unix(1700000000, 0).UTC()}},
		AbsentPrefixes: map[hub.SpokeID]map[netip.Prefix]hub.Absence{"vpc-1": {prefix("10.111.0.0/16"): {Survey: 3, Count: 1}}},
		Run:            hub.Run{Reaches: 9, Removed: map[hub.SpokeID]int{"vpc-3": 1}},
	}
}

func desired() hub.Desired {
	unit := hub.Unit{Kind: hub.UnitPrefix, Spoke: "vpc-1", Prefix: prefix("10.110.0.0/16")}
	return hub.Desired{
		Base: hub.Base{
			Egresses: []hub.Egress{{ID: "eth0", Class: 1, Address: netip.MustParseAddr("10.100.0.10"), Subnet: prefix("10.100.0.0/24")}},
			Tunnels:  []hub.Tunnel{{Name: "tun0", Origins: []netip.Prefix{prefix("172.27.240.0/22")}, ToHub: []hub.Service{{Protocol: "icmp"}}}},
		},
		Spokes:  []hub.Spoke{{ID: "vpc-1", Name: "billing", Number: 1, Peering: "pcx-1"}},
		Reaches: []hub.Reach{{Spoke: "vpc-1", Name: "billing", Prefix: unit.Prefix, Real: unit.Prefix, Egress: "eth0", Mark: 1<<24 | 1, Hold: true}},
		Routes: []hub.VPCRoute{
			{Table: "rtb-1", Destination: unit.Prefix, Peering: "pcx-1", Side: hub.SideHub, Spoke: "vpc-1", Unit: unit},
			{Table: "rtb-2", Destination: prefix("10.100.0.0/24"), Peering: "pcx-1", Side: hub.SideSpoke, Spoke: "vpc-1", Unit: hub.Unit{Kind: hub.UnitSpoke, Spoke: "vpc-1"}},
		},
	}
}

func topology() hub.Topology {
	check := false
	return hub.Topology{
		Hub:     hub.Hub{VPC: "vpc-hub", Prefixes: []netip.Prefix{prefix("10.100.0.0/16")}, Interfaces: []hub.Interface{{Name: "eth0", SourceDestCheck: &check}}},
		Sources: []hub.Source{{Scope: hub.Scope{Account: "111111111111", Region: "ap-northeast-1"}, Fresh: true, At: time.Unix(1700000000, 0).UTC(), Survey: 4}},
		Peerings: []hub.Peering{{ID: "pcx-1", State: hub.PeeringActive, Tags: map[string]string{"Name": "billing"},
			Peer: hub.Peer{VPC: "vpc-1", Prefixes: []netip.Prefix{prefix("10.110.0.0/16")}}}},
	}
}

func entry(table string) hub.LedgerEntry {
	return hub.LedgerEntry{LedgerKey: hub.LedgerKey{Table: hub.TableID(table), Destination: prefix("10.110.0.0/16"), Peering: "pcx-1"},
		Scope: hub.Scope{Account: "111111111111", Region: "ap-northeast-1"}, Spoke: "vpc-1", Side: hub.SideHub}
}

func open(t *testing.T, dir string) *state.State {
	t.Helper()
	s, err := state.Open(dir)
	if err != nil {
		t.Fatalf("opening the state: %v", err)
	}
	return s
}

func closeState(t *testing.T, s *state.State) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("closing the state: %v", err)
	}
}

// fill writes one of everything.
func fill(t *testing.T, s *state.State) {
	t.Helper()
	ctx := t.Context()
	confirmed := entry("rtb-2")
	err := errors.Join(s.Save(ctx, remembered(), desired()), s.SaveTopology(ctx, topology()),
		s.Intend(ctx, entry("rtb-1")), s.Intend(ctx, confirmed), s.Confirm(ctx, confirmed.LedgerKey))
	if err != nil {
		t.Fatalf("filling the state: %v", err)
	}
}

// content is everything a state gives back.
type content struct {
	Remembered hub.Remembered
	Desired    *hub.Desired
	Topology   hub.Topology
	Entries    []hub.LedgerEntry
}

func read(t *testing.T, s *state.State) content {
	t.Helper()
	ctx := t.Context()
	var c content
	var errs [4]error
	c.Remembered, errs[0] = s.LoadRemembered(ctx)
	c.Desired, errs[1] = s.LoadDesired(ctx)
	c.Topology, _, errs[2] = s.LoadTopology(ctx)
	c.Entries, errs[3] = s.Entries(ctx)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatalf("reading the state: %v", err)
	}
	return c
}

func full() content {
	d, topo := desired(), topology()
	topo.Sources[0].Fresh = false // has to answer again
	confirmed := entry("rtb-2")
	confirmed.Confirmed = true
	return content{Remembered: remembered(), Desired: &d, Topology: topo, Entries: []hub.LedgerEntry{entry("rtb-1"), confirmed}}
}

func TestEverythingComesBackAfterARestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if s.Doubt() != "" {
		t.Errorf("a first start is in doubt: %s", s.Doubt())
	}
	if diff := cmp.Diff(content{}, read(t, s), compare); diff != "" {
		t.Errorf("a first start knows something (-want +got):\n%s", diff)
	}
	fill(t, s)
	closeState(t, s)

	s = open(t, dir)
	defer closeState(t, s)
	if s.Doubt() != "" {
		t.Errorf("a clean restart is in doubt: %s", s.Doubt())
	}
	got := read(t, s)
	if diff := cmp.Diff(full(), got, compare); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
	if !got.Desired.Equal(desired()) || !got.Remembered.Equal(remembered()) {
		t.Error("what was loaded is not Equal to what was saved: every restart would write again")
	}
}

func TestLedgerForgetsAndDoesNotConfirmWhatNobodyIntended(t *testing.T) {
	s := open(t, t.TempDir())
	defer closeState(t, s)
	ctx := t.Context()
	key := entry("rtb-1").LedgerKey
	if err := s.Confirm(ctx, key); err == nil {
		t.Error("confirmed a route that nobody intended")
	}
	if err := s.Intend(ctx, entry("rtb-1")); err != nil {
		t.Fatal(err)
	}
	if err := s.Confirm(ctx, key); err != nil {
		t.Errorf("confirming an intended route: %v", err)
	}
	for range 2 { // the second time it is not there any more
		if err := s.Forget(ctx, key); err != nil {
			t.Errorf("forgetting: %v", err)
		}
	}
	if got := read(t, s).Entries; len(got) != 0 {
		t.Errorf("forgotten, and still there: %v", got)
	}
}

// A process that is killed leaves state.db and its log as they are at that moment.
func TestWhatWasSavedSurvivesAKill(t *testing.T) {
	dir, after := t.TempDir(), t.TempDir()
	s := open(t, dir)
	defer closeState(t, s)
	fill(t, s)
	for _, name := range []string{"state.db", "state.db-wal"} {
		body, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(after, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	killed := open(t, after)
	defer closeState(t, killed)
	if killed.Doubt() != "" {
		t.Errorf("in doubt: %s", killed.Doubt())
	}
	if diff := cmp.Diff(full(), read(t, killed), compare); diff != "" {
		t.Errorf("after a kill (-want +got):\n%s", diff)
	}
}

func TestASecondHubdIsRefusedByPID(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	_, err := state.Open(dir)
	var locked *state.LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("a second one: got %v, want a refusal that names pid %d", err, os.Getpid())
	}
	if want := fmt.Sprintf("another hubd (pid %d) uses %s", os.Getpid(), dir); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want a sentence with %q", err, want)
	}
	closeState(t, s)
	closeState(t, open(t, dir)) // the twin: alone, it may
}

func TestAStateOfANewerHubdIsRefusedAndLeftAlone(t *testing.T) {
	for _, tt := range []struct {
		version int
		newer   bool
	}{{2, true}, {1, false}} {
		t.Run(fmt.Sprintf("schema %d", tt.version), func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			fill(t, s)
			closeState(t, s)
			path := filepath.Join(dir, "state.db")
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec(fmt.Sprintf("PRAGMA user_version = %d", tt.version)); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err = state.Open(dir)
			var newer *state.NewerError
			if errors.As(err, &newer) != tt.newer {
				t.Fatalf("opening: %v", err)
			}
			if !tt.newer {
				closeState(t, s)
				return
			}
			after, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(before) != string(after) {
				t.Error("the file was changed")
			}
			if names := brokenFiles(t, dir); len(names) > 0 {
				t.Errorf("set aside: %v", names)
			}
		})
	}
}

func brokenFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.broken-*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// damaged opens a copy of good after damage was done to it, and wants either everything
// back or doubt: never an error, never something else without doubt.
func damaged(t *testing.T, what string, body []byte) (doubted bool) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "state.db"), body, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := state.Open(dir)
	var newer *state.NewerError
	if errors.As(err, &newer) {
		return true // a flipped version number: refused, and nothing is touched
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer closeState(t, s)
	if s.Doubt() == "" {
		if diff := cmp.Diff(full(), read(t, s), compare); diff != "" {
			t.Errorf("%s: no doubt, and yet (-want +got):\n%s", what, diff)
		}
		return false
	}
	if diff := cmp.Diff(content{}, read(t, s), compare); diff != "" {
		t.Errorf("%s: in doubt, and yet not fresh (-want +got):\n%s", what, diff)
	}
	// SQLite takes a file of one byte for an empty one.
	if len(body) > 1 && len(brokenFiles(t, dir)) == 0 {
		t.Errorf("%s: the broken file was not kept (%s)", what, s.Doubt())
	}
	fill(t, s) // and it works
	return true
}

func goodFile(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	closeState(t, s)
	body, err := os.ReadFile(filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestATruncatedFileIsSetAsideAndDoubted(t *testing.T) {
	good := goodFile(t)
	for _, n := range []int{0, 1, 15, 16, 99, 100, 511, 4095, 4096, 4097, len(good) / 2, len(good) - 4096, len(good) - 1} {
		if !damaged(t, fmt.Sprintf("cut to %d of %d bytes", n, len(good)), good[:n]) {
			t.Errorf("cut to %d of %d bytes: not doubted", n, len(good))
		}
	}
	if damaged(t, "whole", good) { // the twin
		t.Error("the whole file is doubted")
	}
}

func TestNoFlippedBitGoesUnnoticedInWhatIsRead(t *testing.T) {
	good := goodFile(t)
	rng := rand.New(rand.NewSource(1))
	doubted := 0
	for range 150 {
		body := append([]byte(nil), good...)
		at, bit := rng.Intn(len(body)), rng.Intn(8)
		body[at] ^= 1 << bit
		if damaged(t, fmt.Sprintf("bit %d of byte %d flipped", bit, at), body) {
			doubted++
		}
	}
	if doubted == 0 {
		t.Error("no flip was noticed: the checksums are off")
	}
	t.Logf("%d of 150 flips noticed; the others were in space that nothing uses", doubted)
}

func TestAMissingFileIsDoubtedOnlyWhereHubdRanBefore(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	closeState(t, s)
	if err := os.Remove(filepath.Join(dir, "state.db")); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer closeState(t, s)
	if !strings.Contains(s.Doubt(), "missing") {
		t.Errorf("doubt is %q", s.Doubt())
	}
}

func TestAnotherProgramsDatabaseIsSetAside(t *testing.T) {
	dir := t.TempDir()
	db, err := sql.Open("sqlite", filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE a (b)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	defer closeState(t, s)
	if s.Doubt() == "" || len(brokenFiles(t, dir)) != 1 {
		t.Errorf("doubt %q, set aside %v", s.Doubt(), brokenFiles(t, dir))
	}
}

func TestAnUnwritableDirectoryIsAnErrorThatNamesIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Open(filepath.Join(file, "state")); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want an error that names %s", err, file)
	}
}

// F54: a full disk fails the write and leaves what was there. 512 KiB hold a state and its
// log, and not another of a megabyte.
func TestAFullDiskKeepsTheOldState(t *testing.T) {
	dir := t.TempDir()
	mount := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	mount("mount", "-t", "tmpfs", "-o", "size=512k", "peerhub-state-test", dir)
	defer mount("umount", dir)
	s := open(t, dir)
	fill(t, s)
	big := remembered()
	big.Numbers = make(map[hub.SpokeID]uint16)
	for n := range 40000 {
		big.Numbers[hub.SpokeID(fmt.Sprintf("vpc-%017d", n))] = uint16(n)
	}
	if err := s.SaveRemembered(t.Context(), big); err == nil {
		t.Error("a megabyte went into 512 KiB")
	}
	if err := state.WriteLast(dir, big); err == nil {
		t.Error("a report of a megabyte went into 512 KiB")
	}
	if diff := cmp.Diff(full(), read(t, s), compare); diff != "" {
		t.Errorf("after the failed write (-want +got):\n%s", diff)
	}
	if err := s.SaveRemembered(t.Context(), hub.Remembered{Run: hub.Run{Reaches: 1}}); err != nil {
		t.Errorf("a small one afterwards: %v", err) // the twin
	}
	closeState(t, s)
	s = open(t, dir)
	if s.Doubt() != "" {
		t.Errorf("in doubt: %s", s.Doubt())
	}
	closeState(t, s)
}

func TestAnUnchangedTopologyIsNotWrittenAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer closeState(t, s)
	save := func(topo hub.Topology) int64 {
		t.Helper()
		if err := s.SaveTopology(t.Context(), topo); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, "state.db-wal"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	first := save(topology())
	later := topology()
	later.Sources[0].At, later.Sources[0].Survey = later.Sources[0].At.Add(time.Hour), 99
	if got := save(later); got != first {
		t.Errorf("the same answer an hour later: the log went from %d to %d bytes", first, got)
	}
	later.Peerings = nil
	if got := save(later); got == first {
		t.Error("another answer was not written")
	}
}

func TestLastReportIsReadableForTheGroupAndMissingIsTold(t *testing.T) {
	dir := t.TempDir()
	var got map[string]int
	if err := state.ReadLast(dir, &got); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing written yet: %v", err)
	}
	for n := range 2 {
		if err := state.WriteLast(dir, map[string]int{"n": n}); err != nil {
			t.Fatal(err)
		}
	}
	if err := state.ReadLast(dir, &got); err != nil || got["n"] != 1 {
		t.Errorf("got %v, %v", got, err)
	}
	info, err := os.Stat(filepath.Join(dir, "last.json"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
	if err := state.WriteLast(dir, func() {}); err == nil {
		t.Error("a func was written as JSON")
	}
	if err := state.ReadLast(dir, &got); err != nil || got["n"] != 1 {
		t.Errorf("after a failed write: %v, %v", got, err)
	}
}

func TestFilesAreForTheOwnerAndItsGroup(t *testing.T) {
	modes := func(dir string, want map[string]fs.FileMode) {
		t.Helper()
		for name, mode := range want {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != mode {
				t.Errorf("%s: %v, want %v", name, got, mode)
			}
		}
	}
	dir := filepath.Join(t.TempDir(), "new")
	s := open(t, dir)
	fill(t, s)
	modes(dir, map[string]fs.FileMode{".": 0o750, "state.db": 0o640, "state.db-wal": 0o640})
	closeState(t, s)

	if err := os.Chmod(filepath.Join(dir, "state.db"), 0o600); err != nil { // as an older hubd left it
		t.Fatal(err)
	}
	strict := t.TempDir()
	defer syscall.Umask(syscall.Umask(0o077)) // as in the unit
	for _, d := range []string{dir, strict} {
		s := open(t, d)
		fill(t, s)
		modes(d, map[string]fs.FileMode{"state.db": 0o640, "state.db-wal": 0o640})
		closeState(t, s)
	}
}
