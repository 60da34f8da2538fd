package daemon

import (
	"context"
	"time"

	"peerhub/hub"
	"peerhub/hub/control"
)

// clients is the last list of who is connected.
type clients struct {
	list     []control.Client
	problems []hub.Problem
	at       time.Time // zero: never read
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

// readClients reads the list when the last one is older than age.
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
	list, problems := d.opts.Clients(limited, want)
	if ctx.Err() != nil {
		return // cut short: what it says is not how things are
	}
	d.mu.Lock()
	d.clients = clients{list: list, problems: problems, at: time.Now()}
	d.mu.Unlock()
}
