package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"peerhub/test/ec2sim"
	"peerhub/test/fabric"
)

// Options of a lab; the zero value works.
type Options struct {
	Dir         string              // run directory; "": RunDir(Spec.Prefix)
	WithoutHubd bool                // the hub has OpenVPN and nothing of ours
	Hubd        string              // path of hubd; "": hubd beside the running program
	HubdConfig  string              // a config for hubd instead of the lab's own
	HubdEdit    func(string) string // what to change in the lab's own config; nil: nothing
	HubdEnv     []string            // variables for hubd, beside this program's own
	OpenVPN     string              // path of openvpn; "": the one on PATH
	Sim         ec2sim.Options      // delays, quotas, throttling
	Talk        io.Writer           // what goes on, a line at a time; nil: nothing
}

// Lab is a company that is up. Its methods may be called at once from anywhere.
type Lab struct {
	Spec   Spec
	Dir    string // run directory: config files, logs, sockets, the record
	Sim    *ec2sim.Sim
	Fabric *fabric.Fabric
	VPN    vpnFiles
	Since  time.Time

	opt      Options
	talk     *log.Logger
	lock     *os.File
	record   record
	services *services
	units    []unit
	stopSync func()                         // ends the goroutine that feeds the fabric
	network  atomic.Pointer[ec2sim.Network] // what the fabric obeys
	hub      atomic.Pointer[Host]           // since the hub was replaced; nil before

	mu        sync.Mutex // guards all below
	processes []*Process
	faultsOn  map[string]string
	names     map[string]string // of AWS objects, by id
}

// Start builds the lab and returns when the services answer and every VPN client is
// connected. What a killed lab left in the same run directory is removed first.
// On failure nothing stays.
func Start(ctx context.Context, spec Spec, opt Options) (*Lab, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	if err := opt.complete(spec); err != nil {
		return nil, err
	}
	lock, err := holdDir(opt.Dir)
	if err != nil {
		return nil, err
	}
	if err := sweepRest(opt.Dir); err != nil {
		lock.Close()
		return nil, err
	}
	l := &Lab{
		Spec: spec, Dir: opt.Dir, VPN: newVPNFiles(opt.Dir), Since: time.Now(),
		opt: opt, talk: log.New(opt.Talk, "", 0), lock: lock,
		record:   record{Prefix: spec.Prefix, Server: thisProcess(), dir: opt.Dir},
		services: newServices(), stopSync: func() {}, names: spec.names(), faultsOn: map[string]string{},
	}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"record", func(context.Context) error { return l.record.save() }},
		{"simulated AWS", l.startCloud},
		{"hosts", l.makeHosts},
		{"wires", l.plugIn},
		{"office", l.wireOffice},
		{"services", l.serve},
		{"VPN", l.startVPN},
	} {
		l.talk.Printf("%s", step.what)
		if err := step.do(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("start the lab: %s: %w", step.what, err), l.Close())
		}
	}
	return l, nil
}

func (o *Options) complete(spec Spec) error {
	if os.Geteuid() != 0 {
		return errors.New("the lab needs root: it makes network namespaces")
	}
	if o.Dir == "" {
		o.Dir = RunDir(spec.Prefix)
	}
	if o.Talk == nil {
		o.Talk = io.Discard
	}
	if o.OpenVPN == "" {
		o.OpenVPN = "openvpn"
	}
	if o.Hubd == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find hubd beside this program: %w", err)
		}
		o.Hubd = filepath.Join(filepath.Dir(self), "hubd")
	}
	tools := []string{o.OpenVPN, "ip", "iptables"}
	if !o.WithoutHubd {
		tools = append(tools, o.Hubd)
	}
	for _, t := range tools {
		if _, err := exec.LookPath(t); err != nil {
			return fmt.Errorf("the lab needs the program %s: %w", t, err)
		}
	}
	return nil
}

