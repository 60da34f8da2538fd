package ec2sim

import (
	"net/url"
	"slices"
	"time"
)

// logLimit bounds the log of a lab that stays up for days; the oldest half goes.
const logLimit = 200_000

// Request is one API request and how it was answered.
type Request struct {
	Time      time.Time
	ID        string // x-amzn-RequestId
	Service   string // ec2 or sts
	Account   string // "" when the key is unknown
	Region    string
	Principal string // ARN of the user or role session
	Action    string
	Params    url.Values // without Action and Version
	DryRun    bool
	Mutating  bool   // what the action would do, also when it was refused
	Status    int    // HTTP status; 0: the connection was cut
	Code      string // AWS error code, "" for success
	Message   string
}

// Log lists every request so far, the oldest first.
func (s *Sim) Log() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// OnRequest has f called after every request, before its answer is written. f must
// not call back into the Sim for long: the client waits for it.
func (s *Sim) OnRequest(f func(Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onRequest = append(s.onRequest, f)
}

// logged keeps a request and returns whom to tell. The caller holds mu.
func (s *Sim) logged(r Request) []func(Request) {
	if len(s.log) >= logLimit {
		s.log = slices.Clone(s.log[logLimit/2:])
	}
	s.log = append(s.log, r)
	return slices.Clone(s.onRequest)
}
