package daemon

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"peerhub/hub"
)

// metrics are computed from reports; what is of the moment is read when somebody asks.
type metrics struct {
	registry *prometheus.Registry
	d        *Daemon

	passes, changes, failures, repairs *prometheus.CounterVec
	took                               prometheus.Histogram
}

// Descriptions of what is read at each scrape. Labels are bounded: never a client or a prefix.
var (
	descInfo     = desc("build_info", "Version of hubd; the value is 1.", "version")
	descUp       = desc("start_time_seconds", "When hubd started, Unix time.")
	descMode     = desc("mode", "Mode in force: 1 for the one named.", "mode")
	descPaused   = desc("paused", "1 while an operator's pause is in force.")
	descReady    = desc("ready", "1 once a pass was made of a known topology, and not too long ago.")
	descLast     = desc("last_pass_time_seconds", "When the last pass began, Unix time.")
	descPending  = desc("pending_changes", "Changes that the last pass left undone.", "plane")
	descProblems = desc("problems", "Problems of the last pass.", "code")
	descHeld     = desc("held", "Things that the last pass left alone on purpose.")
	descWorks    = desc("spoke_works", "1 when all of the way to the spoke is in place, as far as hubd may see.", "account", "spoke")
	descPackets  = desc("spoke_packets_total", "Packets out to the spoke and back, counted by the firewall.", "account", "spoke", "direction")
	descBytes    = desc("spoke_bytes_total", "Bytes out to the spoke and back, counted by the firewall.", "account", "spoke", "direction")
	descClients  = desc("clients", "Connected VPN clients.")
	descLacking  = desc("clients_lacking", "Connected clients that lack a reachable prefix.")
	descFresh    = desc("source_fresh", "1 when every region of the account answered completely at the last read.", "account")
	descAge      = desc("source_age_seconds", "Age of the oldest answer of the account in use.", "account")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("hubd_"+name, help, labels, nil)
}

func newMetrics(d *Daemon) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hubd_" + name, Help: help}, labels)
	}
	m := &metrics{
		registry: prometheus.NewRegistry(), d: d,
		passes:   counter("passes_total", "Passes made."),
		changes:  counter("changes_total", "Changes made by passes and repairs.", "plane", "verb"),
		failures: counter("plane_failures_total", "Passes and repairs in which a place could not be read or written.", "plane"),
		repairs:  counter("repairs_total", "Repairs that undid what somebody else did.", "plane"),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "hubd_pass_seconds", Help: "Time that passes took.",
			Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 30}}),
	}
	m.registry.MustRegister(m.passes, m.changes, m.failures, m.repairs, m.took, m)
	return m
}

// passed counts a pass.
func (m *metrics) passed(rep hub.Report) {
	m.passes.WithLabelValues().Inc()
	m.took.Observe(rep.Took.Seconds())
	for _, p := range rep.Planes {
		m.plane(p)
	}
}

// repaired counts a repair.
func (m *metrics) repaired(rep hub.PlaneReport) {
	m.plane(rep)
	if len(rep.Applied) > 0 {
		m.repairs.WithLabelValues(string(rep.Plane)).Inc()
	}
}

func (m *metrics) plane(p hub.PlaneReport) {
	for _, c := range p.Applied {
		m.changes.WithLabelValues(string(p.Plane), string(c.Verb)).Inc()
	}
	if p.Error != "" {
		m.failures.WithLabelValues(string(p.Plane)).Inc()
	}
}

// Describe sends nothing: the collector is unchecked, since its spokes come and go.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect reads how things stand.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), clientsTime)
	defer cancel()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	s := m.d.status(ctx)
	gauge(descInfo, 1, s.Version)
	gauge(descUp, float64(m.d.started.Unix()))
	gauge(descMode, 1, string(s.Mode))
	gauge(descPaused, truth(s.Paused != nil))
	gauge(descReady, truth(m.d.Ready(ctx) == nil))
	gauge(descHeld, float64(len(s.Held)))
	if s.LastPass != nil {
		gauge(descLast, float64(s.LastPass.At.Unix()))
	}
	codes := map[hub.Code]int{}
	for _, c := range hub.Codes() {
		codes[c.Code] = 0
	}
	for _, p := range s.Problems {
		codes[p.Code]++
	}
	for code, n := range codes {
		gauge(descProblems, float64(n), string(code))
	}
	for _, p := range m.d.pending() {
		gauge(descPending, float64(len(p.Pending)), string(p.Plane))
	}
	lacking := 0
	for _, c := range s.Clients {
		if len(c.Lacks) > 0 {
			lacking++
		}
	}
	gauge(descClients, float64(len(s.Clients)))
	gauge(descLacking, float64(lacking))
	for _, spoke := range s.Spokes {
		labels := []string{string(spoke.Account), spoke.Name}
		gauge(descWorks, truth(spoke.Works), labels...)
		if spoke.Packets != nil {
			traffic := func(d *prometheus.Desc, v uint64, direction string) {
				out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), append(labels[:2:2], direction)...)
			}
			traffic(descPackets, spoke.Packets.Out, "out")
			traffic(descPackets, spoke.Packets.In, "in")
			traffic(descBytes, spoke.Bytes.Out, "out")
			traffic(descBytes, spoke.Bytes.In, "in")
		}
	}
	m.sources(gauge)
}

// sources tells how good each account's answers are; its worst region counts.
func (m *metrics) sources(gauge func(*prometheus.Desc, float64, ...string)) {
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
		gauge(descFresh, truth(ok), string(id))
		gauge(descAge, age[id].Seconds(), string(id))
	}
}

// pending is what the last pass left undone, by plane.
func (d *Daemon) pending() []hub.PlaneReport {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.report == nil {
		return nil
	}
	return d.report.Planes
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
