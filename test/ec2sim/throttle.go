package ec2sim

import "time"

// class is how AWS throttles an action: the size of its bucket and the tokens that
// come back per second. Every action has a bucket of its own per account and region
// (ec2.md section 6).
type class struct{ burst, refill float64 }

var (
	classRead       = class{100, 20}
	classUnfiltered = class{50, 10} // the big Describes without filter, ids or MaxResults
	classWrite      = class{50, 5}
	classTags       = class{100, 10}
	classInterface  = class{100, 5}
)

type bucket struct {
	tokens float64
	at     time.Time
}

// take takes a token. The caller holds mu.
func (s *Sim) take(name string, c class, now time.Time) bool {
	fault := s.fault(FaultThrottle)
	if fault == "empty" {
		return false
	}
	if !s.throttle && fault != "on" {
		return true
	}
	b, ok := s.buckets[name]
	if !ok {
		b = &bucket{c.burst, now}
		s.buckets[name] = b
	}
	b.tokens = min(c.burst, b.tokens+c.refill*max(0, now.Sub(b.at).Seconds()))
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
