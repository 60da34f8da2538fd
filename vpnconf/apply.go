package vpnconf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"peerhub/hub"
)

// edit is what the changes do to one directory.
type edit struct {
	dir              *dir
	add, drop        []netip.Prefix
	routes, fallback hub.Verb // "" when the file itself is no change
}

// Apply writes each file once, however many of its lines change, and returns what is
// there then.
func (p *Plane) Apply(ctx context.Context, seen hub.View, changes []hub.Change) (hub.View, error) {
	v, ok := seen.(*view)
	if !ok {
		return seen, fmt.Errorf("write pushed routes: a view of another plane (%T)", seen)
	}
	if len(changes) == 0 {
		return v, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	edits, errs := v.edits(changes)
	for _, e := range edits {
		err := ctx.Err()
		if err == nil {
			err = p.apply(e)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("write pushed routes of %s: %w", e.dir.label, err))
		}
	}
	return p.read(), errors.Join(errs...)
}

// edits sorts changes by directory.
func (v *view) edits(changes []hub.Change) ([]*edit, []error) {
	byLabel := map[string]*edit{}
	for _, d := range v.dirs {
		byLabel[d.label] = &edit{dir: d}
	}
	var errs []error
	var out []*edit
	for _, c := range changes {
		thing, label, ok := strings.Cut(c.Object, " server ")
		e := byLabel[label]
		if !ok || e == nil {
			errs = append(errs, fmt.Errorf("%s %s: no such server", c.Verb, c.Object))
			continue
		}
		if err := e.take(c.Verb, thing); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", c.Verb, c.Object, err))
			continue
		}
		if !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out, errs
}

// take puts one change into the edit.
func (e *edit) take(verb hub.Verb, thing string) error {
	switch kind, name, _ := strings.Cut(thing, " "); {
	case kind == "file" && name == routesName:
		e.routes = verb
	case kind == "file" && name == defaultName:
		e.fallback = verb
	case kind == "route":
		prefix, err := netip.ParsePrefix(name)
		if err != nil {
			return err
		}
		if verb == hub.VerbRemove {
			e.drop = append(e.drop, prefix)
		} else {
			e.add = append(e.add, prefix)
		}
	default:
		return errors.New("not a change of ours")
	}
	return nil
}

// apply makes the edit. DEFAULT comes after what it includes and goes before it.
func (p *Plane) apply(e *edit) error {
	routesPath, fallbackPath := filepath.Join(e.dir.path, routesName), filepath.Join(e.dir.path, defaultName)
	if e.fallback == hub.VerbRemove {
		if err := p.remove(fallbackPath); err != nil {
			return err
		}
	}
	if e.routes == hub.VerbRemove {
		if err := p.remove(routesPath); err != nil {
			return err
		}
	} else if e.routes != "" || len(e.add)+len(e.drop) > 0 {
		if err := p.write(routesPath, render(e.dir.path, e.lines(p.now()))); err != nil {
			return err
		}
	}
	if e.fallback == hub.VerbAdd || e.fallback == hub.VerbReplace {
		since := p.now()
		if e.fallback == hub.VerbReplace && e.dir.fallbackOK {
			since = e.dir.since // clients had it all the time
		}
		return p.write(fallbackPath, renderDefault(e.dir.path, since))
	}
	return nil
}

// lines are the file's lines after the edit; what stays keeps its moment.
func (e *edit) lines(now time.Time) []line {
	out := slices.DeleteFunc(slices.Clone(e.dir.lines), func(l line) bool { return slices.Contains(e.drop, l.prefix) })
	for _, prefix := range e.add {
		if !slices.ContainsFunc(out, func(l line) bool { return l.prefix == prefix }) {
			out = append(out, line{prefix, now})
		}
	}
	return out
}

func (p *Plane) write(path string, text []byte) error {
	p.wroteMu.Lock()
	p.wrote[path] = text
	p.wroteMu.Unlock()
	return writeFile(path, text)
}

func (p *Plane) remove(path string) error {
	p.wroteMu.Lock()
	p.wrote[path] = nil
	p.wroteMu.Unlock()
	return removeOurs(path)
}
