package vpnconf

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"peerhub/hub"
)

// holder says whose a file is.
type holder uint8

const (
	nobody holder = iota // there is no file
	us
	somebody
)

// dir is what was seen of one client directory.
type dir struct {
	path, label string
	err         error // why it cannot be used; then nothing else counts

	routes     holder
	lines      []line // of our peerhub.routes
	edited     bool   // somebody wrote into it
	fallback   holder // of DEFAULT
	fallbackOK bool   // DEFAULT, whoever made it, includes the routes
	stale      bool   // our DEFAULT is not as we would write it
	since      time.Time
	own        []ownFile // by name
}

// ownFile is a client's own file.
type ownFile struct {
	name    string
	ok      bool // includes our routes
	changed time.Time
	err     error // why it cannot be read
}

// view is what was seen of all directories, never changed once made.
type view struct {
	dirs map[string]*dir // by path
}

// readDir looks at one client directory.
func readDir(path, label string) *dir {
	d := &dir{path: path, label: label}
	if d.err = usable(path); d.err == nil {
		d.err = d.read()
	}
	return d
}

// usable says whether OpenVPN could read a config line with this path.
func usable(path string) error {
	switch {
	case !filepath.IsAbs(path):
		return fmt.Errorf("%s is not an absolute path", path)
	case len(path) > maxPath-len(routesName):
		return fmt.Errorf("%s is too long for OpenVPN's 255 characters a line", path)
	case strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%q has control characters", path)
	}
	return nil
}

func (d *dir) read() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	routes := filepath.Join(d.path, routesName)
	text, changed, there, err := readFile(routes)
	if err != nil {
		return err
	}
	if there && !isOurs(text) {
		d.routes = somebody
	} else if there {
		d.routes, d.lines = us, parse(text, changed)
		d.edited = !bytes.Equal(text, render(d.path, d.lines))
	}
	fallback := filepath.Join(d.path, defaultName)
	if text, changed, there, err = readFile(fallback); err != nil {
		return err
	}
	paths := []string{routes}
	if there {
		d.fallback, d.since = somebody, changed
		d.fallbackOK = includes(text, routes)
		if isOurs(text) {
			d.fallback = us
			for l := range strings.Lines(string(text)) {
				d.since = sinceOf(strings.TrimSuffix(l, "\n"), d.since)
			}
			d.stale = !bytes.Equal(text, renderDefault(d.path, d.since))
		}
		if d.fallbackOK {
			paths = append(paths, fallback)
		}
	}
	d.readOwn(entries, paths)
	return nil
}

// readOwn looks at the clients' own files. A file that another one includes is a person's
// library, not a client's.
func (d *dir) readOwn(entries []os.DirEntry, paths []string) {
	var libraries []string
	for _, e := range entries {
		name := e.Name()
		if name == routesName || name == defaultName || name[0] == '.' || strings.HasSuffix(name, "~") || e.IsDir() {
			continue
		}
		text, changed, there, err := readFile(filepath.Join(d.path, name))
		if there || err != nil {
			d.own = append(d.own, ownFile{name, includes(text, paths...), changed, err})
			libraries = append(libraries, targets(text)...)
		}
	}
	d.own = slices.DeleteFunc(d.own, func(o ownFile) bool {
		return slices.Contains(libraries, filepath.Join(d.path, o.name))
	})
}

// The values of file objects.
const (
	asWritten = "as written"
	byOthers  = "edited by somebody"
)

func (d *dir) routeKey(l string) string { return "route " + l + " server " + d.label }
func (d *dir) fileKey(n string) string  { return "file " + n + " server " + d.label }

