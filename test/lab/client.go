package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Client speaks with a lab in another process.
type Client struct {
	dir  string
	http http.Client
}

// Dial makes a client of the lab in that run directory. ErrNotUp when none answers.
func Dial(dir string) (*Client, error) {
	socket := filepath.Join(dir, controlSocket)
	if !answers(socket) {
		return nil, fmt.Errorf("%w (nobody answers on %s)", ErrNotUp, socket)
	}
	return &Client{dir: dir, http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}, nil
}

// Info says what there is.
func (c *Client) Info(ctx context.Context) (i Info, err error) {
	return i, c.do(ctx, http.MethodGet, "/info", &i)
}

// Drops lists what was dropped so far.
func (c *Client) Drops(ctx context.Context) (d []Drop, err error) {
	return d, c.do(ctx, http.MethodGet, "/drops", &d)
}

// Requests lists the API requests after the first n.
func (c *Client) Requests(ctx context.Context, n int) (r []Request, err error) {
	return r, c.do(ctx, http.MethodGet, fmt.Sprintf("/requests?after=%d", n), &r)
}

// Faults lists every fault.
func (c *Client) Faults(ctx context.Context) (f []Fault, err error) {
	return f, c.do(ctx, http.MethodGet, "/faults", &f)
}

// SetFault begins, changes or ends a fault.
func (c *Client) SetFault(ctx context.Context, name, value string) error {
	return c.do(ctx, http.MethodPost, "/faults/"+url.PathEscape(name)+"?value="+url.QueryEscape(value), nil)
}

// Credentials are the administrator's keys of an account.
func (c *Client) Credentials(ctx context.Context, account string) (k Credentials, err error) {
	return k, c.do(ctx, http.MethodGet, "/credentials/"+url.PathEscape(account), &k)
}

// Unit starts, stops, kills or restarts a unit.
func (c *Client) Unit(ctx context.Context, name, verb string) error {
	return c.do(ctx, http.MethodPost, "/units/"+url.PathEscape(name)+"/"+url.PathEscape(verb), nil)
}

// Replace ends a host's instance and puts another in its place, which it returns.
func (c *Client) Replace(ctx context.Context, name string) (h Host, err error) {
	return h, c.do(ctx, http.MethodPost, "/hosts/"+url.PathEscape(name)+"/replace", &h)
}

// Runner types lines of the recipe into the client's lab.
func (c *Client) Runner(ctx context.Context, spec Spec) Runner {
	return Runner{Spec: spec, Dir: c.dir, Credentials: func(account string) (Credentials, error) { return c.Credentials(ctx, account) }}
}

func (c *Client) do(ctx context.Context, method, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, nil)
	if err != nil {
		return fmt.Errorf("ask the lab: %w", err)
	}
	resp, err := c.http.Do(req)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return ErrNotUp
	}
	if err != nil {
		return fmt.Errorf("ask the lab: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		return errors.Join(errors.New(strings.TrimSpace(string(text))), err)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the lab's answer: %w", err)
	}
	return nil
}

// ServeLog is the log of the background process of the lab in that run directory.
func ServeLog(dir string) string { return filepath.Join(dir, serveLog) }
