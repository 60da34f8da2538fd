package daemon

import (
	"net/netip"
	"slices"

	"peerhub/hub"
	"peerhub/hub/control"
)

// cuts says which live flows a pass would end: those out of a tunnel toward what is neither a
// spoke, the hub VPC, an origin of ours, nor left alone by the config.
func cuts(want hub.Desired, flows []Flow, who []control.Client) []control.Cut {
	names := map[netip.Addr]string{}
	for _, c := range who {
		if c.Address != nil {
			names[*c.Address] = c.Name
		}
	}
	var out []control.Cut
	for _, f := range flows {
		reason := cut(want, f)
		if f.Ours || reason == "" {
			continue
		}
		client := names[f.Source.Addr()]
		if client == "" {
			client = f.Source.Addr().String()
		}
		out = append(out, control.Cut{Client: client, Source: f.Source, Target: f.Target, Protocol: f.Protocol, Reason: reason})
	}
	return out
}

// cut says why a flow would end, "" when it would not.
func cut(want hub.Desired, f Flow) string {
	tunnel := slices.IndexFunc(want.Base.Tunnels, func(t hub.Tunnel) bool { return inside(t.Origins, f.Source.Addr()) })
	if tunnel < 0 || want.Base.Tunnels[tunnel].Other == hub.OtherLeave {
		return ""
	}
	for _, r := range want.Reaches {
		if r.Prefix.Contains(f.Target.Addr()) {
			return ""
		}
	}
	return "its target is neither in a spoke nor in the hub VPC, and other_traffic is drop"
}

func inside(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}
