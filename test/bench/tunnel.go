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
// with two rules by hand. Two rigs, each with OpenVPN and iperf3 of its own, measured in
// turn for a second each. Sabotage: 2,000 more rules stand in the way of every packet.
func throughput(ctx context.Context, sabotage bool) ([]Result, error) {
	const limit = 0.98
	var ours, hand []float64
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
					t   *tunnel
					out *[]float64
				}{{a, &ours}, {b, &hand}}
				if i%2 == 1 {
					turns[0], turns[1] = turns[1], turns[0]
				}
				for _, x := range turns {
					mbit, err := x.t.iperf(ctx)
					if err != nil {
						return err
					}
					*x.out = append(*x.out, mbit)
				}
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	ratio := ratios(ours, hand)
	r := Result{Name: "OpenVPN throughput, ours / two rules by hand", Bar: ">= 0.98", Unit: "Mbit/s", Measured: median(ours), Spread: spread(ratio),
		Baseline: median(hand), Ratio: median(ratio), Samples: len(ratio)}
	return []Result{atLeast(r, r.Ratio, limit)}, nil
}

// tunnel is a rig whose client reaches the hub by OpenVPN.
type tunnel struct {
	*rig
	to    netip.Addr
	dir   string
	stops []func()
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
	if err := t.run(ctx, r.beyond, "Server listening on", "iperf3", "--server", "--forceflush", "--bind", t.to.String()); err != nil {
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
	if err := t.run(ctx, t.hub, up, "openvpn", "--config", filepath.Join(t.dir, "server.conf")); err != nil {
		return err
	}
	return t.run(ctx, t.client, up, "openvpn", "--config", filepath.Join(t.dir, "client.conf"))
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
func (t *tunnel) run(ctx context.Context, ns, word string, argv ...string) error {
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
		return fmt.Errorf("start %s: %w", argv[0], err)
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
		return nil
	case <-ended:
		return fmt.Errorf("%s ended at once: %s", argv[0], last)
	case <-timer.C:
		return fmt.Errorf("%s is not ready after %s", argv[0], startPatience)
	case <-ctx.Done():
		return fmt.Errorf("start %s: %w", argv[0], ctx.Err())
	}
}

// iperf sends over TCP for a second and returns megabits per second as they arrived.
func (t *tunnel) iperf(ctx context.Context) (float64, error) {
	cmd := fabric.Command(ctx, t.client, "iperf3", "--client", t.to.String(), "--time", "1", "--json")
	text, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("iperf3 to %s: %w: %s", t.to, err, text)
	}
	var out struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal(text, &out); err != nil {
		return 0, fmt.Errorf("read iperf3's answer: %w", err)
	}
	if out.End.Received.Rate == 0 {
		return 0, fmt.Errorf("iperf3 to %s: nothing arrived: %s", t.to, text)
	}
	return out.End.Received.Rate / 1e6, nil
}