// sweepRest removes what a killed lab left, but not the directory, which is held.
func sweepRest(dir string) error {
	r, err := readRecord(dir)
	if err != nil {
		return err
	}
	if err := r.sweep(); err != nil {
		return fmt.Errorf("remove the rest of an earlier lab in %s: %w", dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("remove the rest of an earlier lab: %w", err)
	}
	for _, e := range entries {
		if e.Name() == "lock" || e.Name() == serveLog {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove the rest of an earlier lab: %w", err)
		}
	}
	return nil
}

// startCloud seeds the simulated AWS and makes the fabric obey it.
func (l *Lab) startCloud(context.Context) error {
	sim, err := seed(l.Spec, l.opt.Sim)
	if err != nil {
		return err
	}
	l.Sim = sim
	l.Fabric = fabric.New(fabric.Options{API: l.Spec.API, Logf: l.talk.Printf})
	l.obey()
	changed, cancel := sim.Watch()
	var wg sync.WaitGroup
	wg.Go(func() {
		for range changed {
			l.obey()
		}
	})
	l.stopSync = func() { cancel(); wg.Wait() }
	return nil
}

// obey brings the data plane to the cloud's present state.
func (l *Lab) obey() {
	n := l.Sim.Network()
	l.network.Store(&n)
	l.Fabric.Update(n)
}

func (l *Lab) makeHosts(context.Context) error {
	for _, h := range l.Spec.Hosts() {
		if err := l.record.addNamespace(h.Namespace); err != nil {
			return err
		}
	}
	return l.looseFilter(context.Background())
}

// looseFilter gives the hub's kernel the reverse path filter of Debian and Amazon Linux.
func (l *Lab) looseFilter(ctx context.Context) error {
	_, err := fabric.Exec(ctx, l.Spec.Prefix+HostHub, "sysctl", "-qw",
		"net.ipv4.conf.all.rp_filter=2", "net.ipv4.conf.default.rp_filter=2")
	return err
}

// plugIn connects every host but the desk to the fabric.
func (l *Lab) plugIn(context.Context) error {
	for _, h := range l.Spec.Hosts() {
		var err error
		switch {
		case h.Kind == KindOffice:
		case h.Kind == KindCloud:
			err = errors.Join(l.Fabric.AttachCloud(h.Namespace, uplink), l.Fabric.ConfigureCloud())
		case h.ENI == "":
			err = errors.Join(l.Fabric.AttachInternet(h.Namespace, uplink, h.Public, macOf(h.Public)), l.Fabric.ConfigureInternet(h.Public))
		default:
			name := uplink
			if h.Kind == KindHub {
				name = l.Spec.HubInterface
			}
			err = errors.Join(l.Fabric.AttachENI(h.Namespace, name, h.ENI), l.Fabric.ConfigureENI(h.ENI))
		}
		if err != nil {
			return fmt.Errorf("plug in %s: %w", h.Name, err)
		}
	}
	return nil
}

// Names of interfaces: of every host toward the outside, and of the office's
// router toward its LAN.
const (
	uplink   = "eth0"
	officeIf = "lan0"
)

func macOf(a netip.Addr) []byte {
	b := a.As4()
	return append([]byte{0x02, 0x1a}, b[:]...)
}

// wireOffice makes the LAN: one cable, a desk, a router that hides the LAN from the
// internet as offices do, and does not hide it from the tunnel.
func (l *Lab) wireOffice(ctx context.Context) error {
	gw, desk := l.Spec.Prefix+HostOfficeGW, l.Spec.Prefix+HostOffice
	bits := fmt.Sprintf("/%d", l.Spec.OfficeLAN.Bits())
	router, host := nth(l.Spec.OfficeLAN, 1).String(), nth(l.Spec.OfficeLAN, 10).String()
	for _, args := range [][]string{
		{"ip", "link", "add", officeIf, "type", "veth", "peer", "name", uplink, "netns", desk},
		{"ip", "address", "add", router + bits, "dev", officeIf},
		{"ip", "link", "set", officeIf, "up"},
		{"sysctl", "-qw", "net.ipv4.ip_forward=1"},
		{"iptables", "-t", "nat", "-A", "POSTROUTING", "-o", uplink, "-j", "MASQUERADE"},
	} {
		if _, err := fabric.Exec(ctx, gw, args...); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"ip", "address", "add", host + bits, "dev", uplink},
		{"ip", "link", "set", uplink, "up"},
		{"ip", "route", "add", "default", "via", router},
	} {
		if _, err := fabric.Exec(ctx, desk, args...); err != nil {
			return err
		}
	}
	return nil
}

// serve starts the API, the IMDS, and what the hosts answer with.
func (l *Lab) serve(context.Context) error {
	aws := l.Spec.Prefix + HostAWS
	imds := l.Sim.IMDSHandler(l.instanceOf)
	errs := []error{
		l.services.http(aws, l.Spec.API.String()+":80", l.Sim.APIHandler()),
		l.services.http(aws, "169.254.169.254:80", imds),
		l.services.ssh(l.Spec.Prefix+HostHub, HostHub),
	}
	for _, h := range l.Spec.Hosts() {
		if h.Kind == KindService {
			errs = append(errs, l.services.company(h.Namespace, h.Name, l.Spec.VPCName(h)))
		}
	}
	return errors.Join(errs...)
}

// instanceOf tells whose request reached the IMDS. It is called while the simulated
// AWS answers and must not ask it.
func (l *Lab) instanceOf(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	eni := l.Fabric.ENIOf(from.Addr())
	for _, i := range l.network.Load().Interfaces {
		if i.ID == eni {
			return i.Instance
		}
	}
	return ""
}

// Close removes the lab: programs, services, wires, namespaces, files. It may be
// called on a lab half built, and again.
func (l *Lab) Close() error {
	l.mu.Lock()
	procs := slices.Clone(l.processes)
	l.mu.Unlock()
	var wg sync.WaitGroup
	for _, p := range procs {
		wg.Go(p.stop) // at once: each OpenVPN client spends a second on its farewell
	}
	wg.Wait()
	l.services.close()
	l.stopSync()
	if l.Fabric != nil {
		l.Fabric.Close()
	}
	if l.Sim != nil {
		l.Sim.Close()
	}
	if l.lock == nil {
		return nil
	}
	err := wipe(l.Dir)
	err = errors.Join(err, l.lock.Close())
	l.lock = nil
	return err
}
