package ec2sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// call is one request on its way through its handler. The Sim's lock is held.
type call struct {
	s  *Sim
	st *state // what the handler reads, and for a writing action writes
	home
	now    time.Time
	who    principal
	action string
	p      params
	log    *Request
}

// action is an entry of the table of what is served.
type action struct {
	do      func(*call) ([]node, error)
	schema  schema
	class   class
	writes  bool
	network bool // what it writes matters to the data plane
	big     bool // one of the Describes that are throttled sooner without a filter
}

const (
	bodyLimit  = 1 << 20
	ec2Version = "2016-11-15"
	stsVersion = "2011-06-15"
)

// answer is what goes back to the client, and how the faults spoil it.
type answer struct {
	status int
	id     string
	body   []byte

	html, empty, endless, bombed, noID bool

	skew time.Duration // of the clock that the answer is dated by
	cut  bool          // the connection is closed instead
}

// APIHandler serves EC2 and STS for all accounts and regions.
func (s *Sim) APIHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
		if err != nil {
			http.Error(w, "request too large", http.StatusRequestEntityTooLarge)
			return
		}
		s.mu.Lock()
		wait := s.faultDuration(FaultLatency)
		s.mu.Unlock()
		if !pause(r.Context(), wait) {
			return
		}
		a, rec, tell := s.serve(r, body)
		for _, f := range tell {
			f(rec)
		}
		if pause(r.Context(), s.delays.Answer) {
			a.write(w, r)
		}
	})
}

