package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Names of files in the run directory.
const (
	serveLog      = "hublab.log" // of the background process
	controlSocket = "control.sock"
)

// Info is what a lab says of itself.
type Info struct {
	Spec       Spec       `json:"spec"`
	Dir        string     `json:"dir"`
	PID        int        `json:"pid"`
	Since      time.Time  `json:"since"`
	Hosts      []Host     `json:"hosts"`
	Units      []string   `json:"units"`
	Processes  []*Process `json:"processes"`
	Faults     []Fault    `json:"faults"` // that are on
	Requests   int        `json:"requests"`
	Dropped    uint64     `json:"dropped"` // packets
	Endpoint   string     `json:"endpoint"`
	HubdConfig string     `json:"hubd_config"`
	HubdSocket string     `json:"hubd_socket"`
	VPN        vpnFiles   `json:"vpn"`
}

// Drop is a count of packets dropped at one place for one reason.
type Drop struct {
	Place  string `json:"place"` // id of what dropped them
	Name   string `json:"name"`  // the same in words, or the id again
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
	Last   string `json:"last"` // the latest packet
}

// Request is one API request.
type Request struct {
	N         int        `json:"n"` // counts from 1
	Time      time.Time  `json:"time"`
	ID        string     `json:"id"`
	Service   string     `json:"service"`
	Account   string     `json:"account"`
	Region    string     `json:"region"`
	Principal string     `json:"principal"`
	Action    string     `json:"action"`
	Params    url.Values `json:"params"`
	DryRun    bool       `json:"dry_run"`
	Mutating  bool       `json:"mutating"`
	Status    int        `json:"status"`
	Code      string     `json:"code"`
	Message   string     `json:"message"`
}

// Info says what there is.
func (l *Lab) Info() Info {
	i := Info{
		Spec: l.Spec, Dir: l.Dir, PID: os.Getpid(), Since: l.Since.UTC(), Hosts: l.Hosts(), Units: l.Units(),
		Processes: l.Processes(), Faults: []Fault{}, Requests: len(l.Sim.Log()), Endpoint: "http://" + l.Spec.API.String(),
		HubdConfig: l.hubdConfig(), HubdSocket: l.HubdSocket(), VPN: l.VPN,
	}
	for _, f := range l.Faults() {
		if f.Value != "" {
			i.Faults = append(i.Faults, f)
		}
	}
	for _, d := range l.Drops() {
		i.Dropped += d.Count
	}
	return i
}

// Drops lists what was dropped so far, by place and reason.
func (l *Lab) Drops() []Drop {
	out := []Drop{}
	drops := l.Fabric.Drops()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range drops {
		name, ok := l.names[d.Place]
		if !ok {
			name = d.Place
		}
		out = append(out, Drop{d.Place, name, d.Reason, d.Count, d.Last})
	}
	return out
}

// Requests lists the API requests after the first n.
func (l *Lab) Requests(n int) []Request {
	out := []Request{}
	all := l.Sim.Log()
	for i := max(0, n); i < len(all); i++ {
		r := all[i]
		out = append(out, Request{N: i + 1, Time: r.Time.UTC(), ID: r.ID, Service: r.Service, Account: r.Account, Region: r.Region,
			Principal: r.Principal, Action: r.Action, Params: r.Params, DryRun: r.DryRun, Mutating: r.Mutating,
			Status: r.Status, Code: r.Code, Message: r.Message})
	}
	return out
}

// ServeControl answers on the run directory's socket until the context ends.
func (l *Lab) ServeControl(ctx context.Context) error {
	path := filepath.Join(l.Dir, controlSocket)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen on the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return fmt.Errorf("protect the control socket: %w", err)
	}
	srv := &http.Server{Handler: l.handler(), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the control socket: %w", err)
	}
	return nil
}

func (l *Lab) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /info", func(w http.ResponseWriter, _ *http.Request) { reply(w, l.Info(), nil) })
	mux.HandleFunc("GET /drops", func(w http.ResponseWriter, _ *http.Request) { reply(w, l.Drops(), nil) })
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { reply(w, l.Faults(), nil) })
	mux.HandleFunc("POST /faults/{name}", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, l.SetFault(r.PathValue("name"), r.FormValue("value")))
	})
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, r *http.Request) {
		after, err := strconv.Atoi(r.FormValue("after"))
		reply(w, l.Requests(after), err)
	})
	mux.HandleFunc("GET /credentials/{account}", func(w http.ResponseWriter, r *http.Request) {
		c, err := l.Credentials(r.PathValue("account"))
		reply(w, c, err)
	})
	mux.HandleFunc("POST /hosts/{name}/replace", func(w http.ResponseWriter, r *http.Request) {
		h, err := l.Replace(r.Context(), r.PathValue("name"))
		reply(w, h, err)
	})
	mux.HandleFunc("POST /units/{name}/{verb}", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, l.doUnit(r.Context(), r.PathValue("name"), r.PathValue("verb")))
	})
	return mux
}

func (l *Lab) doUnit(ctx context.Context, name, verb string) error {
	switch verb {
	case "start":
		return l.StartUnit(ctx, name)
	case "stop":
		return l.StopUnit(name)
	case "kill":
		return l.KillUnit(name)
	case "restart":
		return l.RestartUnit(ctx, name)
	}
	return fmt.Errorf("no verb %q; there are start, stop, kill, restart", verb)
}

// reply writes a value, or an error as text with status 400.
func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // a client that went away is no error of ours
}
