package vpnconf

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

func TestWhoLacksWhat(t *testing.T) {
	minute := func(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }
	d := &dir{path: "/ccd", label: "people", fallback: us, fallbackOK: true, since: minute(0),
		lines: []line{{netip.MustParsePrefix("10.96.0.0/11"), minute(0)}, {netip.MustParsePrefix("10.64.0.0/16"), minute(10)}},
		own: []ownFile{
			{name: "bob", ok: true, changed: minute(-60)},
			{name: "carl", ok: false, changed: minute(-60)},
			{name: "dora", ok: true, changed: minute(20)},
			{name: "x_y", ok: false, changed: minute(-60)},
		}}
	v := &view{dirs: map[string]*dir{"/ccd": d}}
	include, leave := hub.Server{Name: "people", ClientDir: "/ccd/"}, hub.Server{Name: "people", ClientDir: "/ccd", OwnFiles: hub.OwnFilesLeave}
	all := prefixes("10.64.0.0/16", "10.96.0.0/11")
	for _, c := range []struct {
		name   string
		client string
		since  time.Time
		server hub.Server
		want   []netip.Prefix
	}{
		{"connected after everything", "anna", minute(11), include, nil},
		{"connected between two lines", "anna", minute(5), include, all[:1]},
		{"connected within the second of a write", "anna", minute(10), include, nil},
		{"connected before DEFAULT was written", "anna", minute(-1), include, all},
		{"own file with the line", "bob", minute(11), include, nil},
		{"own file with the line, connected between", "bob", minute(5), include, all[:1]},
		{"own file without the line", "carl", minute(30), include, all},
		{"own file without the line, left on purpose", "carl", minute(30), leave, nil},
		{"own file with the line, left, connected between", "bob", minute(5), leave, all[:1]},
		{"own file that was mended after the connect", "dora", minute(19), include, all},
		{"own file that was mended, and a new connect", "dora", minute(21), include, nil},
		{"a name with a slash", "x/y", minute(30), include, all},
		{"a server whose files are not ours", "anna", minute(-1), hub.Server{Name: "other"}, nil},
		{"a directory nobody saw", "anna", minute(-1), hub.Server{Name: "other", ClientDir: "/elsewhere"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := v.lackedBy(Client{Name: c.client, Since: c.since}, c.server)
			if diff := cmp.Diff(c.want, got, sameAddr); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	d.fallbackOK = false
	if got := v.lackedBy(Client{Name: "anna", Since: minute(30)}, include); len(got) != 2 {
		t.Errorf("without a DEFAULT that includes the routes nobody has them, got %v lacking", got)
	}
}

// manage listens like OpenVPN's management interface and gives each connection to talk.
func manage(t *testing.T, talk func(net.Conn)) string {
	t.Helper()
	// A socket's path has at most 107 characters, too few for some temporary directories.
	dir, err := os.MkdirTemp("", "vpnconf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "m.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			talk(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-ended })
	return path
}

// answer waits for the question and then writes text in pieces of n bytes.
func answer(t *testing.T, text string, n int) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = c.Write([]byte(">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"))
		if q, err := bufio.NewReader(c).ReadString('\n'); err != nil || q != "status 3\n" {
			t.Errorf("asked %q, %v", q, err)
		}
		for len(text) > 0 {
			piece := text[:min(n, len(text))]
			text = text[len(piece):]
			if _, err := c.Write([]byte(piece)); err != nil {
				return
			}
		}
	}
}

func TestTheManagementSocketIsAsked(t *testing.T) {
	crlf := strings.ReplaceAll(status3, "\n", "\r\n")
	for _, c := range []struct {
		name string
		talk func(net.Conn)
		want int
		err  string
	}{
		{"an answer in one piece", answer(t, crlf, 1<<20), 2, ""},
		{"an answer byte by byte", answer(t, crlf, 1), 2, ""},
		{"messages in between and behind", answer(t, strings.ReplaceAll(crlf, "\r\n", "\r\n>BYTECOUNT_CLI:0,1,2\r\n"), 100), 2, ""},
		{"an error", answer(t, "ERROR: unknown command\r\n", 100), 0, `it answers "ERROR: unknown command"`},
		{"a password", func(c net.Conn) {
			_, _ = c.Write([]byte("ENTER PASSWORD:"))
			_, _ = bufio.NewReader(c).ReadString('\n')
		}, 0, "wants a password"},
		{"the connection ends", answer(t, crlf[:200], 100), 0, "EOF"},
		{"something else listens", answer(t, "SSH-2.0-OpenSSH\r\nEND\r\n", 100), 0, `unknown line "SSH-2.0-OpenSSH"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ReadStatus(t.Context(), manage(t, c.talk))
			if len(got) != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %d clients, %v; want %d, %q", len(got), err, c.want, c.err)
			}
		})
	}
}

func TestASilentManagementSocketIsGivenUp(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	path := manage(t, func(c net.Conn) {
		_, _ = bufio.NewReader(c).ReadString('\n') // it is heard
		stop()                                     // somebody stops waiting
		_, _ = c.Read(make([]byte, 1))             // until the other side hangs up
	})
	if got, err := ReadStatus(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("no answer became %v, %v", got, err)
	}
	path = manage(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 100)); _, _ = c.Read(make([]byte, 1)) })
	_, err := ReadStatus(t.Context(), path)
	if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), "is another program connected?") {
		t.Errorf("want the deadline with a hint, got %v", err)
	}
}

func TestClientsOfServersThatAnswerAndOfOneThatDoesNot(t *testing.T) {
	dir, now := t.TempDir(), time.Unix(1795224146, 0)
	write(t, dir, "office-tokyo", "iroute 172.168.0.0 255.255.255.0\n")
	file := filepath.Join(t.TempDir(), "status")
	write(t, filepath.Dir(file), "status", status3)
	servers := append(desired(dir).Base.Servers, hub.Server{Name: "gone"}, hub.Server{Name: "unwatched"})
	p := New(Options{Servers: servers, Status: map[string]string{"people": file, "gone": file + ".none"}, Now: func() time.Time { return now }})
	pass(t, p, desired(dir))
	clients, probs := p.Clients(t.Context(), servers)
	var got []string
	for _, c := range clients {
		got = append(got, c.Server+" "+c.Name+" "+c.Address.String()+" lacks "+strings.Trim(strings.Join(strings.Fields(text(c.Lacks)), " "), "[]"))
	}
	if diff := cmp.Diff([]string{
		"people anna 172.27.240.2 lacks 10.64.0.0/16 10.96.0.0/11 10.200.0.0/16",
		"people office-tokyo 172.27.240.3 lacks 10.64.0.0/16 10.96.0.0/11 10.200.0.0/16",
	}, got); diff != "" {
		t.Errorf("clients (-want +got):\n%s", diff)
	}
	var codes []string
	for _, pr := range probs {
		codes = append(codes, string(pr.Code)+" "+pr.Subject)
	}
	if diff := cmp.Diff([]string{"CLIENT_LACKS anna", "CLIENT_LACKS office-tokyo", "STATUS_UNREAD gone"}, codes); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	write(t, filepath.Dir(file), "status", status3[:len(status3)/2])
	if _, probs = p.Clients(t.Context(), servers[:1]); len(probs) != 1 || !strings.Contains(probs[0].Detail, "has no END") {
		t.Errorf("half a file: %v", probs)
	}
}

func text(list []netip.Prefix) string {
	var s []string
	for _, p := range list {
		s = append(s, p.String())
	}
	return strings.Join(s, " ")
}
