package vpcroute

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"peerhub/hub"
)

// What goes into the tags comes out of them, and AWS takes every value.
func TestTagsHoldRoutes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		tables, dests, kept int
	}{{0, 0, 0}, {1, 1, 1}, {3, 50, 150}, {100, 3, 300}, {300, 40, 300}} {
		t.Run(fmt.Sprint(tc.tables, tc.dests), func(t *testing.T) {
			t.Parallel()
			var places []place
			for i := range tc.tables {
				for j := range tc.dests {
					places = append(places, place{hub.TableID(fmt.Sprintf("rtb-%017x", i)), netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(j), 0, 0}), 16)})
				}
			}
			tags := mirrorTags("vpc-1", "i-1", places)
			for key, value := range tags {
				if len(value) > 256 || value == "" {
					t.Errorf("%s has %d characters", key, len(value))
				}
			}
			got := mirrored(tags, "vpc-1")
			if len(tags) > tagMost+1 || len(got) < tc.kept || !slices.Equal(got, places[:len(got)]) {
				t.Errorf("%d tags hold %d of %d routes: %v", len(tags), len(got), len(places), got)
			}
			if other := mirrored(tags, "vpc-2"); len(other) > 0 {
				t.Errorf("another hub reads %v", other)
			}
		})
	}
}
