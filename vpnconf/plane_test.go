package vpnconf

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

// start is the first moment of every test's clock.
var start = time.Date(2026, 3, 1, 2, 41, 7, 0, time.UTC)

func reach(spoke, prefix string) hub.Reach {
	p := netip.MustParsePrefix(prefix)
	return hub.Reach{Spoke: hub.SpokeID(spoke), Name: spoke, Prefix: p, Real: p, Egress: "eth0"}
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// desired is one server with an aggregate, a spoke inside and one outside.
func desired(dir string) hub.Desired {
	return hub.Desired{
		Base: hub.Base{
			Servers: []hub.Server{{Name: "people", ClientDir: dir, OwnFiles: hub.OwnFilesInclude, Aggregates: prefixes("10.96.0.0/11")}},
		},
		Reaches: []hub.Reach{reach("vpc-h", "10.64.0.0/16"), reach("vpc-a", "10.110.0.0/16"), reach("vpc-b", "10.200.0.0/16")},
	}
}

// newPlane is a plane for desired's server, with a clock that stands still until moved.
func newPlane(dir string, now *time.Time) *Plane {
	return New(Options{Servers: desired(dir).Base.Servers, Now: func() time.Time { return *now }})
}

func pass(t *testing.T, p *Plane, d hub.Desired) []hub.Change {
	t.Helper()
	v, err := p.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	changes := v.Plan(d)
	after, err := p.Apply(t.Context(), v, changes)
	if err != nil {
		t.Fatal(err)
	}
	if rest := after.Plan(d); len(rest) > 0 {
		t.Fatalf("after the pass there is still to do: %v", rest)
	}
	return changes
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func problems(t *testing.T, p *Plane, d hub.Desired) []hub.Problem {
	t.Helper()
	v, err := p.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v.(hub.Troubled).Problems(d)
}

func TestTheFilesOfAServer(t *testing.T) {
	dir, now := t.TempDir(), start
	p := newPlane(dir, &now)
	d := desired(dir)
	var objects []string
	for _, c := range pass(t, p, d) {
		objects = append(objects, fmt.Sprintf("%s %s | %s | %s", c.Verb, c.Object, c.Detail, c.Unit))
	}
	if diff := cmp.Diff([]string{
		"add file DEFAULT server people | config " + dir + "/peerhub.routes | base",
		"add file peerhub.routes server people | as written | base",
		`add route 10.200.0.0/16 server people | push "route 10.200.0.0 255.255.0.0" | spoke vpc-b 10.200.0.0/16`,
		`add route 10.64.0.0/16 server people | push "route 10.64.0.0 255.255.0.0" | spoke vpc-h 10.64.0.0/16`,
		`add route 10.96.0.0/11 server people | push "route 10.96.0.0 255.224.0.0" | base`,
	}, objects); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	now = now.Add(time.Hour)
	d.Reaches = append(d.Reaches, reach("vpc-c", "10.0.0.0/28"))
	d.Reaches = d.Reaches[1:]
	pass(t, p, d)
	if diff := cmp.Diff(`# Written by hubd (peerhub). Do not edit: it is written anew.
# DEFAULT includes this file; a client's own file needs this line:
#   config `+dir+`/peerhub.routes
push "route 10.96.0.0 255.224.0.0" # since 2026-03-01T02:41:07Z
push "route 10.200.0.0 255.255.0.0" # since 2026-03-01T02:41:07Z
push "route 10.0.0.0 255.255.255.240" # since 2026-03-01T03:41:07Z
`, read(t, dir, routesName)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", routesName, diff)
	}
	if diff := cmp.Diff("# Written by hubd (peerhub). Do not edit: it is written anew.\nconfig "+dir+"/peerhub.routes # since 2026-03-01T02:41:07Z\n",
		read(t, dir, defaultName)); diff != "" {
		t.Errorf("DEFAULT (-want +got):\n%s", diff)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("in the directory: %v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != 0o644 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	if got := pass(t, newPlane(dir, &now), d); len(got) > 0 {
		t.Errorf("a new process has changes: %v", got)
	}
}

func TestASecondPassWritesNothing(t *testing.T) {
	dir, now := t.TempDir(), start
	p := newPlane(dir, &now)
	pass(t, p, desired(dir))
	stat := func() string {
		return run(t, "stat", "-c", "%n %i %y %z", filepath.Join(dir, routesName), filepath.Join(dir, defaultName), dir)
	}
	before := stat()
	pass(t, p, desired(dir))
	if diff := cmp.Diff(before, stat()); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	d := desired(dir)
	d.Reaches = d.Reaches[:2]
	pass(t, p, d)
	if before == stat() {
		t.Error("control: a change is not seen")
	}
}

func TestWhatIsHeldStaysAsItIs(t *testing.T) {
	dir, now := t.TempDir(), start
	p := newPlane(dir, &now)
	d := desired(dir)
	d.Reaches[2].Hold = true
	pass(t, p, d)
	if strings.Contains(read(t, dir, routesName), "10.200.0.0") {
		t.Error("a held reach was announced")
	}
	d.Reaches[2].Hold = false
	pass(t, p, d)
	before := read(t, dir, routesName)
	units := hub.Units{}
	units.Add(hub.Unit{Kind: hub.UnitBase})
	held := desired(dir)
	held.Reaches = nil
	held.Base.Servers[0].Aggregates = nil
	if got := pass(t, p, held.Holding(units)); len(got) > 0 {
		t.Errorf("changes while the base is held: %v", got)
	}
	d.Reaches[2].Hold = true
	d.Reaches = append(d.Reaches, reach("vpc-c", "10.201.0.0/16"))
	pass(t, p, d)
	after := read(t, dir, routesName)
	if want := before + "push \"route 10.201.0.0 255.255.0.0\" # since 2026-03-01T02:41:07Z\n"; after != want {
		t.Errorf("(-want +got):\n%s", cmp.Diff(want, after))
	}
	if got := pass(t, p, held); len(got) == 0 {
		t.Error("control: nothing changes when nothing is held")
	}
}

func TestForeignFilesAreNeverTouched(t *testing.T) {
	const foreign = "push \"route 192.0.2.0 255.255.255.0\"\n"
	line := func(dir string) string { return "config " + dir + "/peerhub.routes\n" }
	for _, c := range []struct {
		name  string
		files func(dir string) map[string]string
		want  []string // code and file
		lines bool     // our routes are written
	}{
		{"none", func(string) map[string]string { return nil }, nil, true},
		{"a DEFAULT without our line", func(string) map[string]string { return map[string]string{"DEFAULT": foreign} },
			[]string{"CLIENT_FILE_HIDES DEFAULT"}, true},
		{"an empty DEFAULT", func(string) map[string]string { return map[string]string{"DEFAULT": ""} },
			[]string{"CLIENT_FILE_HIDES DEFAULT"}, true},
		{"a DEFAULT with our line", func(d string) map[string]string { return map[string]string{"DEFAULT": foreign + line(d)} }, nil, true},
		{"a file of our name", func(string) map[string]string { return map[string]string{"peerhub.routes": foreign} },
			[]string{"PLANE_FAILED peerhub.routes"}, false},
		{"own files", func(d string) map[string]string {
			return map[string]string{
				"anna":   foreign,
				"bob":    foreign + line(d),
				"carl":   "config " + d + "/DEFAULT\n",
				"dora":   line(d) + "push-reset\n",
				"emil":   "push-reset\n--config \"" + d + "/peerhub.routes\" # ours\r\n",
				"frida":  "# " + line(d),
				"gustav": "config peerhub.routes\n",
				"hanna":  line(d) + "push-remove route\n",
				"ida":    "config " + d + "/common\n",
				"common": line(d),
				".swp":   "x", "anna~": "x",
			}
		}, []string{"CLIENT_FILE_HIDES anna", "CLIENT_FILE_HIDES dora", "CLIENT_FILE_HIDES frida", "CLIENT_FILE_HIDES gustav",
			"CLIENT_FILE_HIDES hanna", "CLIENT_FILE_HIDES ida"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, now := t.TempDir(), start
			files := c.files(dir)
			for name, text := range files {
				write(t, dir, name, text)
			}
			p := newPlane(dir, &now)
			pass(t, p, desired(dir))
			for name, text := range files {
				if got := read(t, dir, name); got != text {
					t.Errorf("%s became %q", name, got)
				}
			}
			var got []string
			for _, pr := range problems(t, p, desired(dir)) {
				got = append(got, string(pr.Code)+" "+filepath.Base(pr.Subject))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(filepath.Join(dir, routesName)); err != nil || isOurs([]byte(read(t, dir, routesName))) != c.lines {
				t.Errorf("our routes are there: %v, want %v", err == nil, c.lines)
			}
			// Every problem's mend mends it.
			for _, pr := range problems(t, p, desired(dir)) {
				run(t, "sh", "-c", pr.Mend)
			}
			pass(t, p, desired(dir))
			if rest := problems(t, p, desired(dir)); len(rest) > 0 {
				t.Errorf("after the mends: %v", rest)
			}
			leave := desired(dir)
			leave.Base.Servers[0].OwnFiles = hub.OwnFilesLeave
			write(t, dir, "zoe", foreign)
			if got := problems(t, p, leave); len(got) > 0 {
				t.Errorf("own files are to be left, but %v", got)
			}
			if got := problems(t, p, desired(dir)); len(got) != 1 {
				t.Errorf("control: zoe's file is no problem: %v", got)
			}
		})
	}
}

func TestCleanupRemovesExactlyOurs(t *testing.T) {
	dir, now := t.TempDir(), start
	write(t, dir, "anna", "# "+header+"\n")
	p := newPlane(dir, &now)
	pass(t, p, desired(dir))
	if err := p.Cleanup(t.Context(), desired(dir).Base.Servers); err != nil {
		t.Fatal(err)
	}
	if got := run(t, "ls", "-A", dir); got != "anna\n" {
		t.Errorf("left over: %q", got)
	}
	write(t, dir, "DEFAULT", "x")
	if err := p.Cleanup(t.Context(), desired(dir).Base.Servers); err != nil || read(t, dir, "DEFAULT") != "x" {
		t.Errorf("a foreign DEFAULT was touched (%v)", err)
	}
	pass(t, p, desired(dir))
	if got := pass(t, p, hub.Desired{}); len(got) != 4 {
		t.Errorf("a server that left the config: %v", got)
	}
	if got := run(t, "ls", "-A", dir); got != "DEFAULT\nanna\n" {
		t.Errorf("left over: %q", got)
	}
}

func TestAnEditedFileOfOursIsPutBack(t *testing.T) {
	dir, now := t.TempDir(), start
	p := newPlane(dir, &now)
	pass(t, p, desired(dir))
	want, wantDefault := read(t, dir, routesName), read(t, dir, defaultName)
	now = now.Add(time.Hour)
	write(t, dir, routesName, strings.Replace(want, "10.200.0.0 255.255.0.0", "10.9.0.0 255.255.0.0", 1)+"push \"dhcp-option DNS 192.0.2.1\"\n")
	write(t, dir, defaultName, wantDefault+"push \"route 192.0.2.0 255.255.255.0\"\n")
	pass(t, p, desired(dir))
	// The line that was away is new: who connected meanwhile has not got it.
	want = strings.Replace(want, "10.200.0.0 255.255.0.0\" # since 2026-03-01T02", "10.200.0.0 255.255.0.0\" # since 2026-03-01T03", 1)
	if diff := cmp.Diff(want, read(t, dir, routesName)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", routesName, diff)
	}
	if diff := cmp.Diff(wantDefault, read(t, dir, defaultName)); diff != "" {
		t.Errorf("DEFAULT (-want +got):\n%s", diff)
	}
}

func TestServersThatShareADirectoryAreOne(t *testing.T) {
	dir, now := t.TempDir(), start
	d := desired(dir)
	d.Base.Servers = append(d.Base.Servers, hub.Server{Name: "admins", ClientDir: dir + "/", Aggregates: prefixes("10.200.0.0/14")})
	p := New(Options{Servers: d.Base.Servers, Now: func() time.Time { return now }})
	pass(t, p, d)
	var got []string
	for _, l := range parse([]byte(read(t, dir, routesName)), now) {
		got = append(got, l.prefix.String())
	}
	if diff := cmp.Diff([]string{"10.96.0.0/11", "10.200.0.0/14", "10.64.0.0/16"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestADirectoryThatIsNotThereStopsNobodyElse(t *testing.T) {
	dir, now := t.TempDir(), start
	d := desired(dir)
	gone := filepath.Join(dir, "gone")
	d.Base.Servers = append(d.Base.Servers, hub.Server{Name: "a", ClientDir: gone}, hub.Server{Name: "b", ClientDir: "relative"},
		hub.Server{Name: "c", ClientDir: "/" + strings.Repeat("x", 250)})
	p := New(Options{Servers: d.Base.Servers, Now: func() time.Time { return now }})
	pass(t, p, d)
	if !strings.Contains(read(t, dir, routesName), "10.200.0.0") {
		t.Error("the other server got nothing")
	}
	var got []string
	for _, pr := range problems(t, p, d) {
		got = append(got, pr.Detail)
	}
	if len(got) != 3 || !strings.Contains(strings.Join(got, "\n"), "the client directory of a cannot be used: open "+gone+": no such file or directory") {
		t.Errorf("problems %q", got)
	}
	v, err := p.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if lacks := v.(hub.Lacking).Lacks(d); len(lacks) != 3 {
		t.Errorf("lacks %v, want the three reaches", lacks)
	}
	if err := os.Mkdir(gone, 0o755); err != nil {
		t.Fatal(err)
	}
	pass(t, p, d)
	if !strings.Contains(read(t, gone, routesName), "10.110.0.0") {
		t.Error("the directory that came got nothing")
	}
}

func TestTheTextWritesTheSameRoutes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's a dir")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "sh", "-euc", Text(desired(dir)))
	var got []string
	for _, l := range parse([]byte(read(t, dir, routesName)), start) {
		got = append(got, l.prefix.String())
	}
	if diff := cmp.Diff([]string{"10.96.0.0/11", "10.64.0.0/16", "10.200.0.0/16"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !includes([]byte(read(t, dir, defaultName)), filepath.Join(dir, routesName)) {
		t.Errorf("DEFAULT: %q", read(t, dir, defaultName))
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
