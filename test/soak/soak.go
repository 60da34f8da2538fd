package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"peerhub/test/fabric"
	"peerhub/test/lab"
	"peerhub/test/soak/admin"
)

// Options of a soak.
type Options struct {
	Seed   uint64
	Length time.Duration // of all of it
	Round  time.Duration // of faults, between two looks
	Pairs  int           // of hosts that are tried at each look
	// Patience is how long the network may take to be as the model says once it rests.
	Patience time.Duration
	Hubctl   string // path of hubctl
	Say      func(format string, args ...any)
}

// Soak is one at work.
type Soak struct {
	Options
	lab      *lab.Lab
	admin    *admin.Admin
	model    *model
	rng      *rand.Rand
	original string // hubd's config
	grown    map[string]bool
	excluded map[string]bool
	tried    int
}

var accountsLine = regexp.MustCompile(`(?m)^accounts: .*$`)

// New makes a soak of a lab that is up.
func New(l *lab.Lab, o Options) (*Soak, error) {
	b, err := os.ReadFile(configPath(l))
	if err != nil {
		return nil, err
	}
	a := admin.New(l)
	return &Soak{Options: o, lab: l, admin: a, model: &model{l, a}, rng: rand.New(rand.NewPCG(o.Seed, 0)),
		original: string(b), grown: map[string]bool{}, excluded: map[string]bool{}}, nil
}

// Run soaks: rounds of random events, and a look after each. In the second half hubd is
// not ended any more, so that what it holds can be seen to stay flat.
func (s *Soak) Run(ctx context.Context) error {
	if err := s.plant(ctx); err != nil {
		return err
	}
	before, err := s.foreign(ctx)
	if err != nil {
		return err
	}
	var first *holding
	began := time.Now()
	for round := 1; first == nil || time.Since(began) < s.Length; round++ {
		restful := time.Since(began) >= s.Length/2
		if err := s.round(ctx, restful && round > 1); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		if err := s.Look(ctx); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		now, err := s.holds(ctx)
		if err != nil {
			return err
		}
		s.Say("round %d, %d s: model and reality agree, %d pairs tried so far; hubd holds %v", round, int(time.Since(began).Seconds()), s.tried, now)
		if restful && round > 1 && first == nil {
			first = &now
		} else if first != nil {
			if err := first.flat(now); err != nil {
				return err
			}
		}
	}
	after, err := s.foreign(ctx)
	if err != nil {
		return err
	}
	if before != after {
		return fmt.Errorf("something foreign changed; it was\n%s\nand is\n%s", before, after)
	}
	return nil
}