// pause waits and tells whether the client is still there.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// serve answers one request, logs it and says whom to tell.
func (s *Sim) serve(r *http.Request, body []byte) (answer, Request, []func(Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.catchUp()
	s.requests++
	rec := Request{Time: now, ID: requestID(s.requests), Service: "ec2"}
	form, err := url.ParseQuery(string(body))
	if err == nil && r.Method == http.MethodGet {
		form, err = url.ParseQuery(r.URL.RawQuery)
	}
	rec.Action = form.Get("Action")
	rec.Params = form
	if form.Get("Version") == stsVersion {
		rec.Service = "sts"
	}
	var nodes []node
	if err != nil {
		err = refuse("MalformedQueryString", "The query string contains a syntax error: %v", err)
	} else {
		nodes, err = s.dispatch(r, body, form, now, &rec)
	}
	rec.Params = strip(form, "Action", "Version")
	a := answer{status: http.StatusOK, id: rec.ID, skew: s.faultDuration(FaultClockSkew)}
	if err != nil {
		var refused *apiError
		if !errors.As(err, &refused) {
			refused = &apiError{http.StatusInternalServerError, "InternalError", err.Error()}
		}
		a.status, rec.Code, rec.Message = refused.status, refused.code, refused.message
		a.body = errorBody(rec.Service, refused, rec.ID)
		a.cut = refused == errCut
	} else {
		if s.faultHits(FaultEmptySet, rec.Action) && !rec.Mutating {
			nodes = emptied(nodes)
		}
		a.body = successBody(rec.Service, rec.Action, nodes, rec.ID)
		s.spoil(&a, rec.Action)
	}
	rec.Status = a.status
	if a.cut {
		rec.Status = 0
	}
	return a, rec, s.logged(rec)
}

// strip takes parameters out of a form.
func strip(v url.Values, names ...string) url.Values {
	for _, n := range names {
		v.Del(n)
	}
	return v
}

// errCut stands for a connection that is closed without an answer.
var errCut = &apiError{0, "ConnectionCut", "no answer: the region is down"}

// spoil lets the faults of answers have their way.
func (s *Sim) spoil(a *answer, action string) {
	a.empty = s.faultHits(FaultEmpty200, action)
	a.html = s.faultHits(FaultHTML200, action)
	a.endless = s.faultHits(FaultEndlessBody, action)
	a.bombed = s.faultHits(FaultGzipBomb, action)
	a.noID = s.faultHits(FaultNoRequestID, action)
}

// dispatch takes a request through who, how often, what, may they, and does it.
func (s *Sim) dispatch(r *http.Request, body []byte, form url.Values, now time.Time, rec *Request) ([]node, error) {
	cred, credErr := parseCredential(r)
	rec.Region = cred.region
	if s.faultNames(FaultRegionDown, cred.region) {
		return nil, errCut
	}
	if s.fault(FaultUnavailable) != "" {
		return nil, refuseStatus(http.StatusServiceUnavailable, "Unavailable", "The server is overloaded and can't handle the request.")
	}
	who, err := s.authenticate(r, body, cred, credErr, rec.Service, now)
	if err == nil {
		err = s.skewed(r, rec.Service)
	}
	if err != nil {
		return nil, err
	}
	rec.Account, rec.Principal = who.account, who.arn
	table := ec2Actions
	if rec.Service == "sts" {
		table = stsActions
	}
	if v := form.Get("Version"); rec.Service == "ec2" && v != ec2Version {
		return nil, refuse("NoSuchVersion", "The requested version (%s) of service AmazonEC2 does not exist", v)
	}
	a, ok := table[rec.Action]
	if !ok {
		return nil, refuse("InvalidAction", "The action %s is not valid for this web service.", rec.Action)
	}
	rec.Mutating = a.writes
	c := &call{
		s: s, st: s.st, home: home{who.account, cred.region}, now: now, who: who,
		action: rec.Action, p: params(form), log: rec,
	}
	if rec.Service == "ec2" && !s.take(c.account+" "+c.region+" "+c.action, c.class(a), now) {
		return nil, refuseStatus(http.StatusServiceUnavailable, "RequestLimitExceeded", "Request limit exceeded. Account %s has been throttled on ec2:%s", c.account, c.action)
	}
	if err := a.schema.check(c.p); err != nil {
		return nil, err
	}
	if err := c.authorized(rec.Service + ":" + c.action); err != nil {
		return nil, err
	}
	return c.run(a)
}

// run does the action. A DryRun is done on a copy that is thrown away.
func (c *call) run(a action) ([]node, error) {
	if !a.writes {
		c.st = c.s.readState(c.now, c.account+" "+c.region+" "+c.action)
		if c.p.has("NextToken") && c.s.faultHits(FaultPage2Fail, c.action) {
			return nil, refuseStatus(http.StatusInternalServerError, "InternalError", "An internal error has occurred")
		}
	} else {
		c.st = c.s.st.clone() // a refused action leaves nothing behind
	}
	nodes, err := a.do(c)
	if err != nil {
		return nil, err
	}
	if c.p.is("DryRun", false) {
		c.log.DryRun = true
		return nil, refuseStatus(http.StatusPreconditionFailed, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
	}
	if a.writes {
		c.s.st = c.st
		if a.network {
			c.s.touched(c.now)
		} else {
			c.s.record(c.now)
		}
	}
	return nodes, nil
}

// class is the action's bucket; the big Describes have a smaller one without filter.
func (c *call) class(a action) class {
	if !a.big || c.p.has("MaxResults") || len(c.p.items("Filter")) > 0 {
		return a.class
	}
	for _, name := range []string{"InstanceId", "NetworkInterfaceId", "GroupId"} {
		if len(c.p.items(name)) > 0 {
			return a.class
		}
	}
	return classUnfiltered
}

func successBody(service, name string, nodes []node, id string) []byte {
	if service == "sts" {
		return el(name+`Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"`,
			append(nodes, el("ResponseMetadata", txt("RequestId", id)))...).render()
	}
	return el(name+`Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"`,
		append([]node{txt("requestId", id)}, nodes...)...).render()
}

func errorBody(service string, e *apiError, id string) []byte {
	if service == "sts" {
		return el(`ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"`,
			el("Error", txt("Type", "Sender"), txt("Code", e.code), txt("Message", e.message)),
			txt("RequestId", id)).render()
	}
	return el("Response",
		el("Errors", el("Error", txt("Code", e.code), txt("Message", e.message))),
		txt("RequestID", id)).render()
}

// write sends the answer, spoiled if a fault says so.
func (a answer) write(w http.ResponseWriter, r *http.Request) {
	if a.cut {
		panic(http.ErrAbortHandler) // net/http's own way to close a connection without an answer
	}
	h := w.Header()
	if !a.noID {
		h.Set("x-amzn-RequestId", a.id)
	}
	h.Set("Server", "AmazonEC2")
	if a.skew != 0 {
		h.Set("Date", time.Now().Add(a.skew).UTC().Format(http.TimeFormat))
	}
	h.Set("Content-Type", "text/xml;charset=UTF-8")
	switch {
	case a.empty:
		delete(h, "X-Amzn-Requestid")
		w.WriteHeader(http.StatusOK)
	case a.html:
		delete(h, "X-Amzn-Requestid")
		h.Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html><head><title>Proxy</title></head><body>Please log in</body></html>")
	case a.bombed:
		a.bomb(w, r)
	case a.endless:
		a.pour(w, r)
	default:
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body) // the client may have gone
	}
}

// pour writes a body without end, until the client goes away.
func (a answer) pour(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(a.status)
	if len(a.body) > 0 {
		_, _ = w.Write(a.body[:len(a.body)-1]) // the document stays open
	}
	filler := make([]byte, 32<<10)
	for i := range filler {
		filler[i] = ' '
	}
	for r.Context().Err() == nil {
		if _, err := w.Write(filler); err != nil {
			return
		}
	}
}
