package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// pushFile is the file of push lines that hubd keeps in the client-config-dir, and
// that a client's own file includes by one config line.
const pushFile = "peerhub.routes"

func (f vpnFiles) include() string { return filepath.Join(f.ClientDir, pushFile) }

// HubdDir holds hubd's config, state and socket.
func (l *Lab) HubdDir() string { return filepath.Join(l.Dir, "hubd") }

// HubdSocket is where hubd's control socket is, for hubctl --socket.
func (l *Lab) HubdSocket() string { return filepath.Join(l.HubdDir(), "hubd.sock") }

// hubdConfig is the config file that hubd is started with.
func (l *Lab) hubdConfig() string {
	if l.opt.HubdConfig != "" {
		return l.opt.HubdConfig
	}
	return filepath.Join(l.HubdDir(), "hubd.yaml")
}

// writeHubdConfig writes what an operator of this hub would: everything else is
// known to IMDS.
func (l *Lab) writeHubdConfig() error {
	if err := os.MkdirAll(filepath.Join(l.HubdDir(), "accounts.d"), 0o750); err != nil {
		return fmt.Errorf("make hubd's directory: %w", err)
	}
	path := filepath.Join(l.HubdDir(), "hubd.yaml")
	text := l.hubdYAML()
	if l.opt.HubdEdit != nil {
		text = l.opt.HubdEdit(text)
	}
	if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
		return fmt.Errorf("write hubd's config: %w", err)
	}
	return nil
}

func (l *Lab) hubdYAML() string {
	s := l.Spec
	var accounts []string
	for _, v := range s.services() {
		if v.Peering == PeeringActive {
			accounts = append(accounts, fmt.Sprintf("%q: {name: %s}", v.Account, v.Host))
		}
	}
	regions := []string{s.Region}
	for _, v := range s.services() {
		if r := v.region(s); r != s.Region {
			regions = append(regions, r)
		}
	}
	return lines(
		"# Written by the lab. IMDS knows what is not stated here.",
		"version: 1",
		"mode: sync",
		"poll: 2s",
		fmt.Sprintf("hub: {name: %s}", s.HubName),
		"aws:",
		fmt.Sprintf("  role: arn:aws:iam::{account}:role/%s", SpokeRole),
		fmt.Sprintf("  external_id: %s", s.ExternalID),
		fmt.Sprintf("  regions: [%s]", strings.Join(regions, ", ")),
		fmt.Sprintf("  endpoint: http://%s", s.API),
		"  allow_insecure_endpoint: true",
		"accounts: {"+strings.Join(accounts, ", ")+"}",
		"vpn:",
		"  - name: people",
		fmt.Sprintf("    interfaces: [%s]", s.Tunnel),
		fmt.Sprintf("    pools: [%s]", s.Pool),
		fmt.Sprintf("    sites: [{name: tokyo, client: %s, networks: [%s]}]", s.OfficeClient, s.OfficeLAN),
		fmt.Sprintf("    client_dir: %s", l.VPN.ClientDir),
		"    own_files: include",
		fmt.Sprintf("    status: %s", l.VPN.Management),
		fmt.Sprintf("    aggregates: [%s]", join(s.Aggregates)),
		"    to_hub: [icmp]",
		"kernel: {sysctls: set}",
		fmt.Sprintf("control: {socket: %s}", l.HubdSocket()),
		`metrics: {listen: "127.0.0.1:9586"}`,
		"log: {level: info, format: json}",
		fmt.Sprintf("state: %s", filepath.Join(l.HubdDir(), "state")),
	)
}

func join(ps []netip.Prefix) string {
	var out []string
	for _, p := range ps {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}
