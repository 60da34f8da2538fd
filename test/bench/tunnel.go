package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"peerhub/hub"
	"peerhub/test/fabric"
)

const (
	tunnelRounds   = 15
	tunnelPrefixes = 500
	tunnelRules    = 2_000 // linear ones that sabotage adds
	startPatience  = 20 * time.Second
)

// throughput compares TCP through a real OpenVPN tunnel and the hub with our planes and
// with two rules by hand. Two rigs, each with OpenVPN and iperf3 of its own, are measured
// in turn for a second each. OpenVPN's server is one thread, which also carries what it
// decrypts through the hub's rules and out: what arrives for each second of its time is
// what the tunnel can do on a processor of its own, whatever else the machine does.
// Sabotage: 2,000 more rules stand in the way of every packet.
func throughput(ctx context.Context, sabotage bool) ([]Result, error) {
	const limit = 0.98
	var ours, hand, oursWall, handWall []float64
	err := withTunnel(ctx, func(a *tunnel) error {
		return withTunnel(ctx, func(b *tunnel) error {
			if err := errors.Join(a.planes(ctx, tunnelPrefixes, hub.OwnershipPlain), b.byHand(ctx)); err != nil {
				return err
			}
			if _, err := a.pass(ctx); err != nil {
				return err
			}
			if sabotage {
				if err := a.obstruct(ctx, tunnelRules); err != nil {
					return err
				}
			}
			for i := range tunnelRounds {
				turns := []struct {
					t         *tunnel
					cpu, wall *[]float64
				}{{a, &ours, &oursWall}, {b, &hand, &handWall}}
				if i%2 == 1 {
					turns[0], turns[1] = turns[1], turns[0]
				}
				for _, x := range turns {
					cpu, wall, err := x.t.iperf(ctx)
					if err != nil {
						return err
					}
					*x.cpu, *x.wall = append(*x.cpu, cpu), append(*x.wall, wall)
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	ratio, wall := ratios(ours, hand), ratios(oursWall, handWall)
	r := Result{Name: "OpenVPN throughput, ours / two rules by hand", Bar: ">= 0.98", Unit: "Mbit/s", Measured: median(ours), Spread: spread(ratio),
		Baseline: median(hand), Ratio: median(ratio), Samples: len(ratio),
		Note: fmt.Sprintf("a second of OpenVPN's time; on the clock, beside others: %.0f and %.0f Mbit/s, ratio %.3f ±%.3f",
			median(oursWall), median(handWall), median(wall), spread(wall))}
	return []Result{atLeast(r, r.Ratio, limit)}, nil
}

// tunnel is a rig whose client reaches the hub by OpenVPN.
type tunnel struct {
	*rig
	to     netip.Addr
	dir    string
	server int // process id of OpenVPN in the hub
	stops  []func()
}

func withTunnel(ctx context.Context, f func(*tunnel) error) (err error) {
	r, err := newRig(ctx, cable{hub: "wire0", hubEnd: "192.0.2.1/30", farEnd: "192.0.2.2/30", throughTheTunnel: true})
	if err != nil {
		return err
	}
	t := &tunnel{rig: r, to: target(tunnelPrefixes)}
	defer func() {
		for _, stop := range t.stops {
			stop()
		}
		err = errors.Join(err, os.RemoveAll(t.dir), r.close())
	}()
	if t.dir, err = os.MkdirTemp("", "hubd-bench-"); err != nil {
		return fmt.Errorf("make room for OpenVPN's files: %w", err)
	}
	if err := t.connect(ctx); err != nil {
		return err
	}
	if _, err := t.run(ctx, r.beyond, "Server listening on", "iperf3", "--server", "--forceflush", "--bind", t.to.String()); err != nil {
		return err
	}
	return f(t)
}

// connect brings the tunnel up: one server, one client, who know each other by the
// fingerprints of their certificates.
func (t *tunnel) connect(ctx context.Context) error {
	server, err := t.certificate("server")
	if err != nil {
		return err
	}
	client, err := t.certificate("client")
	if err != nil {
		return err
	}
	const common = "dev tun0\ndev-type tun\nproto udp4\ndisable-dco\ndata-ciphers AES-256-GCM\nverb 3\n"
	for name, text := range map[string]string{
		"server": common + "local 192.0.2.1\ntopology subnet\nserver 172.27.240.0 255.255.252.0\npush \"route 10.0.0.0 255.0.0.0\"\ndh none\npeer-fingerprint " + client + "\n",
		"client": common + "client\nremote 192.0.2.1 1194\nnobind\npeer-fingerprint " + server + "\n",
	} {
		text += fmt.Sprintf("cert %[1]s.crt\nkey %[1]s.key\n", filepath.Join(t.dir, name))
		if err := os.WriteFile(filepath.Join(t.dir, name+".conf"), []byte(text), 0o600); err != nil {
			return fmt.Errorf("write OpenVPN's config: %w", err)
		}
	}
	const up = "Initialization Sequence Completed"
	if t.server, err = t.run(ctx, t.hub, up, "openvpn", "--config", filepath.Join(t.dir, "server.conf")); err != nil {
		return err
	}
	_, err = t.run(ctx, t.client, up, "openvpn", "--config", filepath.Join(t.dir, "client.conf"))
	return err
}

// certificate makes a self-signed one, and returns its fingerprint as OpenVPN writes it.
func (t *tunnel) certificate(name string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", fmt.Errorf("make a key: %w", err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature}
	cert, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return "", fmt.Errorf("sign a certificate: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("encode a key: %w", err)
	}
	for ext, b := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: cert}, ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(t.dir, name+ext), pem.EncodeToMemory(b), 0o600); err != nil {
			return "", fmt.Errorf("write a certificate: %w", err)
		}
	}
	sum := sha256.Sum256(cert)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":"), nil
}

// run starts a program that says a word when it is ready, and has it ended with the rig.
func (t *tunnel) run(ctx context.Context, ns, word string, argv ...string) (pid int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := fabric.Command(ctx, ns, argv...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return 0, fmt.Errorf("start %s: %w", argv[0], err)
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	var last string
	go func() {
		defer close(ended)
		sc := bufio.NewScanner(out)
		for found := false; sc.Scan(); {
			last = sc.Text()
			if !found && strings.Contains(last, word) {
				found = true
				close(ready)
			}
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // ended by us
	}()
	t.stops = append(t.stops, func() { cancel(); <-ended })
	timer := time.NewTimer(startPatience)
	defer timer.Stop()
	select {
	case <-ready:
		return cmd.Process.Pid, nil
	case <-ended:
		return 0, fmt.Errorf("%s ended at once: %s", argv[0], last)
	case <-timer.C:
		return 0, fmt.Errorf("%s is not ready after %s", argv[0], startPatience)
	case <-ctx.Done():
		return 0, fmt.Errorf("start %s: %w", argv[0], ctx.Err())
	}
}

// iperf sends over TCP for a second and returns the megabits that arrived: for a second of
// the time of OpenVPN in the hub, and for a second on the clock.
func (t *tunnel) iperf(ctx context.Context) (cpu, wall float64, err error) {
	before, err := ranFor(t.server)
	if err != nil {
		return 0, 0, err
	}
	text, err := fabric.Command(ctx, t.client, "iperf3", "--client", t.to.String(), "--time", "1", "--json").Output()
	if err != nil {
		return 0, 0, fmt.Errorf("iperf3 to %s: %w: %s", t.to, err, text)
	}
	after, err := ranFor(t.server)
	if err != nil {
		return 0, 0, err
	}
	var out struct {
		End struct {
			Received struct {
				Bytes float64 `json:"bytes"`
				Rate  float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return 0, 0, fmt.Errorf("read iperf3's answer: %w", err)
	}
	got := out.End.Received
	if got.Bytes == 0 || after <= before {
		return 0, 0, fmt.Errorf("iperf3 to %s: nothing went through OpenVPN: %s", t.to, text)
	}
	return got.Bytes * 8 / 1e6 / (after - before).Seconds(), got.Rate / 1e6, nil
}

// ranFor is how long a process of one thread has been on a processor.
func ranFor(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if err != nil {
		return 0, fmt.Errorf("read the time of process %d: %w", pid, err)
	}
	var ns int64
	if _, err := fmt.Sscan(string(text), &ns); err != nil {
		return 0, fmt.Errorf("read the time of process %d: %w", pid, err)
	}
	return time.Duration(ns), nil
}
