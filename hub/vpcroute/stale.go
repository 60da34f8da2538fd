package vpcroute

import (
	"fmt"
	"strings"

	"peerhub/hub"
)

// stale are foreign routes that name a machine the hub was before it was replaced, as far
// as route tables show it: routes of the hub VPC to an interface or instance that is gone;
// and, where the way back is the hub's address alone, ways back to another address of
// its subnet. They are not ours, so they are listed and stay.
func (v *view) stale(want hub.Desired, wanted map[place]hub.VPCRoute) []trouble {
	var out []trouble
	for _, t := range v.tables {
		if t.VPC != v.hub.VPC || !v.fresh(t.Scope) {
			continue
		}
		for _, r := range t.Routes {
			if r.Blackhole && r.Static && (strings.HasPrefix(r.Target, "eni-") || strings.HasPrefix(r.Target, "i-")) {
				at := place{t.ID, r.Destination}
				out = append(out, trouble{code: hub.Blackhole, place: at, mend: deleteLine(t.Scope, at),
					detail: fmt.Sprintf("%s leads to %s, which is gone, as after the replacement of an instance; it is not ours, so it stays", at, r.Target)})
			}
		}
	}
	for _, w := range want.Routes {
		t := v.tables[w.Table]
		if w.Hold || t == nil || t.VPC == v.hub.VPC || !w.Destination.IsSingleIP() || !v.fresh(t.Scope) {
			continue
		}
		for _, i := range v.hub.Interfaces {
			if !i.SubnetPrefix.Contains(w.Destination.Addr()) {
				continue
			}
			for _, r := range t.inside(i.SubnetPrefix) {
				at := place{t.ID, r.Destination}
				if r.Static && r.Destination.IsSingleIP() && r.Target == string(w.Peering) && !v.ours(at, r.Target, wanted) {
					out = append(out, trouble{code: hub.Blackhole, place: at, spoke: w.Spoke, unit: w.Unit, mend: "if it is an address that the hub had before it was replaced: " + deleteLine(t.Scope, at),
						detail: fmt.Sprintf("%s is a way back to an address that is not the hub's (%s); it is not ours, so it stays", at, i.Address)})
				}
			}
		}
	}
	return out
}