// Plan says which lines and files to write or remove.
func (v *view) Plan(want hub.Desired) []hub.Change {
	var wants, haves []hub.Object
	base := hub.Unit{Kind: hub.UnitBase}
	for _, d := range v.dirs {
		if d.err != nil || d.routes == somebody {
			continue
		}
		if d.routes == us {
			value := asWritten
			if d.edited {
				value = byOthers
			}
			haves = append(haves, hub.Object{Key: d.fileKey(routesName), Value: value, Unit: base, Hold: want.Base.Hold})
		}
		for _, l := range d.lines {
			haves = append(haves, hub.Object{Key: d.routeKey(l.prefix.String()), Value: push(l.prefix),
				Unit: hub.Unit{Kind: hub.UnitPrefix, Prefix: l.prefix}, Hold: want.Base.Hold})
		}
		if d.fallback == us {
			value := include(d.path)
			if d.stale {
				value = byOthers
			}
			haves = append(haves, hub.Object{Key: d.fileKey(defaultName), Value: value, Unit: base, Hold: want.Base.Hold})
		}
	}
	for path, servers := range byDir(want.Base.Servers) {
		d := v.dirs[path]
		if d == nil || d.err != nil || d.routes == somebody {
			continue
		}
		wants = append(wants, hub.Object{Key: d.fileKey(routesName), Value: asWritten, Unit: base, Hold: want.Base.Hold})
		for _, l := range wantLines(want, servers) {
			wants = append(wants, hub.Object{Key: d.routeKey(l.prefix.String()), Value: push(l.prefix), Unit: l.unit, Hold: l.hold})
		}
		if d.fallback != somebody {
			wants = append(wants, hub.Object{Key: d.fileKey(defaultName), Value: include(path), Unit: base, Hold: want.Base.Hold})
		}
	}
	return hub.Diff(wants, haves)
}

// Problems says which directories cannot be used and whose files hide the routes.
func (v *view) Problems(want hub.Desired) []hub.Problem {
	var out []hub.Problem
	for path, servers := range byDir(want.Base.Servers) {
		d := v.dirs[path]
		switch {
		case d == nil:
			out = append(out, hub.Problem{Code: hub.PlaneFailed, Subject: path,
				Detail: "the client directory is not watched: it came into the config while hubd ran", Mend: "systemctl restart hubd"})
			continue
		case d.err != nil:
			out = append(out, hub.Problem{Code: hub.PlaneFailed, Subject: path,
				Detail: fmt.Sprintf("the client directory of %s cannot be used: %v", d.label, d.err), Mend: "ls -ld " + path})
			continue
		case d.routes == somebody:
			file := filepath.Join(path, routesName)
			out = append(out, hub.Problem{Code: hub.PlaneFailed, Subject: file,
				Detail: "a file that is not ours has this name, so no route is pushed", Mend: "mv " + file + " " + file + "~"})
			continue
		}
		if d.fallback == somebody && !d.fallbackOK {
			out = append(out, d.hides(defaultName, "it was there before us and does not include the routes: no client without a file of its own gets them"))
		}
		if !checksOwn(servers) {
			continue
		}
		for _, o := range d.own {
			if o.err != nil {
				out = append(out, hub.Problem{Code: hub.ClientFileHides, Subject: filepath.Join(path, o.name),
					Detail: fmt.Sprintf("whether this client's own file includes the routes cannot be read: %v", o.err),
					Mend:   "ls -l " + filepath.Join(path, o.name)})
			} else if !o.ok {
				out = append(out, d.hides(o.name, "a client's own file hides DEFAULT and does not include the routes"))
			}
		}
	}
	slices.SortFunc(out, func(a, b hub.Problem) int { return strings.Compare(a.Subject, b.Subject) })
	return out
}

// Lacks are the units of lines that no change of ours can write.
func (v *view) Lacks(want hub.Desired) hub.Units {
	out := hub.Units{}
	for path, servers := range byDir(want.Base.Servers) {
		if d := v.dirs[path]; d != nil && d.err == nil && d.routes != somebody {
			continue
		}
		for _, l := range wantLines(want, servers) {
			out.Add(l.unit)
		}
	}
	return out
}

func (d *dir) hides(name, why string) hub.Problem {
	file := filepath.Join(d.path, name)
	return hub.Problem{Code: hub.ClientFileHides, Subject: file, Detail: why,
		Mend: fmt.Sprintf(`printf '\n%%s\n' %s >> %s`, shell(include(d.path)), shell(file))}
}
