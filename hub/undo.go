package hub

// Undo takes a pass back: the planes are brought to what was wanted before it, and of what
// they have beyond that only what this pass made is removed. Policy, guard and pauses are not
// asked: what stood is put back.
type Undo struct {
	Want Desired
	Made map[PlaneName]map[string]bool // objects that the pass added
}

// removals is what of changes may be removed: everything, or in an undo, what the pass made.
func (p *pass) removals(plane PlaneName, changes []Change) []Change {
	list := Removals(changes)
	if p.undo == nil {
		return list
	}
	var out []Change
	for _, c := range list {
		if p.undo.Made[plane][c.Object] {
			out = append(out, c)
		}
	}
	return out
}
