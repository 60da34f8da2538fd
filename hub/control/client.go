package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"

	"golang.org/x/sys/unix"

	"peerhub/hub"
)

// ErrDown means that no hubd answers on the socket.
var ErrDown = errors.New("hubd does not run")

// ErrRefused means that the peer may not do what it asked.
var ErrRefused = errors.New("refused")

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 64 << 20

// Caller asks a hubd.
type Caller struct {
	path string
	http *http.Client
}

// NewCaller returns a caller for the socket at path; nothing is opened before the first question.
func NewCaller(path string) *Caller {
	var d net.Dialer
	return &Caller{path: path, http: &http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) },
		DisableKeepAlives: true,
	}}}
}

// Status asks for all that hubd knows. Everybody who can connect may.
func (c *Caller) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, http.MethodGet, "status", nil)
}

// Plan asks what a pass would do now.
func (c *Caller) Plan(ctx context.Context) (Plan, error) {
	return ask[Plan](ctx, c, http.MethodGet, "plan", nil)
}

// Config asks for the config in use.
func (c *Caller) Config(ctx context.Context) (Config, error) {
	return ask[Config](ctx, c, http.MethodGet, "config", nil)
}

// Desired asks what the last pass wanted.
func (c *Caller) Desired(ctx context.Context) (hub.Desired, error) {
	return ask[hub.Desired](ctx, c, http.MethodGet, "desired", nil)
}

// Adoption asks what was made by hand on this hub. Everybody who can connect may.
func (c *Caller) Adoption(ctx context.Context) (Adoption, error) {
	return ask[Adoption](ctx, c, http.MethodGet, "adopt", nil)
}

// Adopt asks hubd to take over, and waits for its end. Root and the group may.
func (c *Caller) Adopt(ctx context.Context, req AdoptRequest) (Adoption, error) {
	return ask[Adoption](ctx, c, http.MethodPost, "adopt", req)
}

// Reload asks hubd to read its config anew. Root and the group may.
func (c *Caller) Reload(ctx context.Context) (Done, error) {
	return ask[Done](ctx, c, http.MethodPost, "reload", struct{}{})
}

// Sync asks for a pass now and waits for its end. Root and the group may.
func (c *Caller) Sync(ctx context.Context, req SyncRequest) (Synced, error) {
	return ask[Synced](ctx, c, http.MethodPost, "sync", req)
}

// Confirm says that a sync may stay, or asks to have it put back at once. Root and the group may.
func (c *Caller) Confirm(ctx context.Context, req ConfirmRequest) (Synced, error) {
	return ask[Synced](ctx, c, http.MethodPost, "confirm", req)
}

// History asks for what changed. Everybody who can connect may.
func (c *Caller) History(ctx context.Context, q hub.HistoryQuery) (History, error) {
	return ask[History](ctx, c, http.MethodGet, "history?"+historyValues(q).Encode(), nil)
}

// Pause asks that places be left alone for a while. Root and the group may.
func (c *Caller) Pause(ctx context.Context, req PauseRequest) (Paused, error) {
	return ask[Paused](ctx, c, http.MethodPost, "pause", req)
}

// Resume ends a pause. Root and the group may.
func (c *Caller) Resume(ctx context.Context, req ResumeRequest) (Paused, error) {
	return ask[Paused](ctx, c, http.MethodPost, "resume", req)
}

func ask[T any](ctx context.Context, c *Caller, method, verb string, in any) (T, error) {
	var out T
	err := c.do(ctx, method, verb, in, &out)
	return out, err
}

func (c *Caller) do(ctx context.Context, method, verb string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s: %w", verb, err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://hubd/v1/"+verb, body)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	resp, err := c.http.Do(req)
	for again := 0; again < 3 && in == nil && lost(err) && ctx.Err() == nil; again++ { // a crowd took its place
		resp, err = c.http.Do(req)
	}
	if err != nil {
		return c.unreached(verb, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s: read hubd's answer: %w", verb, err)
	}
	if resp.StatusCode != http.StatusOK {
		return failed(verb, resp.StatusCode, data)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s: read hubd's answer: %w", verb, err)
	}
	return nil
}

// lost reports whether the connection was taken away before there was an answer.
func lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// unreached says why there was no answer, and what to do about it.
func (c *Caller) unreached(verb string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("%w (nobody answers on %s): systemctl start hubd", ErrDown, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %s is for root and its group: use sudo, or join the group", ErrRefused, c.path)
	case lost(err):
		return fmt.Errorf("%s: hubd hung up: too many others ask at once; try again", verb)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: hubd did not answer in time; see --timeout and journalctl -u hubd", verb)
	}
	return fmt.Errorf("%s: ask hubd on %s: %w", verb, c.path, err)
}

func failed(verb string, code int, data []byte) error {
	var f failure
	if json.Unmarshal(data, &f) != nil || f.Error == "" {
		f.Error = fmt.Sprintf("hubd answered %d %s", code, http.StatusText(code))
	}
	if code == http.StatusForbidden {
		return fmt.Errorf("%s: %w: %s", verb, ErrRefused, f.Error)
	}
	return fmt.Errorf("%s: %s", verb, f.Error)
}
