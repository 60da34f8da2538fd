package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// vpnPort is where the OpenVPN server listens, UDP.
const vpnPort = 1194

// serverName is the common name of the server's certificate.
const serverName = "hub"

// vpnFiles are the paths of the OpenVPN server's files in a run directory.
type vpnFiles struct {
	Dir        string `json:"dir"`
	ClientDir  string `json:"client_dir"` // client-config-dir
	Management string `json:"management"` // unix socket
	Status     string `json:"status"`
}

func newVPNFiles(dir string) vpnFiles {
	d := filepath.Join(dir, "openvpn")
	return vpnFiles{Dir: d, ClientDir: filepath.Join(d, "ccd"), Management: filepath.Join(d, "people.sock"),
		Status: filepath.Join(d, "status")}
}

// write makes the PKI, the config files of server and clients and the site's ccd
// file. The server is as a company left it: it knows its clients and its site, and
// pushes nothing. include is a file of push lines that the site's own file reads,
// "" for none.
func (f vpnFiles) write(s Spec, include string) error {
	if err := os.MkdirAll(f.ClientDir, 0o755); err != nil {
		return fmt.Errorf("make client-config-dir: %w", err)
	}
	ca, err := newAuthority(f.Dir)
	if err != nil {
		return fmt.Errorf("make the lab's PKI: %w", err)
	}
	if err := ca.issue(serverName, true); err != nil {
		return err
	}
	if err := f.put("server.conf", f.server(s)); err != nil {
		return err
	}
	for _, c := range []string{HostLaptop1, HostLaptop2, s.OfficeClient} {
		if err := ca.issue(c, false); err != nil {
			return err
		}
		if err := f.put(c+".conf", f.client(s, c)); err != nil {
			return err
		}
	}
	site := fmt.Sprintf("# %s: the office LAN is behind this client\niroute %s\n", s.OfficeClient, mask(s.OfficeLAN))
	if include != "" {
		site += "config " + include + "\n"
	}
	return os.WriteFile(filepath.Join(f.ClientDir, s.OfficeClient), []byte(site), 0o644)
}

func (f vpnFiles) put(name, text string) error {
	if err := os.WriteFile(filepath.Join(f.Dir, name), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write OpenVPN config: %w", err)
	}
	return nil
}

// server is the server's config. No route for the office LAN: iroute makes none in
// the kernel, that is the hub's business. keepalive is short so that a client
// without a farewell is missed in seconds.
func (f vpnFiles) server(s Spec) string {
	return lines(
		"dev "+s.Tunnel, "dev-type tun", "proto udp4", fmt.Sprintf("port %d", vpnPort),
		"topology subnet", "server "+mask(s.Pool),
		"client-config-dir "+f.ClientDir,
		"management "+f.Management+" unix",
		"status "+f.Status+" 2", "status-version 3",
		f.secrets(serverName), "dh none", "remote-cert-tls client", "verify-client-cert require",
		"keepalive 5 20", "explicit-exit-notify 1", "max-clients 64",
		common)
}

func (f vpnFiles) client(s Spec, name string) string {
	return lines(
		"client", "dev "+clientTunnel, "dev-type tun", "proto udp4", "nobind",
		fmt.Sprintf("remote %s %d", s.HubPublic, vpnPort),
		"connect-retry 1 2", "explicit-exit-notify 1",
		f.secrets(name), "remote-cert-tls server", "verify-x509-name "+serverName+" name",
		common)
}

// clientTunnel is the name of a client's tunnel: it has nothing to do with the server's.
const clientTunnel = "tun0"

func (f vpnFiles) secrets(name string) string {
	at := func(file string) string { return filepath.Join(f.Dir, file) }
	return lines("ca "+at("ca.crt"), "cert "+at(name+".crt"), "key "+at(name+".key"), "tls-crypt "+at("tls-crypt.key"))
}

// common holds for both sides. DCO is off: it is another data path, which not every
// kernel has, and a lab must not differ between machines.
var common = lines("tls-version-min 1.2", "data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305",
	"persist-tun", "persist-key", "script-security 1", "disable-dco", "verb 3")

func lines(l ...string) string {
	var sb strings.Builder
	for _, s := range l {
		sb.WriteString(strings.TrimSuffix(s, "\n") + "\n")
	}
	return sb.String()
}

// pushLine is a line of server config or ccd file that gives clients a route.
func pushLine(p netip.Prefix) string { return fmt.Sprintf("push %q", "route "+mask(p)) }
