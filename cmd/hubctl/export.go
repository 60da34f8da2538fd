package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"peerhub/hub"
	"peerhub/hub/control"
	"peerhub/hub/kroute"
	"peerhub/hub/state"
	"peerhub/hub/vpcroute"
	"peerhub/masq"
	"peerhub/vpnconf"
)

// exports are the forms of the present state, in the order of the data path.
var exports = []struct {
	name, title string
	text        func(hub.Desired) string
}{
	{"ip", "kernel routes, rules and settings: run as root", kroute.Export},
	{"nft", "the firewall: nft -f FILE", masq.Export},
	{"aws", "VPC routes: run with the credentials of each account", vpcroute.Text},
	{"terraform", "the same VPC routes for Terraform, with the commands that import them", terraform},
	{"openvpn", "pushed routes: run as root", vpnconf.Text},
}

func exportCommand(a *app) *cobra.Command {
	names := make([]string, len(exports))
	for i, e := range exports {
		names[i] = e.name
	}
	return a.reading(&cobra.Command{
		Use:   "export [" + strings.Join(names, "|") + "]",
		Short: "Print what hubd keeps up as text for other tools, to leave without an outage",
		Long: `Print what hubd keeps up as commands and files of other tools, under names of their own:
table inet vpn_hub, routing tables and rule priorities 26640-26699, routes of protocol static.
They stand beside hubd's and may be applied any number of times. To leave without an outage,
apply ip, nft and openvpn while hubd runs, stop hubd, and run hubd --cleanup --keep-vpc-routes:
the VPC routes stay and are nobody's. Then have the texts applied at boot, and the VPC routes
taken over by terraform if you like. When hubd does not run, its state directory is read.`,
		Example: "  hubctl export ip > vpn_hub.sh\n  hubctl export nft > vpn_hub.nft\n  hubctl export terraform > routes.tf", Args: atMostOne("form"), ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && !slices.Contains(names, args[0]) {
				return usageError{fmt.Errorf("export %s: want one of %s", args[0], strings.Join(names, ", "))}
			}
			want, err := a.desired(cmd.Context())
			if err != nil {
				return err
			}
			return a.export(want, args)
		},
	})
}

func (a *app) export(want hub.Desired, only []string) error {
	texts := map[string]string{"schema": control.Schema}
	for _, e := range exports {
		if len(only) > 0 && only[0] != e.name {
			continue
		}
		text := strings.TrimRight(e.text(want), "\n") + "\n"
		texts[e.name] = text
		if a.format == "json" {
			continue
		}
		if len(only) == 0 {
			fmt.Fprintf(a.out, "# ---- %s: %s\n", e.name, e.title)
		}
		fmt.Fprint(a.out, text)
		if len(only) == 0 {
			fmt.Fprintln(a.out)
		}
	}
	if a.format == "json" {
		return a.printJSON(texts)
	}
	return nil
}

// desired is what hubd wants, or wanted last when it does not run.
func (a *app) desired(ctx context.Context) (hub.Desired, error) {
	ctx, cancel := a.limited(ctx)
	defer cancel()
	want, err := a.caller().Desired(ctx)
	if !errors.Is(err, control.ErrDown) {
		return want, err
	}
	a.say("%v; this is what it wanted last", err)
	s, err := state.Open(a.stateDir())
	if err != nil {
		return hub.Desired{}, err
	}
	defer s.Close()
	last, err := s.LoadDesired(ctx)
	if err == nil && last == nil {
		err = fmt.Errorf("%s has no state of a hubd", a.stateDir())
	}
	if err != nil {
		return hub.Desired{}, err
	}
	return *last, nil
}
