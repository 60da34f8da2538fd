package ec2sim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Faults, by name. The value says what is hit; "on" is the widest and "off" clears.
// ACTIONS is a comma-separated list of actions, or * for all.
const (
	FaultEmpty200      = "empty-200"      // ACTIONS: HTTP 200 without a body
	FaultHTML200       = "html-200"       // ACTIONS: HTTP 200 with a proxy's HTML page
	FaultPage2Fail     = "page2-fail"     // ACTIONS: InternalError for every page but the first
	FaultRepeatToken   = "repeat-token"   // ACTIONS: every page is the first one and its token never ends
	FaultPageSize      = "page-size"      // N: at most N objects a page, asked or not
	FaultUnavailable   = "unavailable"    // on or DURATION: 503 Unavailable for everything
	FaultLatency       = "latency"        // DURATION: every answer is that late
	FaultStaleReplica  = "stale-replica"  // on: every second read is answered as of now; DURATION: as of that long ago
	FaultDeny          = "deny"           // ACTION or ACTION@ACCOUNT (the caller's; for AssumeRole also the role's), comma-separated: UnauthorizedOperation, of STS AccessDenied
	FaultRegionDown    = "region-down"    // REGION, comma-separated: connections are cut without an answer
	FaultEndlessBody   = "endless-body"   // ACTIONS: HTTP 200 whose body never ends
	FaultDataPlaneLag  = "data-plane-lag" // DURATION: Network shows the state of that long ago
	FaultRouteLag      = "route-lag"      // DURATION: a created route is invisible in DescribeRouteTables for that long
	FaultQuotaRoutes   = "quota-routes"   // N: routes per table and family
	FaultThrottle      = "throttle"       // on: AWS's token buckets, whatever the options say; empty: no tokens at all
	FaultNoRequestID   = "no-request-id"  // ACTIONS: the answer lacks its request id
	FaultUnknownStatus = "unknown-status" // PCX ids, comma-separated: described with a status code that no SDK knows
	FaultUnlisted      = "unlisted"       // PCX ids, comma-separated: not in any answer, though they stand
	FaultEmptySet      = "empty-set"      // ACTIONS: a well-formed answer of a reading action, whose lists have no item
	FaultGzipBomb      = "gzip-bomb"      // ACTIONS: HTTP 200 with a packed body of 1 MB that unpacks to 1 GB
	FaultMalformed     = "malformed"      // KIND@PCX, comma-separated: how the accepter's side is described; see malformed
	FaultClockSkew     = "clock-skew"     // DURATION, may be negative: AWS's clock is that far ahead of everybody's
	FaultIMDSDown      = "imds-down"      // on: IMDS cuts connections
	FaultIMDSSlow      = "imds-slow"      // DURATION: IMDS answers that late
	FaultIMDSExpired   = "imds-expired"   // on: IMDS hands out credentials that AWS refuses as expired, and earlier ones have expired too
)

var faultKinds = map[string]string{
	FaultEmpty200: "actions", FaultHTML200: "actions", FaultPage2Fail: "actions", FaultRepeatToken: "actions",
	FaultPageSize: "number", FaultUnavailable: "on or duration", FaultLatency: "duration",
	FaultStaleReplica: "on or duration", FaultDeny: "text", FaultRegionDown: "text", FaultEndlessBody: "actions",
	FaultDataPlaneLag: "duration", FaultRouteLag: "duration", FaultQuotaRoutes: "number",
	FaultThrottle: "on or empty", FaultNoRequestID: "actions", FaultUnknownStatus: "text", FaultUnlisted: "text",
	FaultEmptySet: "actions", FaultGzipBomb: "actions", FaultMalformed: "text", FaultClockSkew: "signed duration",
	FaultIMDSDown: "on", FaultIMDSSlow: "duration", FaultIMDSExpired: "on",
}

// SetFault begins, changes or (value "off") ends a fault. An unknown name or a
// value that does not fit is an error and changes nothing.
func (s *Sim) SetFault(name, value string) error {
	kind, ok := faultKinds[name]
	if !ok {
		return fmt.Errorf("fault %q: unknown; known are %s", name, strings.Join(slices.Sorted(maps.Keys(faultKinds)), ", "))
	}
	d, err := time.ParseDuration(value)
	isDuration, isSigned := err == nil && d > 0, err == nil && d != 0
	n, err := strconv.Atoi(value)
	isNumber := err == nil && n >= 0
	switch {
	case value == "off":
	case value == "":
		return fmt.Errorf("fault %s: empty value; want %s or off", name, kind)
	case kind == "signed duration" && !isSigned, kind == "on" && value != "on",
		kind == "number" && !isNumber, kind == "duration" && !isDuration,
		kind == "on or duration" && value != "on" && !isDuration,
		kind == "on or empty" && value != "on" && value != "empty",
		kind == "text" && value == "on":
		return fmt.Errorf("fault %s: value %q is no %s", name, value, kind)
	case kind == "actions" && value == "on":
		value = "*"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.catchUp()
	if name == FaultIMDSExpired {
		s.iam.renewInstances(now, value == "on")
	}
	delete(s.faultEnds, name)
	if value == "off" {
		delete(s.faults, name)
	} else {
		s.faults[name] = value
		if name == FaultUnavailable && isDuration {
			s.faultEnds[name] = now.Add(d)
		}
	}
	if name == FaultStaleReplica {
		s.frozen = nil
		if value == "on" {
			s.frozen = s.st.clone()
		}
	}
	if s.lag() == 0 {
		s.history = nil
	}
	s.remember()
	s.arm()
	s.wake() // the end of data-plane-lag changes the network
	return nil
}

// Faults lists the faults that are on, with their values.
func (s *Sim) Faults() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]string{}
	for name := range s.faults {
		if v := s.fault(name); v != "" {
			out[name] = v
		}
	}
	return out
}

// fault is a fault's value, "" when it is off or over. The caller holds mu.
func (s *Sim) fault(name string) string {
	if end, ok := s.faultEnds[name]; ok && !s.clock().Before(end) {
		delete(s.faults, name)
		delete(s.faultEnds, name)
	}
	return s.faults[name]
}

// faultDuration is a fault's duration, 0 when it is off or has none.
func (s *Sim) faultDuration(name string) time.Duration {
	d, err := time.ParseDuration(s.fault(name))
	if err != nil {
		return 0
	}
	return d
}

// faultNumber is a fault's number, or def when it is off.
func (s *Sim) faultNumber(name string, def int) int {
	n, err := strconv.Atoi(s.fault(name))
	if err != nil {
		return def
	}
	return n
}

// faultHits tells whether a fault that lists actions names this one.
func (s *Sim) faultHits(name, action string) bool {
	for v := range strings.SplitSeq(s.fault(name), ",") {
		if v == action || v == "*" {
			return true
		}
	}
	return false
}
