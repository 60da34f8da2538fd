package hub_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

func TestOnlyListedAccountsRequestsAreAccepted(t *testing.T) {
	pending := func(n int, a hub.AccountID, prefixes ...string) hub.Peering {
		return withState(pcx(n, a, prefixes...), hub.PeeringPending)
	}
	ours := pending(5, billing)
	ours.HubRequested = true
	got := hub.Acceptable(policy(), topology(
		pending(1, billing),        // nothing known of it yet: AWS tells later
		pending(2, "999999999999"), // a stranger
		pending(3, "333333333333", "10.120.0.0/16", "8.8.8.0/24"), // useful
		pending(4, billing, "10.100.0.0/16"),                      // would overlap the hub
		ours,                                                      // the other side accepts
		pcx(6, billing, "10.130.0.0/16"),                          // done
	))
	var ids []hub.PeeringID
	for _, p := range got {
		ids = append(ids, p.ID)
	}
	if diff := cmp.Diff([]hub.PeeringID{"pcx-1", "pcx-3"}, ids); diff != "" {
		t.Errorf("accepted (-want +got):\n%s", diff)
	}
}
