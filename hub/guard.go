package hub

// Verdict is what the guard makes of a want.
type Verdict struct {
	Desired    Desired
	Held       []Held
	Problems   []Problem
	Remembered Remembered
}

// Guard holds removals that lack evidence or exceed the limit.
func Guard(prev *Desired, want Desired, t Topology, p Policy, m Remembered, allowRemovals bool) Verdict {
	return Verdict{Desired: want, Remembered: m}
}

// hubSource returns the source the hub's own peerings are read from.
func hubSource(t Topology) (Source, bool) {
	for _, s := range t.Sources {
		if s.Scope == t.Hub.Scope {
			return s, true
		}
	}
	return Source{}, false
}
