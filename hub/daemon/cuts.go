package daemon

import (
	"net/netip"
	"slices"

	"peerhub/hub"
	"peerhub/hub/control"
)

// cuts says which live flows out of a tunnel the pending changes of a plan would end.
func cuts(rep hub.Report, flows []Flow, who []control.Client) []control.Cut {
	if rep.Pending() == 0 {
		return nil
	}
	names := map[netip.Addr]string{}
	for _, c := range who {
		if c.Address != nil {
			names[*c.Address] = c.Name
		}
	}
	firewall := comes(rep)
	var out []control.Cut
	for _, f := range flows {
		reason := cut(rep.Desired, f, firewall)
		if reason == "" {
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

// comes reports whether the plan puts up the shared part of the data path: before that the
// tunnels are open, after it only flows with our marks go through.
func comes(rep hub.Report) bool {
	for _, p := range rep.Planes {
		if p.Plane == hub.PlaneMasq && slices.ContainsFunc(p.Pending, func(c hub.Change) bool {
			return c.Verb != hub.VerbRemove && c.Unit.Kind == hub.UnitBase
		}) {
			return true
		}
	}
	return false
}

// cut says why a flow would end, "" when it would not. firewall: the shared part comes up.
func cut(want hub.Desired, f Flow, firewall bool) string {
	i := slices.IndexFunc(want.Base.Tunnels, func(t hub.Tunnel) bool { return inside(t.Origins, f.Source.Addr()) })
	if i < 0 {
		return ""
	}
	tunnel := want.Base.Tunnels[i]
	wanted := slices.ContainsFunc(want.Reaches, func(r hub.Reach) bool { return r.Prefix.Contains(f.Target.Addr()) })
	switch {
	case f.Ours && !wanted:
		return "no wanted spoke has its target any more"
	case f.Ours, !firewall:
		return ""
	case f.Local && opens(tunnel, f):
		return ""
	case f.Local:
		return "its target is the hub itself, and to_hub does not list it"
	case wanted && f.Translated:
		return "" // it is given its mark
	case wanted:
		return "it began before hubd and nobody translates it: it has to be opened anew"
	case tunnel.Other == hub.OtherLeave:
		return ""
	}
	return "its target is neither in a spoke nor in the hub VPC, and other_traffic is drop"
}

// opens reports whether to_hub lists what f asks of the hub.
func opens(t hub.Tunnel, f Flow) bool {
	return slices.ContainsFunc(t.ToHub, func(s hub.Service) bool {
		return s.Protocol == f.Protocol && (s.Port == 0 || s.Port == f.Target.Port())
	})
}

func inside(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}
