package vpnconf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"peerhub/hub"
)

const (
	// statusTime bounds how long OpenVPN's answer may take. The management interface
	// serves one at a time and leaves the others waiting without a word.
	statusTime = 3 * time.Second
	// statusBytes bounds a status: 10,000 clients need about 2 MB.
	statusBytes = 32 << 20
	// fileTries is how often a status file is read that has no end yet.
	fileTries = 5
)

// Clients says who is connected to the servers, in the order of servers and names, and
// which pushed routes each lacks. A server whose status cannot be read is a problem; so
// is a client that lacks routes.
func (p *Plane) Clients(ctx context.Context, servers []hub.Server) ([]Client, []hub.Problem) {
	p.mu.Lock()
	v := p.observe()
	p.mu.Unlock()
	var out []Client
	var problems []hub.Problem
	for _, s := range servers {
		path := p.status[s.Name]
		if path == "" {
			continue
		}
		clients, err := ReadStatus(ctx, path)
		if err != nil {
			problems = append(problems, hub.Problem{Code: hub.StatusUnread, Subject: s.Name,
				Detail: err.Error(), Mend: "ls -l " + path})
			continue
		}
		slices.SortStableFunc(clients, func(a, b Client) int { return strings.Compare(a.Name, b.Name) })
		for _, c := range clients {
			c.Server = s.Name
			c.Lacks = v.lackedBy(c, s)
			if len(c.Lacks) > 0 {
				problems = append(problems, lacking(c))
			}
			out = append(out, c)
		}
	}
	return out, problems
}

// lacking is the problem of a client that lacks routes.
func lacking(c Client) hub.Problem {
	return hub.Problem{Code: hub.ClientLacks, Subject: c.Name,
		Detail: fmt.Sprintf("connected to %s since %s and has not got %v", c.Server, c.Since.UTC().Format(time.RFC3339), c.Lacks),
		Mend:   "reconnect the client"}
}

// lackedBy says which routes that are pushed to clients of s the client has not got: those
// whose line is younger than its connection, or all when it never reads them or began to
// after it connected. Sorted.
func (v *view) lackedBy(c Client, s hub.Server) []netip.Prefix {
	if s.ClientDir == "" {
		return nil
	}
	d := v.dirs[filepath.Clean(s.ClientDir)]
	if d == nil || d.err != nil {
		return nil
	}
	reads, from := d.fallbackOK, d.since
	name := fileNameOf(c.Name)
	if i := slices.IndexFunc(d.own, func(o ownFile) bool { return o.name == name }); i >= 0 {
		if s.OwnFiles == hub.OwnFilesLeave && !d.own[i].ok {
			return nil // on purpose
		}
		reads, from = d.own[i].ok, d.own[i].changed
	}
	var out []netip.Prefix
	for _, l := range d.lines {
		if !reads || c.Since.Before(from) || c.Since.Before(l.since) {
			out = append(out, l.prefix)
		}
	}
	slices.SortFunc(out, hub.ComparePrefixes)
	return out
}

// fileNameOf is the name of a client's own file: OpenVPN replaces slashes, and what
// cannot be printed, in the common name.
func fileNameOf(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, name)
}

// ReadStatus reads the clients from a status file or a management socket.
func ReadStatus(ctx context.Context, path string) ([]Client, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read OpenVPN's status: %w", err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return readStatusFile(ctx, path)
	}
	text, err := askStatus(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("ask OpenVPN for its status on %s: %w", path, err)
	}
	clients, err := ParseStatus(text, time.Local)
	if err != nil {
		return nil, fmt.Errorf("ask OpenVPN for its status on %s: %w", path, err)
	}
	return clients, nil
}

// readStatusFile reads a status file, again while OpenVPN is writing it.
func readStatusFile(ctx context.Context, path string) ([]Client, error) {
	for try := 1; ; try++ {
		text, _, there, err := readBounded(path, statusBytes)
		if err == nil && !there {
			err = fs.ErrNotExist
		}
		var clients []Client
		if err == nil {
			clients, err = ParseStatus(text, time.Local)
		}
		if err == nil {
			return clients, nil
		}
		if !errors.Is(err, errIncomplete) || try == fileTries {
			return nil, fmt.Errorf("read OpenVPN's status file %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// askStatus asks on the management socket and returns the answer up to its END.
func askStatus(ctx context.Context, path string) ([]byte, error) {
	d := net.Dialer{Timeout: statusTime}
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(statusTime)); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if _, err := c.Write([]byte("status 3\n")); err != nil {
		return nil, err
	}
	var text, rest []byte
	buf := make([]byte, 32<<10)
	for {
		n, err := c.Read(buf)
		rest = append(rest, buf[:n]...)
		for {
			l, after, whole := bytes.Cut(rest, []byte("\n"))
			if !whole {
				break
			}
			rest = after
			switch l = bytes.TrimRight(l, "\r"); {
			case bytes.HasPrefix(l, []byte("ERROR:")):
				return nil, fmt.Errorf("it answers %q", l)
			case bytes.Equal(l, []byte("END")):
				_, _ = c.Write([]byte("quit\n"))
				return append(text, "END\n"...), nil
			}
			text = append(append(text, l...), '\n')
		}
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case bytes.HasPrefix(rest, []byte("ENTER PASSWORD:")):
			return nil, errors.New("the management interface wants a password, which is not supported")
		case len(text)+len(rest) > statusBytes:
			return nil, fmt.Errorf("more than %d bytes", statusBytes)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, fmt.Errorf("no answer in %v: it serves one at a time, is another program connected? %w", statusTime, err)
		case err != nil:
			return nil, err
		}
	}
}
