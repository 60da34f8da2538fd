package vpnconf

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
)

// vpn is a real OpenVPN server and clients, each in a namespace and on a cable of its own,
// told apart by the fingerprints of their certificates.
type vpn struct {
	t        *testing.T
	dir, ccd string
	space    map[string]string // by name, "server" included
	remote   map[string]string // the server's address on a client's cable
	prints   map[string]string
}

var vpns int

func newVPN(t *testing.T, names ...string) *vpn {
	t.Helper()
	vpns++
	dir, err := os.MkdirTemp("", "vpnconf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	v := &vpn{t: t, dir: dir, ccd: filepath.Join(dir, "ccd"), space: map[string]string{}, remote: map[string]string{}, prints: map[string]string{}}
	for i, n := range append([]string{"server"}, names...) {
		ns := fmt.Sprintf("vpnconf%d-%d%s", os.Getpid(), vpns, n)
		run(t, "ip", "netns", "add", ns)
		t.Cleanup(func() { run(t, "ip", "netns", "del", ns) })
		v.space[n] = ns
		if i == 0 {
			continue
		}
		v.remote[n] = fmt.Sprintf("192.0.2.%d", 4*i+1)
		hubEnd := fmt.Sprint("e", i)
		run(t, "ip", "link", "add", hubEnd, "netns", v.space["server"], "type", "veth", "peer", "name", "e0", "netns", ns)
		run(t, "ip", "-n", v.space["server"], "addr", "add", v.remote[n]+"/30", "dev", hubEnd)
		run(t, "ip", "-n", v.space["server"], "link", "set", hubEnd, "up")
		run(t, "ip", "-n", ns, "addr", "add", fmt.Sprintf("192.0.2.%d/30", 4*i+2), "dev", "e0")
		run(t, "ip", "-n", ns, "link", "set", "e0", "up")
	}
	if err := os.Mkdir(v.ccd, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, n := range append(names, "server") {
		v.prints[n] = v.certificate(n)
	}
	return v
}

// certificate writes NAME.crt and NAME.key and returns the fingerprint.
func (v *vpn) certificate(name string) string {
	v.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		v.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(int64(len(v.prints) + 1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		v.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		v.t.Fatal(err)
	}
	write(v.t, v.dir, name+".crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(v.t, v.dir, name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	return strings.Join(strings.Fields(fmt.Sprintf("% X", sha256.Sum256(der))), ":")
}

// start runs openvpn with a config until stop or the test's end, and waits for a line of its log.
func (v *vpn) start(ns, name, config, until string) (stop func()) {
	v.t.Helper()
	write(v.t, v.dir, name+".conf", config)
	log, err := os.Create(filepath.Join(v.dir, name+".log"))
	if err != nil {
		v.t.Fatal(err)
	}
	c := exec.Command("ip", "netns", "exec", ns, "openvpn", "--cd", "/", "--config", filepath.Join(v.dir, name+".conf"))
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		v.t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = c.Process.Signal(syscall.SIGTERM)
			_ = c.Wait()
			log.Close()
		}
	}
	v.t.Cleanup(func() {
		stop()
		if v.t.Failed() {
			v.t.Logf("%s:\n%s", name, read(v.t, v.dir, name+".log"))
		}
	})
	eventually(v.t, name+" says "+until, func() bool { return strings.Contains(read(v.t, v.dir, name+".log"), until) })
	return stop
}

func (v *vpn) startServer(more string) (stop func()) {
	var prints []string
	for name, p := range v.prints {
		if name != "server" {
			prints = append(prints, p)
		}
	}
	return v.start(v.space["server"], "server", fmt.Sprintf(`dev tun0
topology subnet
server 172.27.240.0 255.255.252.0
proto udp
port 1194
dh none
cert %[1]s/server.crt
key %[1]s/server.key
<peer-fingerprint>
%[2]s
</peer-fingerprint>
client-config-dir %[1]s/ccd
management %[1]s/m.sock unix
status %[1]s/status 1
keepalive 5 60
verb 3
%[3]s
`, v.dir, strings.Join(prints, "\n"), more), "Initialization Sequence Completed")
}

func (v *vpn) connect(name string) (stop func()) {
	return v.start(v.space[name], name, fmt.Sprintf(`client
dev tun0
remote %[3]s 1194 udp
nobind
cert %[1]s/%[2]s.crt
key %[1]s/%[2]s.key
peer-fingerprint %[4]s
explicit-exit-notify 1
verb 3
`, v.dir, name, v.remote[name], v.prints["server"]), "Initialization Sequence Completed")
}

// routes are the networks the client's kernel sends into the tunnel, without the pool.
func (v *vpn) routes(name string) []string {
	var out []string
	for l := range strings.Lines(run(v.t, "ip", "-n", v.space[name], "route", "show", "dev", "tun0")) {
		if dst := strings.Fields(l)[0]; dst != "172.27.240.0/22" {
			out = append(out, dst)
		}
	}
	slices.Sort(out)
	return out
}

func TestRealClientsGetTheRoutesAndThoseWhoLackThemAreNamed(t *testing.T) {
	v := newVPN(t, "anna", "bob", "carl")
	p := New(Options{Servers: desired(v.ccd).Base.Servers, Status: map[string]string{"people": filepath.Join(v.dir, "m.sock")}})
	d := desired(v.ccd)
	pass(t, p, d)
	write(t, v.ccd, "bob", "ifconfig-push 172.27.240.77 255.255.252.0\n"+include(v.ccd)+"\niroute 172.168.0.0 255.255.255.0\n")
	write(t, v.ccd, "carl", "ifconfig-push 172.27.240.78 255.255.252.0\n")
	v.startServer("")
	second(t) // OpenVPN knows seconds only; who comes within the one of the write would lack it
	leave := v.connect("anna")
	v.connect("bob")
	v.connect("carl")
	all := []string{"10.200.0.0/16", "10.64.0.0/16", "10.96.0.0/11"}
	for name, want := range map[string][]string{"anna": all, "bob": all, "carl": nil} {
		if diff := cmp.Diff(want, v.routes(name)); diff != "" {
			t.Errorf("routes of %s (-want +got):\n%s", name, diff)
		}
	}
	lacks := func() map[string]string {
		clients, probs := p.Clients(t.Context(), d.Base.Servers)
		out := map[string]string{}
		for _, c := range clients {
			out[c.Name] = text(c.Lacks)
			if c.Name == "bob" && (c.Address != netip.MustParseAddr("172.27.240.77") || text(c.Networks) != "172.168.0.0/24") {
				t.Errorf("bob is %+v", c)
			}
		}
		for _, pr := range probs {
			if pr.Code != hub.ClientLacks {
				t.Errorf("problem %+v", pr)
			}
		}
		return out
	}
	everything := "10.64.0.0/16 10.96.0.0/11 10.200.0.0/16"
	if diff := cmp.Diff(map[string]string{"anna": "", "bob": "", "carl": everything}, lacks()); diff != "" {
		t.Errorf("who lacks what (-want +got):\n%s", diff)
	}
	if got := problems(t, p, d); len(got) != 1 || got[0].Code != hub.ClientFileHides || filepath.Base(got[0].Subject) != "carl" {
		t.Errorf("problems %+v", got)
	}

	d.Reaches = append(d.Reaches, reach("vpc-c", "10.201.0.0/16"), reach("vpc-d", "10.97.0.0/16"))
	pass(t, p, d)
	if diff := cmp.Diff(map[string]string{"anna": "10.201.0.0/16", "bob": "10.201.0.0/16", "carl": everything + " 10.201.0.0/16"}, lacks()); diff != "" {
		t.Errorf("who lacks what after one more spoke outside the aggregate and one inside (-want +got):\n%s", diff)
	}
	second(t)
	leave()
	v.connect("anna")
	if got := v.routes("anna"); !slices.Contains(got, "10.201.0.0/16") {
		t.Errorf("anna came again and still lacks the new route: %v", got)
	}
	if diff := cmp.Diff(map[string]string{"anna": "", "bob": "10.201.0.0/16", "carl": everything + " 10.201.0.0/16"}, lacks()); diff != "" {
		t.Errorf("who lacks what after anna came again (-want +got):\n%s", diff)
	}
	// The file and the socket tell the same.
	eventually(t, "the status file is written", func() bool {
		clients, err := ReadStatus(t.Context(), filepath.Join(v.dir, "status"))
		return err == nil && len(clients) == 3
	})
}

// second waits until the clock shows another second.
func second(t *testing.T) {
	now := time.Now().Unix()
	eventually(t, "a second passes", func() bool { return time.Now().Unix() > now })
}

func TestAHundredAndTwentyFiveRoutesArriveAlsoWithoutRoot(t *testing.T) {
	v := newVPN(t, "anna")
	d := desired(v.ccd)
	d.Reaches = nil
	for i := range 125 {
		d.Reaches = append(d.Reaches, reach(fmt.Sprint(i), fmt.Sprintf("10.%d.0.0/16", 128+i%120)))
	}
	d.Base.Servers[0].Aggregates = nil
	d.Reaches = d.Reaches[:120]
	for i := range 5 {
		d.Reaches = append(d.Reaches, reach(fmt.Sprint("x", i), fmt.Sprintf("192.168.%d.0/24", i)))
	}
	p := New(Options{Servers: d.Base.Servers})
	pass(t, p, d)
	for l := range strings.Lines(read(t, v.ccd, routesName)) {
		if len(l) > 255 {
			t.Errorf("%d characters: %s", len(l), l)
		}
	}
	if err := os.Chmod(v.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	v.startServer("user nobody\ngroup nogroup\npersist-tun\npersist-key\n")
	v.connect("anna")
	if got := v.routes("anna"); len(got) != 125 {
		t.Errorf("%d routes arrived, want 125: %v", len(got), got)
	}
}
