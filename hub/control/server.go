package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"peerhub/hub"
)

// Reader answers the reading verbs.
type Reader interface {
	Status(context.Context) (Status, error)
	Plan(context.Context) (Plan, error)
	Config(context.Context) (Config, error)
	Desired(context.Context) (hub.Desired, error) // of the last pass
	History(context.Context, hub.HistoryQuery) (History, error)
	Adoption(context.Context) (Adoption, error)
	Ready(context.Context) error // nil: a pass has been made and the last one is not too long ago
}

// Writer answers the writing verbs. by says who asks, for the log.
type Writer interface {
	Sync(ctx context.Context, req SyncRequest, by string) (Synced, error)
	// Confirm ends the time in which a sync is put back by itself, or puts it back at once.
	Confirm(ctx context.Context, req ConfirmRequest, by string) (Synced, error)
	Pause(ctx context.Context, req PauseRequest, by string) (Paused, error)
	Resume(ctx context.Context, req ResumeRequest, by string) (Paused, error)
	// Adopt is a sync that ends no flow, and takes over the VPC routes that fit.
	Adopt(ctx context.Context, req AdoptRequest, by string) (Adoption, error)
	// Reload reads the config anew, then asks AWS and makes a pass in the mode in force.
	Reload(ctx context.Context, by string) (Done, error)
}

// Limits of what one peer may take.
const (
	headerTime = 5 * time.Second  // to send a request's header
	bodyTime   = 10 * time.Second // to send all of it
	idleTime   = 15 * time.Second // between requests
	answerTime = 30 * time.Second // to read an answer
	workTime   = 5 * time.Minute  // for a pass to end
	bodySize   = 64 << 10
	perUser    = 32 // connections
	atOnce     = 4  // reading verbs that are worked on; the others wait for their turn
	writers    = 16 // writing verbs of all users that are under way; more are refused
)

// Server answers on one listener.
type Server struct {
	http *http.Server
	on   *Listener
}

// NewServer returns a server for on. r and w are asked from several goroutines at once.
func NewServer(on *Listener, r Reader, w Writer) *Server {
	s := &Server{on: on}
	s.http = &http.Server{
		Handler:           handler(r, w, on.admins),
		ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, IdleTimeout: idleTime, WriteTimeout: answerTime,
		MaxHeaderBytes: 16 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(context.WithValue(ctx, connKey{}, c), peerKey{}, peerOf(c))
		},
		ErrorLog: nil,
	}
	return s
}

// Serve answers until the context ends, then lets running answers end for a moment.
func (s *Server) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if s.http.Shutdown(late) != nil {
			s.http.Close()
		}
	})
	defer stop()
	if err := s.http.Serve(s.on); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

type (
	peerKey struct{}
	connKey struct{}
)

