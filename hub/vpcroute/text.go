package vpcroute

import (
	"fmt"
	"slices"
	"strings"

	"peerhub/hub"
)

// Text writes the wanted routes as lines of the AWS CLI, for `hubctl export`: whoever
// runs them by hand has what hubd makes. Sorted by account, region, table, destination.
func Text(want hub.Desired) string {
	routes := slices.Clone(want.Routes)
	slices.SortStableFunc(routes, func(a, b hub.VPCRoute) int { return hub.CompareScopes(a.Scope, b.Scope) })
	var b strings.Builder
	var scope hub.Scope
	for _, r := range routes {
		if r.Scope != scope {
			scope = r.Scope
			fmt.Fprintf(&b, "# account %s, region %s\n", scope.Account, scope.Region)
		}
		fmt.Fprintf(&b, "aws ec2 create-route --region %s --route-table-id %s %s --vpc-peering-connection-id %s\n",
			r.Scope.Region, r.Table, destinationFlag(place{r.Table, r.Destination}), r.Peering)
	}
	return b.String()
}

// Leftovers writes the lines that remove what the ledger has, for what --cleanup could
// not remove itself.
func Leftovers(entries []hub.LedgerEntry) string {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b hub.LedgerEntry) int {
		if c := hub.CompareScopes(a.Scope, b.Scope); c != 0 {
			return c
		}
		return place{a.Table, a.Destination}.compare(place{b.Table, b.Destination})
	})
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "%s   # account %s\n", deleteLine(e.Scope, place{e.Table, e.Destination}), e.Scope.Account)
	}
	return b.String()
}

func deleteLine(s hub.Scope, at place) string {
	return fmt.Sprintf("aws ec2 delete-route --region %s --route-table-id %s %s", s.Region, at.table, destinationFlag(at))
}

func destinationFlag(at place) string {
	if at.dest.Addr().Is4() {
		return "--destination-cidr-block " + at.dest.String()
	}
	return "--destination-ipv6-cidr-block " + at.dest.String()
}
