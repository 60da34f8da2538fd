package ec2sim

import (
	"sync"
	"time"
)

// Immediate is a delay that is over at the next look; a zero delay is the lab's default.
const Immediate = time.Nanosecond

// Options shape a Sim. The zero value is a lab: short delays, no throttling, AWS's
// default quotas.
type Options struct {
	Clock    func() time.Time // nil: time.Now
	Delays   Delays
	Throttle bool // AWS's token buckets, per action, account and region (ec2.md section 6)
	Quotas   Quotas
}

// Delays are the times that AWS takes. Zero is the lab's default, Immediate is none.
type Delays struct {
	Pending      time.Duration // peering: initiating-request -> pending-acceptance or failed; 200 ms
	Active       time.Duration // peering: provisioning -> active; 300 ms
	Deleted      time.Duration // inter-region peering: deleting -> deleted; 300 ms
	CIDR         time.Duration // CIDR block: associating -> associated, disassociating -> gone; 200 ms
	Instance     time.Duration // instance: pending -> running, shutting-down -> terminated; 200 ms
	Expiry       time.Duration // peering request nobody accepts -> expired; 168 h
	ShortVisible time.Duration // terminal peering, the side that ended it; terminated instance; 2 h
	LongVisible  time.Duration // terminal peering, the other side; 48 h
	ReadLag      time.Duration // what Describe shows is this old; 0
	Answer       time.Duration // how long an answer takes at least, of the real clock; 2 ms, AWS's take tens
}

// Quotas are AWS's limits. Zero is AWS's default.
type Quotas struct {
	PeeringsPerVPC      int // active ones; 50
	OutstandingRequests int // pending requests per requester VPC; 25
	RoutesPerTable      int // static, IPv4 and IPv6 each; 500
	TablesPerVPC        int // 200
	CIDRsPerVPC         int // IPv4 and IPv6 each; 5
	RulesPerGroup       int // per direction and family; 60
	GroupsPerInterface  int // 5
	EntriesPerACL       int // per direction and family; 20
	AddressesPerENI     int // private IPv4; 15
	AddressesPerRegion  int // Elastic; 5 at AWS, 100 here so that a lab fits
}

// Sim is a simulated AWS. All methods may be called at once from anywhere.
type Sim struct {
	delays   Delays
	quotas   Quotas
	throttle bool
	clock    func() time.Time

	mu        sync.Mutex
	st        *state
	due       time.Time // when advance has something to do; zero: never
	gen       uint64
	history   []version // past states, kept only while some lag is on
	frozen    *state    // what the stale replica answers; nil: not frozen
	reads     map[string]int
	timer     *time.Timer
	closed    bool
	watchers  map[chan struct{}]struct{}
	iam       iam
	buckets   map[string]*bucket
	faults    map[string]string
	faultEnds map[string]time.Time
	log       []Request
	onRequest []func(Request)
	requests  uint64
}

// New makes an empty cloud. Close it when done.
func New(o Options) *Sim {
	clock := o.Clock
	if clock == nil {
		clock = time.Now
	}
	s := &Sim{
		delays: o.Delays.withDefaults(), quotas: o.Quotas.withDefaults(),
		throttle: o.Throttle, clock: clock,
		st: newState(), gen: 1,
		reads: map[string]int{}, watchers: map[chan struct{}]struct{}{},
		iam: newIAM(), buckets: map[string]*bucket{},
		faults: map[string]string{}, faultEnds: map[string]time.Time{},
	}
	s.remember()
	return s
}

// Close stops the timer and ends every watch. Handlers go on answering.
func (s *Sim) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	for ch := range s.watchers {
		delete(s.watchers, ch)
		close(ch)
	}
}

// Network is the data plane's truth now; it lags behind the API while the fault
// data-plane-lag is on.
func (s *Sim) Network() Network {
	s.mu.Lock()
	v := s.networkVersion()
	s.mu.Unlock()
	return project(v.st, v.gen) // outside the lock: v.st is a copy nobody writes
}

// Watch returns a channel that gets a value after the network changed, also by
// time alone. Signals coalesce. The channel is closed by cancel and by Close.
func (s *Sim) Watch() (<-chan struct{}, func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := make(chan struct{}, 1)
	if s.closed {
		close(ch)
		return ch, func() {}
	}
	s.watchers[ch] = struct{}{}
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, ok := s.watchers[ch]; ok {
			delete(s.watchers, ch)
			close(ch)
		}
	}
}

// Tick makes every change whose time has come. Only a caller whose Clock jumps
// needs it, to let watchers know at once.
func (s *Sim) Tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp()
	s.arm()
	s.wake() // a version held back by data-plane-lag may have become due
}

// catchUp brings the state to the present. The caller holds mu.
func (s *Sim) catchUp() time.Time {
	now := s.clock()
	if !s.due.IsZero() && !now.Before(s.due) {
		changed, due := s.st.advance(now, s.delays)
		s.due = due
		if changed {
			s.changed(now)
		}
	}
	return now
}

// touched is called after every write to the state, with mu held: something may be
// due earlier now, and watchers want to know.
func (s *Sim) touched(now time.Time) {
	_, s.due = s.st.advance(now, s.delays)
	s.changed(now)
}

func (s *Sim) changed(now time.Time) {
	s.gen++
	s.record(now)
	s.arm()
	s.wake()
}

func (s *Sim) wake() {
	for ch := range s.watchers {
		select {
		case ch <- struct{}{}:
		default: // a signal is waiting already
		}
	}
}

// arm sets the timer to the next moment at which something changes by time alone.
func (s *Sim) arm() {
	if s.timer != nil {
		s.timer.Stop()
	}
	next := s.due
	if p := s.nextPublication(); !p.IsZero() && (next.IsZero() || p.Before(next)) {
		next = p
	}
	if s.closed || next.IsZero() {
		return
	}
	// At least a millisecond, so that a Clock that stands still is not polled hot.
	s.timer = time.AfterFunc(max(next.Sub(s.clock()), time.Millisecond), s.Tick)
}

func orElse[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

func (d Delays) withDefaults() Delays {
	d.Pending = orElse(d.Pending, 200*time.Millisecond)
	d.Active = orElse(d.Active, 300*time.Millisecond)
	d.Deleted = orElse(d.Deleted, 300*time.Millisecond)
	d.CIDR = orElse(d.CIDR, 200*time.Millisecond)
	d.Instance = orElse(d.Instance, 200*time.Millisecond)
	d.Expiry = orElse(d.Expiry, 7*24*time.Hour)
	d.ShortVisible = orElse(d.ShortVisible, 2*time.Hour)
	d.LongVisible = orElse(d.LongVisible, 48*time.Hour)
	d.Answer = orElse(d.Answer, 2*time.Millisecond)
	return d
}

func (q Quotas) withDefaults() Quotas {
	q.PeeringsPerVPC = orElse(q.PeeringsPerVPC, 50)
	q.OutstandingRequests = orElse(q.OutstandingRequests, 25)
	q.RoutesPerTable = orElse(q.RoutesPerTable, 500)
	q.TablesPerVPC = orElse(q.TablesPerVPC, 200)
	q.CIDRsPerVPC = orElse(q.CIDRsPerVPC, 5)
	q.RulesPerGroup = orElse(q.RulesPerGroup, 60)
	q.GroupsPerInterface = orElse(q.GroupsPerInterface, 5)
	q.EntriesPerACL = orElse(q.EntriesPerACL, 20)
	q.AddressesPerENI = orElse(q.AddressesPerENI, 15)
	q.AddressesPerRegion = orElse(q.AddressesPerRegion, 100)
	return q
}
