package kroute

import (
	"iter"
	"slices"
	"sort"
)

// blockSize is how many routes a block of a list has at first; one that grew to twice that is cut in two.
const blockSize = 256

// list is a sorted set of routes that is cheap to change without touching the one it was
// made from: only the block that changes is copied. With ten thousand routes a copy of
// all of them would cost more than the kernel needs for one.
type list struct {
	blocks [][]route // none empty
	n      int
}

// newList makes a list of routes in any order. Of two with one key the first stays.
func newList(routes []route) list {
	if !slices.IsSortedFunc(routes, func(a, b route) int { return compareKeys(&a.routeKey, &b.routeKey) }) {
		sorted := make([]route, len(routes))
		for to, from := range places(len(routes), func(i, j int) int { return compareKeys(&routes[i].routeKey, &routes[j].routeKey) }) {
			sorted[to] = routes[from]
		}
		routes = sorted
	}
	routes = slices.CompactFunc(routes, func(a, b route) bool { return a.routeKey == b.routeKey })
	l := list{n: len(routes)}
	for b := range slices.Chunk(routes, blockSize) {
		l.blocks = append(l.blocks, b)
	}
	return l
}

// places returns 0 to n-1 in the order of what stands there; equals stay as they are.
// Routes and steps are large: it is cheaper to sort their places and to move each once.
func places(n int, compare func(i, j int) int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	slices.SortFunc(out, func(i, j int) int {
		if c := compare(i, j); c != 0 {
			return c
		}
		return i - j
	})
	return out
}

// at is the place of a route in a list.
type at struct{ block, i int }

// find returns the place of the key, or where it would go.
func (l list) find(k routeKey) (at, bool) {
	b := sort.Search(len(l.blocks), func(i int) bool { return compareKeys(&l.blocks[i][0].routeKey, &k) > 0 }) - 1
	if b < 0 {
		return at{}, false
	}
	i, ok := sort.Find(len(l.blocks[b]), func(i int) int { return compareKeys(&k, &l.blocks[b][i].routeKey) })
	return at{b, i}, ok
}

// next is the place after a; what stands there is often what is looked for next.
func (l list) next(a at) at {
	if a.block < len(l.blocks) && a.i+1 < len(l.blocks[a.block]) {
		return at{a.block, a.i + 1}
	}
	return at{a.block + 1, 0}
}

// get returns the route at a place, nil when there is none. It must not be written to.
func (l list) get(a at) *route {
	if a.block >= len(l.blocks) || a.i >= len(l.blocks[a.block]) {
		return nil
	}
	return &l.blocks[a.block][a.i]
}

// with returns the list with r in it, in the place of what had its key.
func (l list) with(r route) list {
	if l.n == 0 {
		return newList([]route{r})
	}
	a, there := l.find(r.routeKey)
	block := slices.Clone(l.blocks[a.block])
	if there {
		block[a.i] = r
		return l.replace(a.block, l.n, block)
	}
	block = slices.Insert(block, a.i, r)
	if len(block) < 2*blockSize {
		return l.replace(a.block, l.n+1, block)
	}
	return l.replace(a.block, l.n+1, block[:blockSize:blockSize], block[blockSize:])
}

// without returns the list without the key.
func (l list) without(k routeKey) list {
	a, there := l.find(k)
	switch {
	case !there:
		return l
	case len(l.blocks[a.block]) == 1:
		return l.replace(a.block, l.n-1)
	}
	return l.replace(a.block, l.n-1, slices.Delete(slices.Clone(l.blocks[a.block]), a.i, a.i+1))
}

func (l list) replace(block, n int, with ...[]route) list {
	return list{slices.Replace(slices.Clone(l.blocks), block, block+1, with...), n}
}

// all yields every route with its place, in order. None must be written to.
func (l list) all() iter.Seq2[at, *route] {
	return func(yield func(at, *route) bool) {
		for b, block := range l.blocks {
			for i := range block {
				if !yield(at{b, i}, &block[i]) {
					return
				}
			}
		}
	}
}

// edit is a new route in the place of what has its key, or without one.
type edit struct {
	key   routeKey
	route *route // nil: it goes
}

// edited returns the list with many edits, in one walk. Of two with one key the last counts.
func (l list) edited(edits []edit) list {
	order := places(len(edits), func(i, j int) int { return compareKeys(&edits[i].key, &edits[j].key) })
	routes := make([]route, 0, l.n+len(edits))
	// upTo makes the edits before key k, and reports whether one of k itself follows.
	upTo := func(k *routeKey) bool {
		for len(order) > 0 {
			e := &edits[order[0]]
			if k != nil && compareKeys(&e.key, k) >= 0 {
				return e.key == *k
			}
			order = order[1:]
			if e.route != nil && (len(order) == 0 || edits[order[0]].key != e.key) {
				routes = append(routes, *e.route)
			}
		}
		return false
	}
	for _, r := range l.all() {
		if !upTo(&r.routeKey) {
			routes = append(routes, *r)
		}
	}
	upTo(nil)
	return newList(routes)
}

// ticks marks places of a list.
type ticks [][]bool

func (l list) ticks() ticks {
	t := make(ticks, len(l.blocks))
	for i, b := range l.blocks {
		t[i] = make([]bool, len(b))
	}
	return t
}
