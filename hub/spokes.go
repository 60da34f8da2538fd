package hub

// spokeReports says how each spoke stands after the pass that rep tells of.
func spokeReports(t Topology, rep Report) []SpokeReport { return nil }
