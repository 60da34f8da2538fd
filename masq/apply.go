package masq

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"peerhub/hub"
	"peerhub/hub/failpoint"

	"golang.org/x/sys/unix"
)

// work is what one change needs of a batch.
type work struct {
	change int // index of the change, carried for elements that a rebuilt table keeps
	label  string
	reqs   []request
}

const carried = -1

// job is a batch in the making, and what holds when it is committed.
type job struct {
	works  []work             // tables, then removals, then additions
	after  map[string]*stored // by object; nil: gone
	table  *tableState
	keep   *tableState
	mode   hub.Ownership
	clean  bool     // the table is made anew
	stale  []uint32 // marks whose flows are to go whatever the batch brings
	failed map[int]error
}

// Apply makes the changes in one batch, which is all or nothing; changes the kernel
// refuses are left out of the next attempt. Then the flows of what was removed go.
func (p *Plane) Apply(ctx context.Context, view hub.View, changes []hub.Change) (hub.View, error) {
	v, ok := view.(*View)
	if !ok {
		return view, fmt.Errorf("apply to table inet %s: not a view of this plane: %T", p.table, view)
	}
	if err := ctx.Err(); err != nil {
		return view, fmt.Errorf("apply to table inet %s: %w", p.table, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	j, err := p.prepare(v.state, changes)
	if err != nil {
		return view, err
	}
	sent, err := p.commit(j)
	if err == nil {
		st, rerr := p.reached(v.state, j, sent)
		if rerr == nil {
			errs := append(j.errors(changes), p.dropFlows(v.state, st, j, changes)...)
			st.flows = p.flows
			p.last = st
			return p.view(st), joinSome(errs)
		}
		err = rerr
	}
	st, oerr := p.observe()
	if oerr != nil {
		p.last = nil
		return view, errors.Join(err, oerr)
	}
	st.flows = p.flows
	p.last = st
	return p.view(st), err
}

// prepare turns changes into messages.
func (p *Plane) prepare(st *state, changes []hub.Change) (*job, error) {
	j := &job{after: make(map[string]*stored, len(changes)), failed: make(map[int]error)}
	for i, c := range changes {
		switch c.Object {
		case "table inet " + p.table:
			if err := p.prepareTable(j, st, i, c, changes); err != nil {
				return nil, err
			}
		case "table inet " + keepName(p.table):
			p.prepareKeep(j, st, i, c)
		}
	}
	var counted map[string]element
	var additions []work
	for i, c := range changes {
		switch {
		case strings.HasPrefix(c.Object, "table "):
		case strings.HasPrefix(c.Object, flowsPrefix):
			if from, _, err := kindMark.encode(strings.TrimPrefix(c.Object, flowsPrefix)); err == nil {
				j.stale = append(j.stale, nativeMark(from))
			}
		default:
			if c.Verb == hub.VerbReplace && counted == nil && st.table.exists {
				var err error
				if counted, err = p.counted(); err != nil {
					return nil, err
				}
			}
			w, removal, err := p.prepareElement(j, i, c, counted)
			switch {
			case err != nil:
				j.failed[i] = err
			case removal:
				j.works = append(j.works, w)
			default:
				additions = append(additions, w)
			}
		}
	}
	j.works = append(j.works, additions...)
	return j, nil
}

// prepareTable claims the table where that is enough, and makes it anew otherwise: in the
// same batch as the old one goes, with its elements and counters, so that no packet meets
// half a table and NAT is never unhooked.
func (p *Plane) prepareTable(j *job, st *state, i int, c hub.Change, changes []hub.Change) error {
	w := work{change: i, label: c.Object}
	if c.Verb == hub.VerbRemove {
		w.reqs = []request{delTable(p.table)}
		j.table, j.clean = &tableState{}, true
		j.works = append(j.works, w)
		return nil
	}
	note, mode, _ := strings.Cut(c.Detail, ", ")
	s, ok := shapeOf(note)
	if !ok {
		return fmt.Errorf("%s: no table can be made like %q", c.Object, c.Detail)
	}
	program, err := p.program(s)
	if err != nil {
		return err
	}
	j.mode = hub.Ownership(mode)
	flags := tableFlags(j.mode)
	j.table = &tableState{exists: true, flags: flags, note: note}
	if flags != 0 {
		j.table.owner = p.sock.port()
	}
	if st.table.exists && st.damage == "" && st.table.note == note && flags != 0 && st.table.flags == tablePersist {
		w.reqs = []request{newTable(p.table, flags, note)}
		j.works = append(j.works, w)
		return nil
	}
	j.clean = true
	counters, drops := map[string]element{}, map[string]Counter{}
	if st.table.exists {
		var err error
		if counters, err = p.counted(); err != nil {
			return err
		}
		if drops, err = p.drops(); err != nil {
			return err
		}
		w.reqs = append(w.reqs, delTable(p.table))
	}
	w.reqs = append(w.reqs, newTable(p.table, flags, note))
	w.reqs = append(w.reqs, setRequests(p.table)...)
	for _, name := range dropCounters {
		w.reqs = append(w.reqs, newCounter(p.table, name, drops[name].Packets, drops[name].Bytes))
	}
	w.reqs = append(w.reqs, program.requests(p.table)...)
	j.works = append(j.works, w)
	return p.carry(j, st, changes, counters)
}

// carry puts the elements that no change speaks of into the new table.
func (p *Plane) carry(j *job, st *state, changes []hub.Change, counters map[string]element) error {
	spoken := make(map[string]bool, len(changes))
	for _, c := range changes {
		spoken[c.Object] = true
	}
	var err error
	st.elements.all(func(e stored) {
		d, ok := setByName(e.set)
		if !ok || spoken[e.object] || err != nil {
			return
		}
		if c, ok := counters[e.object]; ok {
			e = store(c)
		}
		var r request
		if r, err = newElement(p.table, d, e.element); err == nil {
			j.works = append(j.works, work{change: carried, label: e.object, reqs: []request{r}})
			j.after[e.object] = &e
		}
	})
	return err
}

func (p *Plane) prepareKeep(j *job, st *state, i int, c hub.Change) {
	name := keepName(p.table)
	w := work{change: i, label: c.Object}
	if st.keep.exists {
		w.reqs = append(w.reqs, delTable(name))
	}
	j.keep = &tableState{}
	if c.Verb != hub.VerbRemove {
		j.keep = &tableState{exists: true, flags: tableOwner, owner: p.sock.port()}
		w.reqs = append(w.reqs, newTable(name, tableOwner, "keeps flows alive when somebody flushes the ruleset"))
		w.reqs = append(w.reqs, p.keep.requests(name)...)
	}
	j.works = append(j.works, w)
}

// prepareElement makes the work of one element. removal says that it only takes away.
func (p *Plane) prepareElement(j *job, i int, c hub.Change, counted map[string]element) (w work, removal bool, err error) {
	gone := c.Verb == hub.VerbRemove || (c.Verb == hub.VerbReplace && strings.HasPrefix(c.Detail, byPrefix))
	value := c.Detail
	if gone {
		value = ""
	}
	e, err := elementOf(c.Object, value)
	if err != nil {
		return work{}, false, err
	}
	d, ok := setByName(e.set)
	if !ok {
		return work{}, false, fmt.Errorf("there is no set %s", e.set)
	}
	w = work{change: i, label: c.Object}
	if c.Verb != hub.VerbAdd && !j.clean {
		r, err := delElement(p.table, d, e)
		if err != nil {
			return work{}, false, err
		}
		w.reqs = append(w.reqs, r)
	}
	if gone {
		j.after[c.Object] = nil
		return w, true, nil
	}
	old := counted[c.Object]
	e.packets, e.bytes = old.packets, old.bytes
	r, err := newElement(p.table, d, e)
	if err != nil {
		return work{}, false, err
	}
	w.reqs = append(w.reqs, r)
	j.after[c.Object] = &stored{e, c.Object, c.Detail}
	return w, false, nil
}

// commit sends the batch, without what the kernel refuses, until it is taken. sent says
// whether anything was.
func (p *Plane) commit(j *job) (sent bool, err error) {
	works := j.works
	for len(works) > 0 {
		var reqs []request
		var owner []int // index of the work of each request
		for i, w := range works {
			for range w.reqs {
				owner = append(owner, i)
			}
			reqs = append(reqs, w.reqs...)
		}
		failpoint.Hit("masq.batch")
		refused, err := p.sock.batch(reqs)
		if err != nil {
			return false, owned(err)
		}
		if len(refused) == 0 {
			failpoint.Hit("masq.committed")
			if j.table != nil || j.keep != nil {
				failpoint.Hit("masq.claimed")
			}
			return true, nil
		}
		bad := make(map[int]bool, len(refused))
		for i, err := range refused {
			w := works[owner[i]]
			bad[owner[i]] = true
			switch {
			case strings.HasPrefix(w.label, "table "):
				// Without its table nothing else has a place.
				return false, fmt.Errorf("%s: %w", w.label, owned(err))
			case reqs[i].kind == unix.NFT_MSG_DELSETELEM && len(w.reqs) == 1 && errors.Is(err, unix.ENOENT):
				// Gone already, which is what was wanted.
			case w.change == carried:
				delete(j.after, w.label)
			case j.failed[w.change] == nil:
				j.failed[w.change] = owned(err)
				delete(j.after, w.label)
			}
		}
		var rest []work
		for i, w := range works {
			if !bad[i] {
				rest = append(rest, w)
			}
		}
		works = rest
	}
	return false, nil
}

// reached is the state after a commit: computed while the generation says that the commit
// was the only one since before, read otherwise.
func (p *Plane) reached(before *state, j *job, sent bool) (*state, error) {
	now, err := p.sock.generation()
	if err != nil {
		return nil, fmt.Errorf("read the ruleset generation: %w", err)
	}
	if j.mode != "" {
		p.inForce = Mode{j.mode, "configured"}
		if m := p.abilities.choose(p.asked); m.Ownership == j.mode {
			p.inForce = m
		}
	}
	alone := now == before.generation || (sent && now == before.generation+1)
	if !alone || len(j.failed) > 0 {
		return p.observe()
	}
	st := state{generation: now, table: before.table, keep: before.keep, damage: before.damage, elements: before.elements, foreign: before.foreign}
	if j.table != nil {
		st.table, st.damage = *j.table, ""
		made, err := p.readTable(p.table)
		if err != nil {
			return nil, err
		}
		st.table.handle = made.handle
	}
	if j.keep != nil {
		st.keep = *j.keep
	}
	if j.clean {
		st.elements = elements{}
	}
	st.elements = st.elements.with(j.after)
	return &st, nil
}

// errors are the failures, in the order of the changes.
func (j *job) errors(changes []hub.Change) []error {
	var out []error
	for i, c := range changes {
		if err := j.failed[i]; err != nil {
			out = append(out, fmt.Errorf("%s %s: %w", c.Verb, c.Object, err))
		}
	}
	return out
}

// joinSome joins errors, the first ten in full.
func joinSome(errs []error) error {
	const most = 10
	if len(errs) > most {
		errs = append(errs[:most:most], fmt.Errorf("and %d more", len(errs)-most))
	}
	return errors.Join(errs...)
}