// round lets random things happen.
func (s *Soak) round(ctx context.Context, restful bool) error {
	for began := time.Now(); time.Since(began) < s.Round; {
		e := choose(s.rng, restful)
		detail, err := e.do(s, ctx)
		s.Say("%s: %s", e.name, detail)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", e.name, detail, err)
		}
		if err := s.pass(ctx, time.Duration(s.rng.IntN(1500))*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// pass lets time pass.
func (s *Soak) pass(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Look waits until tables and kernel are as the model says, then tries random pairs of
// hosts by packet. The operator lets go what hubd held, as one does who has looked.
func (s *Soak) Look(ctx context.Context) error {
	if err := s.healthy(); err != nil {
		return err
	}
	if err := s.settled(ctx); err != nil {
		return err
	}
	return s.try(ctx)
}

// settled waits until tables and kernel are as the model says and hubd has nothing to do.
func (s *Soak) settled(ctx context.Context) error {
	err := s.until(ctx, func() error {
		if _, err := s.hubctl(ctx, "sync", "--yes", "--allow-removals"); err != nil {
			return err
		}
		if _, err := s.hubctl(ctx, "plan"); err != nil {
			return err
		}
		return s.model.compare(ctx)
	})
	if err != nil {
		said, serr := s.hubctl(ctx, "status")
		return fmt.Errorf("model and reality differ: %w; hubctl status says %v\n%s", err, serr, said)
	}
	return nil
}

// until asks again until f is content, or patience ends.
func (s *Soak) until(ctx context.Context, f func() error) error {
	end := time.Now().Add(s.Patience)
	for {
		err := f()
		if err == nil || time.Now().After(end) {
			return err
		}
		if perr := s.pass(ctx, 100*time.Millisecond); perr != nil {
			return errors.Join(err, perr)
		}
	}
}

// hubctl runs hubctl on the hub. Exit code 2 with problems of others is no failure of sync.
func (s *Soak) hubctl(ctx context.Context, args ...string) (string, error) {
	cmd := fabric.Command(ctx, s.lab.Spec.Prefix+lab.HostHub, append([]string{s.Hubctl, "--config", configPath(s.lab)}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil && args[0] == "sync" && cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 2 {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("hubctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// pair is two hosts, one of which asks the other for its page.
type pair struct {
	from, to lab.Host
	want     bool
}

// try asks for pages between random hosts: those that should arrive must, and no other may.
func (s *Soak) try(ctx context.Context) error {
	spokes, err := s.model.spokes(ctx)
	if err != nil {
		return err
	}
	var from, to []lab.Host
	for _, h := range s.lab.Spec.Hosts() {
		switch h.Kind {
		case lab.KindOffice, lab.KindLaptop:
			from = append(from, h, h, h) // they are what the hub is for
		case lab.KindService:
			from, to = append(from, h), append(to, h)
		}
	}
	var wg sync.WaitGroup
	gate := make(chan struct{}, 6)
	errs := make([]error, s.Pairs)
	for i := range s.Pairs {
		p := pair{from: one(s, from...), to: one(s, to...)}
		if p.from.Kind == lab.KindService && p.from.VPC == p.to.VPC {
			p.from = from[0] // neighbours are none of the hub's business
		}
		p.want = p.from.Kind != lab.KindService && s.admits(p.to) && (p.to.Name == lab.HostInfra || reach(spokes, p.to.Addresses[0]))
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			errs[i] = s.ask(ctx, p)
		})
	}
	wg.Wait()
	s.tried += s.Pairs
	return errors.Join(errs...)
}

// admits says whether a host's own security group lets anybody in.
func (s *Soak) admits(h lab.Host) bool { return !strings.HasSuffix(h.Name, "-closed") }

func (s *Soak) ask(ctx context.Context, p pair) error {
	fetch := func(seconds string) (string, error) {
		return fabric.Exec(ctx, p.from.Namespace, "curl", "-sS", "--max-time", seconds, "http://"+p.to.Addresses[0].String()+"/")
	}
	if !p.want {
		if page, err := fetch("1"); err == nil {
			return fmt.Errorf("%s reaches %s and must not: %q", p.from.Name, p.to.Name, page)
		}
		return nil
	}
	err := s.until(ctx, func() error {
		page, err := fetch("3")
		if err == nil && !strings.Contains(page, "host="+p.to.Name+" client="+s.lab.Spec.HubAddress().String()) {
			err = fmt.Errorf("it says %q", page)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s does not reach %s: %w", p.from.Name, p.to.Name, err)
	}
	return nil
}

// foreignRules are somebody else's.
const foreignRules = `table inet acme
delete table inet acme
table inet acme {
	set s { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 }; }
	chain in { type filter hook input priority 50; ip saddr @s counter drop comment "acme"; }
}
`

func (s *Soak) foreignFile() string { return filepath.Join(s.lab.Dir, "acme.nft") }

// plant makes things that are not hubd's: none may change.
func (s *Soak) plant(ctx context.Context) error {
	if err := os.WriteFile(s.foreignFile(), []byte(foreignRules), 0o644); err != nil {
		return err
	}
	gateway := s.lab.Spec.HubSubnet().Addr().Next()
	return errors.Join(
		s.onHub(ctx, fmt.Sprintf("nft -f %s && ip route add 198.18.0.0/15 via %s dev %s proto static && ip route add blackhole 203.0.113.192/28 table 77 && ip rule add from 192.0.2.7 lookup 77 priority 700",
			s.foreignFile(), gateway, s.lab.Spec.HubInterface)),
		os.WriteFile(filepath.Join(s.lab.VPN.ClientDir, "acme"), []byte("# somebody else's\n"), 0o644),
		s.lab.Sim.AddRoute(s.lab.Spec.ID("rtb", "hub-main"), netip.MustParsePrefix("10.255.0.0/24"), s.lab.Spec.ID("pcx", s.lab.Spec.Services[0].Host)))
}

// foreign is all that is not hubd's, as other programs print it.
func (s *Soak) foreign(ctx context.Context) (string, error) {
	out, err := fabric.Exec(ctx, s.lab.Spec.Prefix+lab.HostHub, "sh", "-c",
		"nft -s list table inet acme; ip rule | grep -v '^267'; ip -6 rule | grep -v '^267'; ip -4 route show table main | grep -v 'proto 104'; ip route show table 77; cat "+
			filepath.Join(s.lab.VPN.ClientDir, "acme"))
	var routes []string
	for _, t := range s.lab.Sim.Network().Tables {
		for _, r := range t.Routes {
			if !strings.HasPrefix(r.Target, "pcx-") && r.Target != "local" || strings.HasPrefix(r.Destination.String(), "10.255.") {
				routes = append(routes, fmt.Sprintf("%s %s %s", t.ID, r.Destination, r.Target))
			}
		}
	}
	slices.Sort(routes)
	return out + strings.Join(routes, "\n"), err
}
