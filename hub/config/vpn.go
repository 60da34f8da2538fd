package config

import (
	"fmt"
	"strings"

	"peerhub/hub"
)

// decodeVPN reads one server of vpn.
func decodeVPN(v value, dir string) (hub.VPN, bool) {
	vpn := hub.VPN{OwnFiles: hub.OwnFilesInclude, Other: hub.OtherDrop}
	f, ok := v.object()
	if !ok {
		return vpn, false
	}
	f.require("name", "interfaces")
	read(f, "name", &vpn.Name, named("vpn", name))
	read(f, "interfaces", &vpn.Interfaces, listOf("interface names", named("interface", kernelName)))
	read(f, "pools", &vpn.Pools, ranges(rangePool))
	read(f, "sites", &vpn.Sites, listOf("sites", decodeSite))
	read(f, "client_dir", &vpn.ClientDir, path(dir))
	read(f, "own_files", &vpn.OwnFiles, oneOf(hub.OwnFilesInclude, hub.OwnFilesLeave))
	read(f, "status", &vpn.Status, path(dir))
	read(f, "aggregates", &vpn.Aggregates, ranges(rangeAggregate))
	read(f, "to_hub", &vpn.ToHub, listOf("services", service))
	read(f, "other_traffic", &vpn.Other, oneOf(hub.OtherDrop, hub.OtherLeave))
	if list, ok := f.set["interfaces"]; ok && list.empty() {
		list.wrong("found no interface", "want at least one name such as tun0")
	}
	_, pools := f.set["pools"]
	_, sites := f.set["sites"]
	if !pools && !sites {
		f.wrong("neither pools nor sites", "want pools, the addresses that clients get, such as [172.27.240.0/22]")
	}
	return vpn, true
}

func decodeSite(v value) (hub.Site, bool) {
	var s hub.Site
	f, ok := v.object()
	if !ok {
		return s, false
	}
	f.require("name", "client", "networks")
	read(f, "name", &s.Name, named("site", name))
	read(f, "client", &s.Client, named("client", clientName))
	read(f, "networks", &s.Networks, ranges(rangeSite))
	return s, true
}

// clientName reads a certificate's common name: it becomes a file's name.
func clientName(v value) (string, bool) {
	const want = "the common name of the site's certificate: letters, digits and . _ @ -, at most 64"
	s, ok := matching[string](clientForm, want)(v)
	if ok && (strings.HasPrefix(s, ".") || s == "DEFAULT") {
		v.mismatch(fmt.Sprintf("%s; not %s", want, s))
		return "", false
	}
	return s, ok
}
