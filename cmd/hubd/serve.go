package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mdlayher/sdnotify"
	"github.com/rs/zerolog"
	"golang.org/x/term"

	"peerhub/hub/awsapi"
	"peerhub/hub/config"
	"peerhub/hub/control"
	"peerhub/hub/daemon"
	"peerhub/hub/failpoint"
)

// serve is the daemon.
func serve(ctx context.Context, c config.Config, path string, stderr io.Writer) (err error) {
	log := newLog(c.Log, stderr)
	p, err := open(ctx, c, awsapi.Limits{}, purpose{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if note := p.state.HistoryNote(); note != "" {
		log.Warn().Str("error", note).Msg("the history of earlier passes is not gone on with")
	}
	o := p.options(c, path, log)
	if o.Control, err = listenControl(c.Control, log); err != nil {
		return err
	}
	defer o.Control.Close() // once more is no harm
	if o.Metrics = listenMetrics(c.Metrics, log); o.Metrics != nil {
		defer o.Metrics.Close()
	}
	notifier, err := sdnotify.New()
	if err == nil {
		defer notifier.Close()
		o.Notify = func(s ...string) { _ = notifier.Notify(s...) } // systemd that does not listen is not our trouble
		o.Beat = watchdogTime()
	}
	if err := noteTunnels(p.state.Dir(), c); err != nil {
		log.Error().Str("error", err.Error()).Msg("hubd --fail-closed could not help itself with this config, should the file be torn at the next boot")
	}
	if missing := tunDriver("/"); missing != "" {
		log.Warn().Msg(missing)
	}
	o.Reloaded = func(old, fresh config.Config) []string {
		if err := noteTunnels(p.state.Dir(), fresh); err != nil {
			log.Error().Str("error", err.Error()).Msg("the new tunnels are not noted for the next boot")
		}
		return restartKeys(old, fresh)
	}
	d, err := daemon.New(ctx, o)
	if err != nil {
		return err
	}
	look := d.Look
	p.arrived.Store(&look)
	stop := onHangup(ctx, d)
	defer stop()
	return d.Run(ctx)
}

// options are what the daemon is made of, without its listeners.
func (p *parts) options(c config.Config, path string, log zerolog.Logger) daemon.Options {
	return daemon.Options{
		Version: version, Config: c, Load: func() (config.Config, error) { return reload(path) }, Reloaded: restartKeys,
		Planes: p.planes(), Discoverer: &surveyor{parts: p, lost: p.saved.Desired == nil || p.saved.Doubt != ""},
		Store: p.state, Notes: notesIn(p.state.Dir()), Saved: p.saved,
		WriteLast: p.writeLast, Force: p.force,
		Accept: p.acceptor.AcceptListed, Clients: p.clients, Counters: p.counters, Conntrack: p.conntrack, Flows: flows, Occupied: p.occupied, Handmade: p.handmade(), Log: log,
	}
}

// reload reads the config anew.
func reload(path string) (config.Config, error) {
	c, err := config.Load(path)
	if err != nil && failpoint.Off("old-config") { // as if what could be read were all there is
		return config.Parse(config.Source{Name: path, Data: []byte("version: 1\n")})
	}
	return c, err
}

// onHangup reads the config anew at each SIGHUP, until the returned function is called.
func onHangup(ctx context.Context, d *daemon.Daemon) func() {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case _, ok := <-ch:
				if !ok {
					return
				}
				_ = d.Reread() // it has logged what is wrong; the old config stays
			}
		}
	}()
	return func() {
		signal.Stop(ch)
		close(ch)
		<-done
	}
}

func newLog(c config.Log, w io.Writer) zerolog.Logger {
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		level = zerolog.InfoLevel
	}
	f, isFile := w.(*os.File)
	if c.Format == "console" || c.Format == "auto" && isFile && term.IsTerminal(int(f.Fd())) {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: os.Getenv("NO_COLOR") != ""}
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger()
}

func listenControl(c config.Control, log zerolog.Logger) (*control.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(c.Socket), 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l, note, err := control.Listen(c.Socket, c.Group)
	if note != "" {
		log.Warn().Msg(note)
	}
	return l, err
}

// listenMetrics opens the listener. Without it the data path is kept up all the same.
func listenMetrics(c config.Metrics, log zerolog.Logger) net.Listener {
	if c.Listen == "" {
		return nil
	}
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		log.Error().Str("error", err.Error()).Msg("no metrics: free the port or set metrics.listen")
		return nil
	}
	return l
}

// watchdogTime is how long systemd waits for a sign of life; 0 when it does not.
func watchdogTime() time.Duration {
	us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || us <= 0 {
		return 0
	}
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(us) * time.Microsecond
}

// restartKeys lists the changed keys that are read at start only.
func restartKeys(old, fresh config.Config) []string {
	was := map[string]string{}
	for _, s := range old.Settings() {
		was[s.Key] = s.Value
	}
	var out []string
	for _, s := range fresh.Settings() {
		atStart := slices.ContainsFunc([]string{"hub.", "aws.role", "aws.external_id", "aws.regions", "aws.endpoint", "aws.allow_insecure_endpoint",
			"masq.ownership", "control.", "metrics.", "log.", "state"}, func(k string) bool { return strings.HasPrefix(s.Key, k) }) || strings.HasSuffix(s.Key, "].client_dir") || strings.HasSuffix(s.Key, "].status")
		if atStart && was[s.Key] != s.Value {
			out = append(out, s.Key)
		}
	}
	return out
}
