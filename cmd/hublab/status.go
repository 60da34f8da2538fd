package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"peerhub/test/lab"
)

func (a *app) status() *cobra.Command {
	c := &cobra.Command{
		Use: "status", Short: "What is up, and where its files are", Args: args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			info, err := client.Info(c.Context())
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			if a.format == "json" {
				return writeJSON(w, "lab", info)
			}
			say(w, "lab %s  %d hosts, up %s, process %d, run directory %s", info.Spec.Prefix, len(info.Hosts),
				time.Since(info.Since).Round(time.Second), info.PID, info.Dir)
			say(w, "API %s  %d requests; %d packets dropped", info.Endpoint, info.Requests, info.Dropped)
			say(w, "hubd config %s, socket %s", info.HubdConfig, info.HubdSocket)
			say(w, "OpenVPN client-config-dir %s, management %s", info.VPN.ClientDir, info.VPN.Management)
			for _, f := range info.Faults {
				say(w, "fault %s %s: %s", f.Name, f.Value, f.Does)
			}
			return writeTable(w, []string{"UNIT", "HOST", "PROCESS", "LOG"}, unitRows(info))
		},
	}
	a.formatFlag(c)
	return c
}

// unitRows lists every unit, with its process if it runs.
func unitRows(info lab.Info) [][]string {
	running := map[string]*lab.Process{}
	for _, p := range info.Processes {
		running[p.Name] = p
	}
	var rows [][]string
	for _, u := range info.Units {
		row := []string{u, "", "stopped", ""}
		if p := running[u]; p != nil {
			row = []string{u, p.Host, strconv.Itoa(p.PID), p.Log}
		}
		rows = append(rows, row)
	}
	return rows
}

func (a *app) unit() *cobra.Command {
	verbs := []string{"start", "stop", "kill", "restart"}
	c := &cobra.Command{
		Use: "unit [" + strings.Join(verbs, "|") + " NAME]", Short: "Start and stop the programs in the hosts; alone: list them",
		Example: `  hublab unit restart openvpn-laptop1   laptop1 connects again
  hublab unit start hubd                after up --without-hubd
  hublab unit kill hubd                 kill -9`,
		Args: args(cobra.MatchAll(cobra.RangeArgs(0, 2), func(_ *cobra.Command, w []string) error {
			if len(w) == 1 {
				return errUnitName
			}
			return nil
		})),
		RunE: func(c *cobra.Command, words []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			if len(words) == 2 {
				return client.Unit(c.Context(), words[1], words[0])
			}
			info, err := client.Info(c.Context())
			if err != nil {
				return err
			}
			return writeTable(c.OutOrStdout(), []string{"UNIT", "HOST", "PROCESS", "LOG"}, unitRows(info))
		},
	}
	return c
}
