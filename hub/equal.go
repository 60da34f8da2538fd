package hub

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Equal reports whether d and o want the same.
func (d Desired) Equal(o Desired) bool {
	return d.Base.equal(o.Base) &&
		slices.Equal(d.Spokes, o.Spokes) && slices.Equal(d.Reaches, o.Reaches) && slices.Equal(d.Routes, o.Routes)
}

func (b Base) equal(o Base) bool {
	return b.SetSysctls == o.SetSysctls && b.Masquerade == o.Masquerade && b.MaxFlows == o.MaxFlows && b.Ownership == o.Ownership && b.Hold == o.Hold &&
		slices.Equal(b.Egresses, o.Egresses) && slices.Equal(b.HubPrefix, o.HubPrefix) && slices.Equal(b.Override, o.Override) &&
		slices.EqualFunc(b.Tunnels, o.Tunnels, Tunnel.equal) && slices.EqualFunc(b.Servers, o.Servers, Server.equal)
}

func (t Tunnel) equal(o Tunnel) bool {
	return t.Name == o.Name && t.Other == o.Other && slices.Equal(t.Origins, o.Origins) &&
		slices.Equal(t.Sites, o.Sites) && slices.Equal(t.ToHub, o.ToHub)
}

func (s Server) equal(o Server) bool {
	return s.Name == o.Name && s.ClientDir == o.ClientDir && s.OwnFiles == o.OwnFiles &&
		slices.Equal(s.Aggregates, o.Aggregates) &&
		slices.EqualFunc(s.Sites, o.Sites, func(a, b Site) bool {
			return a.Name == b.Name && a.Client == b.Client && slices.Equal(a.Networks, b.Networks)
		})
}

// Equal reports whether m and o remember the same.
func (m Remembered) Equal(o Remembered) bool {
	return maps.Equal(m.Numbers, o.Numbers) && maps.Equal(m.Names, o.Names) && maps.Equal(m.Winners, o.Winners) && maps.EqualFunc(m.Absent, o.Absent, Absence.equal) &&
		maps.EqualFunc(m.AbsentPrefixes, o.AbsentPrefixes, func(a, b map[netip.Prefix]Absence) bool {
			return maps.EqualFunc(a, b, Absence.equal)
		}) &&
		m.Run.Reaches == o.Run.Reaches && m.Run.Quiet.equal(o.Run.Quiet) && maps.Equal(m.Run.Removed, o.Run.Removed)
}

func (a Absence) equal(b Absence) bool {
	return a.Survey == b.Survey && a.Count == b.Count && a.Since.Equal(b.Since)
}

// CompareProblems orders problems by subject, code, detail.
func CompareProblems(a, b Problem) int {
	return cmp.Or(strings.Compare(a.Subject, b.Subject), strings.Compare(string(a.Code), string(b.Code)),
		strings.Compare(a.Detail, b.Detail), strings.Compare(a.Mend, b.Mend))
}

// sortProblems sorts and removes repetitions.
func sortProblems(ps *[]Problem) {
	slices.SortFunc(*ps, CompareProblems)
	*ps = slices.Compact(*ps)
}

// sortHeld sorts by unit, then reason, and removes repetitions.
func sortHeld(hs *[]Held) {
	slices.SortFunc(*hs, func(a, b Held) int {
		return cmp.Or(strings.Compare(a.Unit, b.Unit), strings.Compare(a.Reason, b.Reason))
	})
	*hs = slices.Compact(*hs)
}

// sorted returns list in order; equals stay as they are. A list that is in order already
// is returned itself. What we sort is large, and most of it is pointers, which cost the
// collector at each move: so places are sorted, and each thing moves once.
func sorted[T any](list []T, compare func(a, b *T) int) []T {
	ordered := true
	for i := 1; i < len(list) && ordered; i++ {
		ordered = compare(&list[i-1], &list[i]) <= 0
	}
	if ordered {
		return list
	}
	places := make([]int, len(list))
	for i := range places {
		places[i] = i
	}
	slices.SortFunc(places, func(i, j int) int {
		if c := compare(&list[i], &list[j]); c != 0 {
			return c
		}
		return i - j
	})
	out := make([]T, len(list))
	for to, from := range places {
		out[to] = list[from]
	}
	return out
}