// handler is the verbs. admin says whether a peer may use those that write.
func handler(r Reader, w Writer, admin func(Peer) bool) http.Handler {
	mux := http.NewServeMux()
	turns, places := make(chan struct{}, atOnce), make(chan struct{}, writers)
	read := func(ask func(context.Context) (any, error)) http.Handler { return reading(turns, ask) }
	mux.Handle("GET /v1/status", read(func(ctx context.Context) (any, error) { return r.Status(ctx) }))
	mux.Handle("GET /v1/plan", read(func(ctx context.Context) (any, error) { return r.Plan(ctx) }))
	mux.Handle("GET /v1/config", read(func(ctx context.Context) (any, error) { return r.Config(ctx) }))
	mux.Handle("GET /v1/desired", read(func(ctx context.Context) (any, error) { return r.Desired(ctx) }))
	mux.Handle("GET /v1/spokes", read(func(ctx context.Context) (any, error) {
		s, err := r.Status(ctx)
		return Spokes{Schema: Schema, Spokes: s.Spokes}, err
	}))
	mux.Handle("GET /v1/clients", read(func(ctx context.Context) (any, error) {
		s, err := r.Status(ctx)
		return Clients{Schema: Schema, Clients: s.Clients}, err
	}))
	mux.HandleFunc("GET /v1/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /v1/readyz", func(w http.ResponseWriter, req *http.Request) {
		if err := r.Ready(req.Context()); err != nil {
			answer(w, http.StatusServiceUnavailable, failure{Schema, err.Error()})
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /v1/history", func(w http.ResponseWriter, req *http.Request) {
		q, err := historyQuery(req.URL.Query())
		if err != nil {
			answer(w, http.StatusBadRequest, failure{Schema, err.Error()})
			return
		}
		read(func(ctx context.Context) (any, error) { return r.History(ctx, q) }).ServeHTTP(w, req)
	})
	mux.Handle("POST /v1/sync", write(places, admin, w.Sync))
	mux.Handle("POST /v1/confirm", write(places, admin, w.Confirm))
	mux.Handle("POST /v1/pause", write(places, admin, w.Pause))
	mux.Handle("POST /v1/resume", write(places, admin, w.Resume))
	mux.Handle("GET /v1/adopt", read(func(ctx context.Context) (any, error) { return r.Adoption(ctx) }))
	mux.Handle("POST /v1/adopt", write(places, admin, w.Adopt))
	mux.Handle("POST /v1/reload", write(places, admin, func(ctx context.Context, _ struct{}, by string) (Done, error) { return w.Reload(ctx, by) }))
	return mux
}

// reading answers a verb that changes nothing, atOnce of them at a time: a plan is a whole pass
// without its writes, and must not crowd out the passes.
func reading(turns chan struct{}, ask func(context.Context) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx, cancel := patient(w, req)
		defer cancel()
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return // it waits no more
		}
		got, err := ask(ctx)
		<-turns
		if err != nil {
			answer(w, http.StatusInternalServerError, failure{Schema, err.Error()})
			return
		}
		answer(w, http.StatusOK, got)
	})
}

func write[Req, Ans any](places chan struct{}, admin func(Peer) bool, do func(context.Context, Req, string) (Ans, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		peer, _ := req.Context().Value(peerKey{}).(Peer)
		if !admin(peer) {
			answer(w, http.StatusForbidden, failure{Schema, fmt.Sprintf("%s may look, but not change anything: that is for root and the admin group", peer)})
			return
		}
		var in Req
		if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, bodySize)).Decode(&in); err != nil && !errors.Is(err, io.EOF) {
			answer(w, http.StatusBadRequest, failure{Schema, "the request is not what this verb takes: " + err.Error()})
			return
		}
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		default:
			answer(w, http.StatusServiceUnavailable, failure{Schema, fmt.Sprintf("%d requests that change something are under way: try again when they are done", writers)})
			return
		}
		ctx, cancel := patient(w, req)
		defer cancel()
		if c, ok := req.Context().Value(connKey{}).(*conn); ok {
			c.working.Store(true)
			defer c.working.Store(false)
		}
		got, err := do(ctx, in, peer.String())
		if err != nil {
			answer(w, http.StatusInternalServerError, failure{Schema, err.Error()})
			return
		}
		answer(w, http.StatusOK, got)
	})
}

// patient gives a verb the time of a pass: the server's own limits are for the peer, not for us.
func patient(w http.ResponseWriter, req *http.Request) (context.Context, context.CancelFunc) {
	c := http.NewResponseController(w)
	now := time.Now()
	// Both are supported by net/http's own connections; without them the server's limits hold.
	_ = c.SetReadDeadline(now.Add(workTime + answerTime))
	_ = c.SetWriteDeadline(now.Add(workTime + answerTime))
	return context.WithTimeout(req.Context(), workTime)
}

func answer(w http.ResponseWriter, code int, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		code, data = http.StatusInternalServerError, []byte(`{"schema":"`+Schema+`","error":"the answer cannot be written as JSON"}`)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// A peer that is gone does not want its answer.
	_, _ = w.Write(append(data, '\n'))
}
