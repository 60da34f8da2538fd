package kroute

import (
	"strconv"
	"strings"

	"peerhub/hub"
)

// What an export is called: next to our own ranges and without our protocol, so that it
// stands beside a running hubd and survives its cleanup. Its rules come before ours: else
// those that close would cut it off while a cleanup takes ours away one by one.
const (
	exportShift    = 100   // below our own tables and priorities: 26640-26699
	exportMetric   = 26640 // in the main table, behind our own route to the same network
	exportProtocol = "static"
)

// Export prints want as shell commands that make the same state under names of its own.
// They may run beside hubd and any number of times.
func Export(d hub.Desired) string {
	var s strings.Builder
	s.WriteString("# a rule that is there already is left as it is\n")
	s.WriteString("once() { said=$(\"$@\" 2>&1) || case $said in *'File exists'*) ;; *) echo \"$said\" >&2; return 1 ;; esac; }\n")
	if d.Base.SetSysctls {
		s.WriteString("sysctl -w net.ipv4.ip_forward=1\n")
	}
	if len(d.Base.Tunnels) > 0 {
		s.WriteString("# where rp_filter is on, a reply from a spoke is checked with the mark of its flow; without it, it is dropped\n" +
			"sysctl -w net.ipv4.conf.all.src_valid_mark=1\n")
	}
	done := map[routeKey]bool{}
	for w := range wantRoutes(d) {
		r := w.it
		if done[r.routeKey] {
			continue
		}
		done[r.routeKey] = true
		if r.Table == mainTable {
			r.Metric = exportMetric
		} else {
			r.Table -= exportShift
		}
		s.WriteString(exported(r.command("replace"), "proto") + "\n")
	}
	for _, w := range wantRules(d) {
		r := w.it
		r.Priority, r.Table = r.Priority-exportShift, r.Table-exportShift
		s.WriteString("once " + exported(r.command("add"), "protocol") + "\n")
	}
	return s.String()
}

// exported is a command with the protocol of an export.
func exported(command, word string) string {
	return strings.Replace(command, " "+word+" "+strconv.Itoa(protocol), " "+word+" "+exportProtocol, 1)
}
