package hub

// Acceptable returns the pending requests to the hub VPC that are accepted: those of listed
// accounts, unless every prefix that is known of them would be refused. Strangers' requests
// are left alone; they expire by themselves.
func Acceptable(p Policy, t Topology) []Peering {
	var out []Peering
	for _, pcx := range livePeerings(t) {
		_, listed := p.Accounts[pcx.Peer.Scope.Account]
		if pcx.State == PeeringPending && !pcx.HubRequested && listed && Useless(p, t, pcx) == "" {
			out = append(out, pcx)
		}
	}
	return out
}

// Useless says why nothing could be reached through a peering as far as it alone is
// concerned, "" when something could or its prefixes are not known yet.
func Useless(p Policy, t Topology, pcx Peering) string {
	why := ""
	for _, q := range sortedPrefixes(pcx.Peer.Prefixes) {
		r := refuse(q, false, p.Accounts[pcx.Peer.Scope.Account], p, t)
		if !r.refused() {
			return ""
		}
		why = r.detail
	}
	return why
}
