package daemon

import (
	"context"
	"io"
	"runtime"
	"sync"
	"time"

	"peerhub/hub"
)

// metrics are counted from reports; what is of the moment is read when somebody asks. Labels
// are bounded: plane, verb, code, account, spoke; never a client or a prefix.
type metrics struct {
	d *Daemon

	mu       sync.Mutex
	passes   uint64
	took     histogram
	changes  map[change]uint64
	failures map[hub.PlaneName]uint64
	repairs  map[hub.PlaneName]uint64
}

// change is what changes are counted by.
type change struct {
	plane hub.PlaneName
	verb  hub.Verb
}

func newMetrics(d *Daemon) *metrics {
	return &metrics{d: d, changes: map[change]uint64{}, failures: map[hub.PlaneName]uint64{}, repairs: map[hub.PlaneName]uint64{}}
}

// passed counts a pass.
func (m *metrics) passed(rep hub.Report) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.passes++
	m.took.observe(rep.Took.Seconds())
	for _, p := range rep.Planes {
		m.plane(p)
	}
}

// repaired counts a repair.
func (m *metrics) repaired(rep hub.PlaneReport) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.plane(rep)
	if len(rep.Applied) > 0 {
		m.repairs[rep.Plane]++
	}
}

func (m *metrics) plane(p hub.PlaneReport) {
	for _, c := range p.Applied {
		m.changes[change{p.Plane, c.Verb}]++
	}
	if p.Error != "" {
		m.failures[p.Plane]++
	}
}

// write writes everything as it is now.
func (m *metrics) write(ctx context.Context, w io.Writer) error {
	var p page
	m.counted(&p)
	s := m.d.status(ctx)
	p.add(kindGauge, "build_info", "Version of hubd; the value is 1.", 1, label{"version", s.Version})
	p.add(kindGauge, "start_time_seconds", "When hubd started, Unix time.", float64(m.d.started.Unix()))
	p.add(kindGauge, "goroutines", "Goroutines of hubd: many more than usual are a leak.", float64(runtime.NumGoroutine()))
	p.add(kindGauge, "mode", "Mode in force: 1 for the one named.", 1, label{"mode", string(s.Mode)})
	p.add(kindGauge, "paused", "1 while an operator's pause is in force.", truth(s.Paused != nil))
	p.add(kindGauge, "ready", "1 once a pass was made of a known topology, and not too long ago.", truth(m.d.Ready(ctx) == nil))
	p.add(kindGauge, "held", "Things that the last pass left alone on purpose.", float64(len(s.Held)))
	if s.LastPass != nil {
		p.add(kindGauge, "last_pass_time_seconds", "When the last pass began, Unix time.", float64(s.LastPass.At.Unix()))
	}
	codes := map[hub.Code]int{}
	for _, problem := range s.Problems {
		codes[problem.Code]++
	}
	for _, c := range hub.Codes() {
		p.add(kindGauge, "problems", "Problems of the last pass.", float64(codes[c.Code]), label{"code", string(c.Code)})
	}
	lacking := 0
	for _, c := range s.Clients {
		if len(c.Lacks) > 0 {
			lacking++
		}
	}
	p.add(kindGauge, "clients", "Connected VPN clients.", float64(len(s.Clients)))
	p.add(kindGauge, "clients_lacking", "Connected clients that lack a reachable prefix.", float64(lacking))
	if m.d.opts.Conntrack != nil {
		if entries, limit, err := m.d.opts.Conntrack(ctx); err == nil {
			p.add(kindGauge, "conntrack_entries", "Flows that the kernel tracks.", float64(entries))
			p.add(kindGauge, "conntrack_limit", "Flows that the kernel can track; 0: it does not say.", float64(limit))
		}
	}
	spokes := s.Spokes
	if s.HubVPC != nil {
		spokes = append(spokes, *s.HubVPC)
	}
	for _, spoke := range spokes {
		who := []label{{"account", string(spoke.Account)}, {"spoke", spoke.Name}}
		p.add(kindGauge, "spoke_works", "1 when all of the way to the spoke is in place, as far as hubd may see.", truth(spoke.Works), who...)
		if spoke.Packets == nil || spoke.Bytes == nil {
			continue
		}
		for _, way := range []struct {
			name           string
			packets, bytes uint64
		}{{"out", spoke.Packets.Out, spoke.Bytes.Out}, {"in", spoke.Packets.In, spoke.Bytes.In}} {
			labels := append(who[:2:2], label{"direction", way.name})
			p.add(kindCounter, "spoke_packets_total", "Packets out to the spoke and back, counted by the firewall.", float64(way.packets), labels...)
			p.add(kindCounter, "spoke_bytes_total", "Bytes out to the spoke and back, counted by the firewall.", float64(way.bytes), labels...)
		}
	}
	m.sources(&p)
	return p.write(w)
}

// counted adds what reports were counted to.
func (m *metrics) counted(p *page) {
	var planes []hub.PlaneReport
	if rep := m.d.lastReport(); rep != nil {
		planes = rep.Planes
	}
	for _, r := range planes {
		p.add(kindGauge, "pending_changes", "Changes that the last pass left undone.", float64(len(r.Pending)), label{"plane", string(r.Plane)})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p.add(kindCounter, "passes_total", "Passes made.", float64(m.passes))
	m.took.addTo(p, "pass_seconds", "Time that passes took.")
	for c, n := range m.changes {
		p.add(kindCounter, "changes_total", "Changes made by passes and repairs.", float64(n), label{"plane", string(c.plane)}, label{"verb", string(c.verb)})
	}
	for _, plane := range hub.Planes {
		p.add(kindCounter, "plane_failures_total", "Passes and repairs in which a place could not be read or written.", float64(m.failures[plane]), label{"plane", string(plane)})
		p.add(kindCounter, "repairs_total", "Repairs that undid what somebody else did.", float64(m.repairs[plane]), label{"plane", string(plane)})
	}
}

// sources tells how good each account's answers are; its worst region counts.
func (m *metrics) sources(p *page) {
	m.d.mu.Lock()
	sources := m.d.topology.Sources
	m.d.mu.Unlock()
	fresh, age := map[hub.AccountID]bool{}, map[hub.AccountID]time.Duration{}
	for _, s := range sources {
		id := s.Scope.Account
		old, ok := fresh[id]
		fresh[id] = s.Fresh && (old || !ok)
		if !s.At.IsZero() {
			age[id] = max(age[id], time.Since(s.At))
		}
	}
	for id, ok := range fresh {
		p.add(kindGauge, "source_fresh", "1 when every region of the account answered completely at the last read.", truth(ok), label{"account", string(id)})
		p.add(kindGauge, "source_age_seconds", "Age of the oldest answer of the account in use.", age[id].Seconds(), label{"account", string(id)})
	}
}

// lastReport is what the last pass said, nil before the first.
func (d *Daemon) lastReport() *hub.Report {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.report
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
