package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"peerhub/test/fabric"
	"peerhub/test/lab"
)

const (
	memorySpokes  = 125
	memoryClients = 500
	memoryTime    = 75 * time.Second // of watching, one survey and one pass a second
)

var (
	residentLine = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)
	clientsLine  = regexp.MustCompile(`(?m)^hubd_clients (\d+)$`)
	limitLine    = regexp.MustCompile(`(?m)^Environment=GOMEMLIMIT=(\S+)$`)
)

// memory is the resident memory of the real hubd with as many peerings as AWS grants a
// VPC and 500 connected clients in OpenVPN's status, surveying once a second, under the
// memory limit of the unit. Sabotage: no garbage is collected.
func memory(ctx context.Context, sabotage bool) ([]Result, error) {
	const limit, growth = 30.0, 1.0
	dir, err := os.MkdirTemp("", "hubd-bench-")
	if err != nil {
		return nil, fmt.Errorf("make room for a status file: %w", err)
	}
	defer os.RemoveAll(dir)
	status := filepath.Join(dir, "status")
	if err := os.WriteFile(status, []byte(statusOf(memoryClients)), 0o644); err != nil {
		return nil, fmt.Errorf("write a status file: %w", err)
	}
	restore, err := memoryEnvironment(sabotage)
	if err != nil {
		return nil, err
	}
	defer restore()
	var mb []float64
	o := companyOptions{spokes: memorySpokes, peered: true, poll: goodPoll, status: status}
	err = withCompany(ctx, o, func(c *company) error {
		if err := c.settled(ctx); err != nil {
			return err
		}
		if err := c.hasClients(ctx, memoryClients); err != nil {
			return err
		}
		long := memoryTime
		if sabotage {
			long /= 5 // it grows by megabytes a second
		}
		mb, err = c.watchMemory(ctx, long)
		return err
	})
	if err != nil {
		return nil, err
	}
	third := len(mb) / 3
	first, last := mb[:third], mb[len(mb)-third:]
	size := Result{Name: "hubd memory, 125 spokes, 500 clients", Bar: "<= 30 MB resident (the most seen)", Unit: "MB",
		Measured: quantile(mb, 1), Spread: spread(mb), Samples: len(mb), Note: fmt.Sprintf("median %.1f MB", median(mb))}
	flat := Result{Name: "hubd memory, growth", Bar: "<= 1 MB from the first third to the last of " + memoryTime.String(), Unit: "MB",
		Measured: median(last) - median(first), Baseline: median(first), Samples: len(mb)}
	return []Result{below(size, size.Measured, limit), below(flat, flat.Measured, growth)}, nil
}

// memoryEnvironment sets what hubd is started with: the limit of its unit, or with
// sabotage none and no garbage collection. The bench itself has read its own long ago.
func memoryEnvironment(sabotage bool) (restore func(), err error) {
	unit, err := os.ReadFile("deploy/systemd/hubd.service")
	if err != nil {
		return nil, fmt.Errorf("read the unit: %w", err)
	}
	m := limitLine.FindSubmatch(unit)
	if m == nil {
		return nil, fmt.Errorf("the unit sets no GOMEMLIMIT")
	}
	want := map[string]string{"GOMEMLIMIT": string(m[1])}
	if sabotage {
		want = map[string]string{"GOGC": "off"}
	}
	for k, v := range want {
		if err := os.Setenv(k, v); err != nil {
			return nil, fmt.Errorf("set %s: %w", k, err)
		}
	}
	return func() {
		for k := range want {
			_ = os.Unsetenv(k)
		}
	}, nil
}

// statusOf is a status of OpenVPN, version 3, with n clients.
func statusOf(n int) string {
	var clients, routes strings.Builder
	for i := range n {
		name, real := fmt.Sprintf("person-%03d", i), fmt.Sprintf("192.0.2.%d:%d", i%250+1, 40000+i)
		virtual := fmt.Sprintf("172.27.%d.%d", 240+(i+2)/256, (i+2)%256)
		fmt.Fprintf(&clients, "CLIENT_LIST\t%s\t%s\t%s\t\t1616\t5424\t2026-11-21 01:22:25\t1795224145\tUNDEF\t%d\t%d\tAES-256-GCM\n", name, real, virtual, i, i)
		fmt.Fprintf(&routes, "ROUTING_TABLE\t%s\t%s\t%s\t2026-11-21 01:22:25\t1795224145\n", virtual, name, real)
	}
	return "TITLE\tOpenVPN 2.6.14\nTIME\t2026-11-21 01:22:30\t1795224150\n" +
		"HEADER\tCLIENT_LIST\tCommon Name\tReal Address\tVirtual Address\tVirtual IPv6 Address\tBytes Received\tBytes Sent\t" +
		"Connected Since\tConnected Since (time_t)\tUsername\tClient ID\tPeer ID\tData Channel Cipher\n" + clients.String() +
		"HEADER\tROUTING_TABLE\tVirtual Address\tCommon Name\tReal Address\tLast Ref\tLast Ref (time_t)\n" + routes.String() +
		"GLOBAL_STATS\tMax bcast/mcast queue length\t0\nEND\n"
}

// hasClients waits until hubd itself says that so many clients are connected.
func (c *company) hasClients(ctx context.Context, want int) error {
	got := ""
	for range 30 {
		if err := c.surveyed(ctx, 1); err != nil {
			return err
		}
		text, err := c.metrics(ctx)
		if err != nil {
			return err
		}
		if m := clientsLine.FindStringSubmatch(text); m != nil {
			if got = m[1]; got == strconv.Itoa(want) {
				return nil
			}
		}
	}
	return fmt.Errorf("hubd knows %q clients, not %d", got, want)
}

// metrics are hubd's own.
func (c *company) metrics(ctx context.Context) (string, error) {
	return fabric.Exec(ctx, c.Spec.Prefix+lab.HostHub, "curl", "-sS", "--max-time", "5", "http://127.0.0.1:9586/metrics")
}

// watchMemory takes the resident megabytes of hubd once a second; its metrics are read
// meanwhile, as a monitor would.
func (c *company) watchMemory(ctx context.Context, long time.Duration) ([]float64, error) {
	p := c.Process(lab.UnitHubd)
	if p == nil {
		return nil, fmt.Errorf("hubd does not run; see %s", c.HubdDir())
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var mb []float64
	for i := range int(long / time.Second) {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
		if err != nil {
			return nil, fmt.Errorf("read hubd's memory: %w", err)
		}
		m := residentLine.FindSubmatch(text)
		if m == nil {
			return nil, fmt.Errorf("hubd has ended")
		}
		kb, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return nil, fmt.Errorf("read hubd's memory: %w", err)
		}
		mb = append(mb, kb/1024)
		if i%15 == 0 {
			if _, err := c.metrics(ctx); err != nil {
				return nil, err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("watch hubd's memory: %w", ctx.Err())
		}
	}
	return mb, nil
}
