package hub_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

// plainDiff is Diff as its comment has it, word by word and slow.
func plainDiff(want, have []hub.Object) []hub.Change {
	old := make(map[string]hub.Object)
	for _, h := range have {
		old[h.Key] = h
	}
	byKey := make(map[string][]hub.Change)
	for _, w := range want {
		h, there := old[w.Key]
		delete(old, w.Key)
		if w.Hold || h.Hold || there && h.Value == w.Value {
			continue
		}
		c := hub.Change{Verb: hub.VerbAdd, Unit: w.Unit, Object: w.Key, Detail: w.Value}
		if there {
			c.Verb = hub.VerbReplace
		}
		byKey[w.Key] = append(byKey[w.Key], c)
	}
	for key, h := range old {
		if !h.Hold {
			byKey[key] = append(byKey[key], hub.Change{Verb: hub.VerbRemove, Unit: h.Unit, Object: key, Detail: h.Value})
		}
	}
	var out []hub.Change
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		out = append(out, byKey[key]...)
	}
	return out
}

func TestDiffIsThePlainOne(t *testing.T) {
	changed := 0
	for seed := range int64(500) {
		w := newWorld(seed)
		space := pick(w, 6, 30, 300) // few keys come twice in one list
		list := func() []hub.Object {
			var out []hub.Object
			for range w.Intn(space) {
				n := w.Intn(space)
				out = append(out, hub.Object{Key: fmt.Sprintf("k%03d", n), Value: pick(w, "a", "a", "a", "b"),
					Unit: hub.Unit{Kind: hub.UnitSpoke, Spoke: hub.SpokeID(fmt.Sprint(n % 7))}, Hold: w.Intn(8) == 0})
			}
			if w.Intn(2) == 0 {
				slices.SortStableFunc(out, func(a, b hub.Object) int { return strings.Compare(a.Key, b.Key) })
			}
			return out
		}
		want, have := list(), list()
		got := hub.Diff(want, have)
		if plain := plainDiff(want, have); !slices.Equal(plain, got) {
			t.Fatalf("seed %d (-plain +got):\n%s\nwant %v\nhave %v", seed, cmp.Diff(plain, got, values), want, have)
		}
		changed += len(got)
	}
	if changed == 0 {
		t.Error("control: no two lists differed")
	}
}
