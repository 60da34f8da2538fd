package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"peerhub/hub"
	"peerhub/hub/control"
)

func spokesCommand(a *app) *cobra.Command {
	list := func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := a.limited(cmd.Context())
		defer cancel()
		s, err := a.caller().Status(ctx)
		if err != nil {
			return err
		}
		if a.format == "json" {
			return a.printJSON(control.Spokes{Schema: control.Schema, Spokes: s.Spokes})
		}
		a.print(spokeTable(s))
		return nil
	}
	c := a.reading(&cobra.Command{
		Use: "spokes", Short: "List the spokes, or show one",
		Example: "  hubctl spokes\n  hubctl spokes show billing", RunE: list,
	})
	c.AddCommand(a.reading(&cobra.Command{Use: "list", Short: "List the spokes", Args: noArgs, RunE: list}))
	c.AddCommand(a.reading(&cobra.Command{
		Use: "show NAME", Short: "Show one spoke: by name, VPC, peering or account",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("%s takes the name of one spoke", cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := a.limited(cmd.Context())
			defer cancel()
			s, err := a.caller().Status(ctx)
			if err != nil {
				return err
			}
			return a.showSpoke(s, args[0])
		},
	}))
	return c
}

// spokeTable has a line per spoke, and one for the hub's own VPC.
func spokeTable(s control.Status) table {
	t := table{header: []string{"SPOKE", "ACCOUNT", "CIDRS", "PEERING", "ROUTES", "NAT", "PUSHED", "OUT/IN"}}
	for _, spoke := range s.Spokes {
		t.add(spoke.Name, string(spoke.Account), prefixes(spoke), orNone(string(spoke.State), "gone !"), routes(spoke), nat(spoke), pushed(spoke), traffic(spoke))
	}
	if h := s.HubVPC; h != nil {
		t.add(h.Name, string(h.Account), prefixes(*h), "(hub)", "-", nat(*h), pushed(*h), traffic(*h))
	}
	return t
}

func prefixes(s control.Spoke) string {
	switch n := len(s.Excluded); {
	case len(s.Prefixes) == 0 && n > 0:
		return fmt.Sprintf("none (%d excl.) !", n)
	case len(s.Prefixes) == 0:
		return "none !"
	}
	text := s.Prefixes[0].String()
	if n := len(s.Prefixes) - 1; n > 0 {
		text += fmt.Sprintf(" +%d", n)
	}
	if n := len(s.Excluded); n > 0 {
		text += fmt.Sprintf(" (%d excl.)", n)
	}
	return text
}

// routes joins both sides: ok 3/3, 2/3 !, held, theirs ? where the
// other side is not ours to see, 3/3 ? where it does not answer now.
func routes(s control.Spoke) string {
	v := s.VPCRoute
	have, want := v.HubRoutes.OK+v.SpokeRoutes.OK, v.HubRoutes.Total+v.SpokeRoutes.Total
	switch {
	case len(s.Prefixes) == 0:
		return "-" // none are wanted
	case v.Hub == nil:
		return "?"
	case *v.Hub == hub.HealthHeld || v.Spoke != nil && *v.Spoke == hub.HealthHeld:
		return fmt.Sprintf("held %d/%d", have, want)
	case have < want:
		return fmt.Sprintf("%d/%d !", have, want)
	case v.Spoke == nil && v.SpokeRoutes.Total > 0, s.Stale && v.Spoke != nil:
		return fmt.Sprintf("%d/%d ?", have, want) // as it was when both sides were last seen
	case v.Spoke == nil:
		return "theirs ?"
	}
	return fmt.Sprintf("ok %d/%d", have, want)
}

// nat joins the two kernel planes: both are needed to translate and send on.
func nat(s control.Spoke) string {
	if len(s.Prefixes) == 0 {
		return "-"
	}
	worst := ""
	for _, h := range []*hub.Health{s.KRoute, s.Masq} {
		switch {
		case h == nil:
			worst = orNone(worst, "?")
		case *h == hub.HealthLacking:
			return "lacking !"
		case *h == hub.HealthHeld:
			worst = "held"
		}
	}
	return orNone(worst, "ok")
}

// pushed counts the clients that have the spoke's routes.
func pushed(s control.Spoke) string {
	switch {
	case s.Pushed != nil && *s.Pushed == hub.HealthHeld:
		return "held"
	case s.Pushed != nil && *s.Pushed == hub.HealthLacking:
		return "lacking !"
	case s.ClientsGot == nil || s.ClientsGot.Total == 0:
		return "-"
	case s.ClientsGot.OK < s.ClientsGot.Total:
		return fmt.Sprintf("%d/%d !", s.ClientsGot.OK, s.ClientsGot.Total)
	}
	return fmt.Sprintf("%d/%d", s.ClientsGot.OK, s.ClientsGot.Total)
}

func traffic(s control.Spoke) string {
	if s.Bytes == nil || s.Bytes.Out == 0 && s.Bytes.In == 0 {
		return "-/-"
	}
	text := short(s.Bytes.Out) + "/" + short(s.Bytes.In)
	if s.Bytes.In == 0 {
		text += " !"
	}
	return text
}

func (a *app) showSpoke(s control.Status, name string) error {
	spokes := s.Spokes
	if s.HubVPC != nil {
		spokes = append(spokes, *s.HubVPC)
	}
	var names []string
	for _, spoke := range spokes {
		names = append(names, spoke.Name)
		peering := ""
		if spoke.Peering != nil {
			peering = string(*spoke.Peering)
		}
		if name != spoke.Name && name != string(spoke.VPC) && name != peering && name != string(spoke.Account) {
			continue
		}
		if a.format == "json" {
			return a.printJSON(control.Spokes{Schema: control.Schema, Spokes: []control.Spoke{spoke}})
		}
		for _, line := range [][2]string{
			{"name", spoke.Name}, {"account", string(spoke.Account)}, {"region", string(spoke.Region)}, {"vpc", string(spoke.VPC)},
			{"peering", strings.TrimSpace(peering + " " + string(spoke.State))}, {"prefixes", join(spoke.Prefixes)}, {"excluded", join(spoke.Excluded)},
			{"works", worksText(spoke)}, {"routes", routes(spoke)}, {"nat", nat(spoke)}, {"pushed", pushed(spoke)}, {"out/in", traffic(spoke)},
		} {
			wrap(a.out, fmt.Sprintf("%-9s ", line[0]), "          ", line[1])
		}
		var own []hub.Problem
		for _, p := range s.Problems {
			if p.Subject == spoke.Name || p.Subject == string(spoke.Account) || p.Subject == string(spoke.VPC) || p.Subject == peering {
				own = append(own, p)
			}
		}
		a.problems(own)
		return nil
	}
	return fmt.Errorf("there is no spoke %s; there are %s", name, orNone(strings.Join(names, ", "), "none"))
}

// worksText says whether a spoke works, and as of when.
func worksText(s control.Spoke) string {
	switch {
	case !s.Works:
		return "no !"
	case s.AsOf != nil:
		return "yes, as of " + when(*s.AsOf)
	}
	return "yes"
}

func join(list []netip.Prefix) string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.String()
	}
	return orNone(strings.Join(out, ", "), "-")
}
