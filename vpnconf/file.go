package vpnconf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"peerhub/hub/failpoint"
)

const (
	header      = "# Written by hubd (peerhub). Do not edit: it is written anew."
	routesName  = "peerhub.routes"
	defaultName = "DEFAULT"
	// maxFile bounds what is read of a file: OpenVPN itself takes far less of one client.
	maxFile = 1 << 20
	// maxPath leaves room for "config" and quotes in OpenVPN's 255 characters a line.
	maxPath = 240
)

// line is one pushed prefix and when it was first written.
type line struct {
	prefix netip.Prefix
	since  time.Time
}

// push is the line's text for OpenVPN.
func push(p netip.Prefix) string {
	if p.Addr().Is6() {
		return fmt.Sprintf(`push "route-ipv6 %s"`, p)
	}
	mask := net.IP(net.CIDRMask(p.Bits(), 32))
	return fmt.Sprintf(`push "route %s %s"`, p.Addr(), mask)
}

// compareLines puts the wide prefixes first, so aggregates lead.
func compareLines(a, b line) int {
	if a.prefix.Bits() != b.prefix.Bits() {
		return a.prefix.Bits() - b.prefix.Bits()
	}
	return a.prefix.Addr().Compare(b.prefix.Addr())
}

const sinceMark = " # since "

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// sinceOf reads the moment at the end of one of our lines; otherwise is what it is
// taken to be where it cannot be read.
func sinceOf(text string, otherwise time.Time) time.Time {
	if _, s, ok := strings.Cut(text, sinceMark); ok {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			return t
		}
	}
	return otherwise
}

// render is the file of push lines.
func render(dir string, lines []line) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n# DEFAULT includes this file; a client's own file needs this line:\n#   %s\n", header, include(dir))
	lines = slices.Clone(lines)
	slices.SortFunc(lines, compareLines)
	for _, l := range lines {
		b.WriteString(push(l.prefix) + sinceMark + stamp(l.since) + "\n")
	}
	return b.Bytes()
}

// parse reads a file of push lines of ours. Lines it does not know are passed over.
func parse(text []byte, changed time.Time) []line {
	var out []line
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSuffix(l, "\n")
		w := words(l)
		if len(w) != 2 || w[0] != "push" {
			continue
		}
		p, ok := pushed(w[1])
		if ok && !slices.ContainsFunc(out, func(o line) bool { return o.prefix == p }) {
			out = append(out, line{p, sinceOf(l, changed)})
		}
	}
	return out
}

// pushed reads "route ADDRESS MASK" or "route-ipv6 PREFIX".
func pushed(option string) (netip.Prefix, bool) {
	f := strings.Fields(option)
	if len(f) == 2 && f[0] == "route-ipv6" {
		p, err := netip.ParsePrefix(f[1])
		return p.Masked(), err == nil
	}
	if len(f) != 3 || f[0] != "route" {
		return netip.Prefix{}, false
	}
	addr, err1 := netip.ParseAddr(f[1])
	mask, err2 := netip.ParseAddr(f[2])
	if err1 != nil || err2 != nil || !addr.Is4() || !mask.Is4() {
		return netip.Prefix{}, false
	}
	m := mask.As4()
	ones, bits := net.IPv4Mask(m[0], m[1], m[2], m[3]).Size()
	return netip.PrefixFrom(addr, ones).Masked(), bits == 32
}

// include is the line that makes OpenVPN read our routes.
func include(dir string) string { return "config " + quoted(filepath.Join(dir, routesName)) }

// renderDefault is the file for clients without one of their own.
func renderDefault(dir string, since time.Time) []byte {
	return fmt.Appendf(nil, "%s\n%s%s%s\n", header, include(dir), sinceMark, stamp(since))
}

// includes reports whether a file, as OpenVPN reads it, ends up with the routes of one
// of the paths: a config line, and no push-reset or push-remove of routes after it.
func includes(text []byte, paths ...string) bool {
	has := false
	for l := range strings.Lines(string(text)) {
		w := words(l)
		if len(w) == 0 {
			continue
		}
		switch strings.TrimPrefix(w[0], "--") {
		case "config":
			has = has || len(w) == 2 && slices.Contains(paths, filepath.Clean(w[1]))
		case "push-reset":
			has = false
		case "push-remove":
			has = has && !(len(w) == 2 && strings.HasPrefix("route", w[1]))
		}
	}
	return has
}

// targets are the files a file includes.
func targets(text []byte) []string {
	var out []string
	for l := range strings.Lines(string(text)) {
		if w := words(l); len(w) == 2 && strings.TrimPrefix(w[0], "--") == "config" {
			out = append(out, filepath.Clean(w[1]))
		}
	}
	return out
}

// isOurs reports whether a file begins with our header.
func isOurs(text []byte) bool { return bytes.HasPrefix(text, []byte(header)) }

// readFile reads a regular file of at most maxFile bytes. ok is false when there is none.
func readFile(path string) (text []byte, changed time.Time, ok bool, err error) {
	return readBounded(path, maxFile)
}

// readBounded is readFile with a bound of its own.
func readBounded(path string, most int) (text []byte, changed time.Time, ok bool, err error) {
	// Not blocking: a pipe somebody left there must not stop us.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, time.Time{}, false, nil
	}
	if err != nil {
		return nil, time.Time{}, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, time.Time{}, false, err
	}
	if !info.Mode().IsRegular() {
		return nil, time.Time{}, false, fmt.Errorf("%s is not a file", path)
	}
	text, err = io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err == nil && len(text) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return text, info.ModTime(), true, err
}

// writeFile puts text in place of path, all or nothing, also over a crash. A file that
// does not begin with our header is never replaced.
func writeFile(path string, text []byte) error {
	old, _, exists, err := readFile(path)
	if err != nil {
		return err
	}
	if exists && !isOurs(old) {
		return fmt.Errorf("%s is not ours: it does not begin with our header", path)
	}
	dir := filepath.Dir(path)
	temp := filepath.Join(dir, "."+filepath.Base(path)+".hubd")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeTemp(temp, dir, text); err != nil {
		return errors.Join(err, removeIfThere(temp))
	}
	failpoint.Hit("vpnconf.temp")
	if exists {
		err = os.Rename(temp, path)
	} else if err = os.Link(temp, path); err == nil { // refuses when somebody was faster
		err = os.Remove(temp)
	}
	if err != nil {
		return errors.Join(err, removeIfThere(temp))
	}
	failpoint.Hit("vpnconf.renamed")
	return syncDir(dir)
}

// writeTemp makes a new file, readable by whoever may read the directory: no secret is in it.
func writeTemp(path, dir string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(0o644) // whatever the umask is: OpenVPN reads it without root
	}
	var st unix.Stat_t
	if err == nil && unix.Stat(dir, &st) == nil {
		// The directory's group may read it anyway; being refused this is no loss.
		_ = f.Chown(-1, int(st.Gid))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// removeOurs removes a file that begins with our header; any other it leaves.
func removeOurs(path string) error {
	text, _, ok, err := readFile(path)
	if err != nil || !ok || !isOurs(text) {
		return err
	}
	if err := removeIfThere(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
