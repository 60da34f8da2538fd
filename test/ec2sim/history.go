package ec2sim

import "time"

// version is the state as it was from a moment on.
type version struct {
	at  time.Time
	gen uint64
	st  *state
}

// lag is how far back anybody may look: the greatest lag that is on. Zero means
// that no history is kept. The caller holds mu.
func (s *Sim) lag() time.Duration {
	return max(s.delays.ReadLag, s.faultDuration(FaultDataPlaneLag), s.faultDuration(FaultStaleReplica))
}

// remember starts the history at the present state; called when a lag begins.
func (s *Sim) remember() {
	if s.lag() > 0 && len(s.history) == 0 {
		s.history = []version{{s.clock(), s.gen, s.st.clone()}}
	}
}

// record keeps the present state if some lag is on, and forgets what is too old
// for anybody to see.
func (s *Sim) record(now time.Time) {
	lag := s.lag()
	if lag == 0 {
		s.history = nil
		return
	}
	s.history = append(s.history, version{now, s.gen, s.st.clone()})
	old := now.Add(-lag)
	for len(s.history) > 1 && !s.history[1].at.After(old) {
		s.history = s.history[1:]
	}
}

// versionAt is the state as it was at a time, or the oldest one known.
func (s *Sim) versionAt(at time.Time) version {
	for i := len(s.history) - 1; i > 0; i-- {
		if !s.history[i].at.After(at) {
			return s.history[i]
		}
	}
	if len(s.history) > 0 {
		return s.history[0]
	}
	return version{at, s.gen, s.st.clone()}
}

// networkVersion is the state that the data plane obeys now.
func (s *Sim) networkVersion() version {
	now := s.catchUp()
	if lag := s.faultDuration(FaultDataPlaneLag); lag > 0 {
		return s.versionAt(now.Add(-lag))
	}
	return version{now, s.gen, s.st.clone()}
}

// nextPublication is when the data plane will next see a change it has not seen.
func (s *Sim) nextPublication() time.Time {
	lag := s.faultDuration(FaultDataPlaneLag)
	if lag == 0 {
		return time.Time{}
	}
	now := s.clock()
	for _, v := range s.history {
		if due := v.at.Add(lag); due.After(now) {
			return due
		}
	}
	return time.Time{}
}

// readState is the state that a Describe of this action answers from: the present,
// the past by ReadLag, or for every second read the stale replica. The caller holds mu.
func (s *Sim) readState(now time.Time, reader string) *state {
	if v := s.fault(FaultStaleReplica); v != "" {
		s.reads[reader]++
		if s.reads[reader]%2 == 0 {
			if s.frozen != nil {
				return s.frozen
			}
			return s.versionAt(now.Add(-s.faultDuration(FaultStaleReplica))).st
		}
	}
	if s.delays.ReadLag > 0 {
		return s.versionAt(now.Add(-s.delays.ReadLag)).st
	}
	return s.st
}
