package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"peerhub/hub"
	"peerhub/hub/control"
)

// clients is the last list of who is connected.
type clients struct {
	list []control.Client
	at   time.Time // zero: never read
	err  error
}

// keepClients reads the list on its own timer and after passes, so that no pass waits for OpenVPN.
func (d *Daemon) keepClients(ctx context.Context) error {
	if d.opts.Clients == nil {
		return nil
	}
	tick := time.NewTicker(clientsAge)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-d.count:
		}
		d.readClients(ctx, passGap)
	}
}

// readClients reads the list when the last one is older than age. A list that cannot be read
// keeps the last one.
func (d *Daemon) readClients(ctx context.Context, age time.Duration) {
	d.mu.Lock()
	old := d.clients
	var want hub.Desired
	if d.prev != nil {
		want = *d.prev
	}
	d.mu.Unlock()
	if d.opts.Clients == nil || time.Since(old.at) < age {
		return
	}
	limited, cancel := context.WithTimeout(ctx, clientsTime)
	defer cancel()
	list, err := d.opts.Clients(limited, want)
	if ctx.Err() != nil && err != nil {
		return
	}
	fresh := clients{list: list, at: time.Now()}
	if err != nil {
		fresh.err = fmt.Errorf("read who is connected: %w", err)
		if errors.Is(err, context.DeadlineExceeded) {
			fresh.err = fmt.Errorf("OpenVPN does not answer on its management socket: %w", err)
		}
		if list == nil {
			fresh.list = old.list
		}
	}
	d.mu.Lock()
	d.clients = fresh
	d.mu.Unlock()
}
