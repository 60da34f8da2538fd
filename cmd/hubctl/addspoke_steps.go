package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"peerhub/hub"
	"peerhub/hub/awsapi"
	"peerhub/hub/config"
	"peerhub/hub/control"
	"peerhub/hub/peering"
	"peerhub/hub/state"
)

// workplace is the two accounts, opened, and what is to be peered.
type workplace struct {
	request   peering.Request
	openHub   func(context.Context) (peering.API, error)
	openSpoke func(context.Context) (peering.API, error) // nil: the other side is its owner's
}

func (w workplace) options(dryRun bool, tell func(peering.Event)) peering.Options {
	return peering.Options{OpenHub: w.openHub, OpenSpoke: w.openSpoke, Tell: tell, DryRun: dryRun, Every: 500 * time.Millisecond}
}

// open finds out who the hub is and how its accounts are entered.
func (a *app) open(ctx context.Context, c config.Config, o order) (workplace, error) {
	// Nobody asks again after this program: it takes its time where AWS is busy.
	opts := awsapi.Options{Endpoint: c.AWS.Endpoint, AllowInsecure: c.AWS.AllowInsecureEndpoint, Limits: awsapi.Limits{MaxAttempts: 5, MaxBackoff: 10 * time.Second}}
	sessions, err := awsapi.New(ctx, opts)
	if err != nil {
		return workplace{}, err
	}
	home, vpc, err := a.home(ctx, c, sessions)
	if err != nil {
		return workplace{}, err
	}
	spoke := hub.Scope{Account: hub.AccountID(o.account), Region: hub.Region(o.region)}
	if spoke.Region == "" {
		spoke.Region = home.Region
	}
	w := workplace{request: peering.Request{Hub: home, HubVPC: vpc, Spoke: spoke, SpokeVPC: hub.VPCID(o.vpc), Name: o.name}}
	client := func(s *awsapi.Sessions, scope hub.Scope, role awsapi.Role) func(context.Context) (peering.API, error) {
		return func(ctx context.Context) (peering.API, error) {
			api, err := s.EC2(ctx, scope, role)
			if err != nil {
				return nil, err
			}
			return api, nil
		}
	}
	w.openHub = client(sessions, home, awsapi.Role{})
	own := c.Policy.Accounts[spoke.Account]
	if o.role != "" {
		own.Role = o.role
	}
	role, enter := awsapi.Roles{Default: c.AWS.Role, ExternalID: c.AWS.ExternalID}.For(spoke.Account, own, home.Region, "hubctl")
	switch {
	case o.profile != "":
		opts.Profile = o.profile
		theirs, err := awsapi.New(ctx, opts)
		if err != nil {
			return workplace{}, err
		}
		w.openSpoke = client(theirs, spoke, awsapi.Role{})
	case spoke.Account == home.Account:
		w.openSpoke = client(sessions, spoke, awsapi.Role{})
	case enter:
		w.openSpoke = client(sessions, spoke, role)
	}
	return w, nil
}

// home is the hub's account, region and VPC: as hubd says, or its last report, or the config.
func (a *app) home(ctx context.Context, c config.Config, sessions *awsapi.Sessions) (hub.Scope, hub.VPCID, error) {
	s, err := a.caller().Status(ctx)
	if err != nil {
		if lerr := state.ReadLast(c.State, &s); lerr == nil {
			a.say("hubd does not run: it will reach the spoke when it does")
		}
	}
	scope := hub.Scope{Account: hub.AccountID(s.Hub.Account), Region: s.Hub.Region}
	if scope.Account != "" && scope.Region != "" && s.Hub.VPC != "" {
		return scope, s.Hub.VPC, nil
	}
	if c.Hub.Region == "" || c.Hub.VPC == "" {
		return scope, "", fmt.Errorf("the hub VPC is not known: hubd does not say, and hub.region and hub.vpc are not in %s", a.config)
	}
	who, err := sessions.Identity(ctx, hub.Scope{Region: c.Hub.Region}, awsapi.Role{})
	if err != nil {
		return scope, "", err
	}
	return hub.Scope{Account: who.Account, Region: c.Hub.Region}, c.Hub.VPC, nil
}

// listedAs says where the account is listed, "" when it is not.
func listedAs(c config.Config, o order) (string, error) {
	have, ok := c.Policy.Accounts[hub.AccountID(o.account)]
	if !ok {
		return "", nil
	}
	where := c.Origin("accounts." + o.account).String()
	if o.role != "" && o.role != have.Role {
		return "", fmt.Errorf("account %s is listed in %s with another role: change it there", o.account, where)
	}
	return where, nil
}

// list puts the account into accounts.d, unless it is listed where it says, and tells hubd.
func (a *app) list(ctx context.Context, o order, where string) error {
	id := hub.AccountID(o.account)
	if where != "" {
		a.say("ok     list     account %s is listed in %s", id, where)
		return nil
	}
	file := filepath.Join(config.AccountsDir(a.config), o.account+".yaml")
	if o.dryRun {
		a.say("todo   list     write account %s into %s", id, file)
		return nil
	}
	if err := config.WriteAccount(a.config, id, hub.Account{Name: o.name, Role: o.role}); err != nil {
		return err
	}
	a.say("ok     list     account %s is in %s", id, file)
	_, err := a.caller().Reload(ctx)
	if errors.Is(err, control.ErrDown) {
		return nil
	}
	return err
}

// handOver has hubd look now, and with --wait, waits until it reaches the spoke.
func (a *app) handOver(ctx context.Context, o order) (bool, error) {
	call := a.caller()
	began := time.Now()
	if _, err := call.Reload(ctx); err != nil {
		if errors.Is(err, control.ErrDown) && !o.wait {
			return false, nil
		}
		return false, err
	}
	if !o.wait {
		return false, nil
	}
	said := ""
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := call.Status(ctx)
		if err != nil && ctx.Err() == nil {
			return false, err
		}
		if s.Mode == hub.ModeObserve {
			return false, errors.New("hubd only observes, so nothing will come of waiting: hubctl plan, then hubctl sync")
		}
		text, ok := progress(s, o)
		if text != said && text != "" {
			a.say("%-6s %-8s %s", map[bool]string{true: "ok ", false: "..."}[ok], "hubd", text)
			said = text
		}
		if why := refused(s, o, began); why != "" {
			a.say("no     hubd     %s", why)
			return false, nil
		}
		if ok && (o.probe == "" || a.gotThrough(ctx, o.probe)) {
			return true, nil
		}
		select {
		case <-ctx.Done():
			a.say("gave up waiting: %s", orNone(said, "hubd has not seen it yet"))
			return false, nil
		case <-tick.C:
		}
	}
}

// refused says why hubd reaches nothing of the spoke, as a pass since began found; "" when it
// does, or has not looked yet.
func refused(s control.Status, o order, began time.Time) string {
	if s.LastPass == nil || s.LastPass.At.Before(began) {
		return ""
	}
	for _, spoke := range s.Spokes {
		if string(spoke.VPC) != o.vpc || len(spoke.Prefixes) > 0 {
			continue
		}
		var why []string
		for _, p := range s.Problems {
			if p.Subject == spoke.Name {
				why = append(why, fmt.Sprintf("%s: %s; %s", p.Code, p.Detail, p.Mend))
			}
		}
		return orNone(strings.Join(why, "\n                "), "the config excludes "+join(spoke.Excluded))
	}
	return ""
}

// progress says how far hubd is with the spoke.
func progress(s control.Status, o order) (string, bool) {
	for _, spoke := range s.Spokes {
		if string(spoke.VPC) == o.vpc {
			return fmt.Sprintf("%s: %s, routes %s, nat %s", spoke.Name, join(spoke.Prefixes), routes(spoke), nat(spoke)), spoke.Works
		}
	}
	for _, p := range s.Problems {
		if p.Subject == o.vpc || p.Subject == o.account || o.name != "" && p.Subject == o.name {
			return fmt.Sprintf("%s: %s; %s", p.Code, p.Detail, p.Mend), false
		}
	}
	return "", false
}

// gotThrough reports whether a connection to address is answered, by an accept or a reset: both
// come from the other end.
func (a *app) gotThrough(ctx context.Context, address string) bool {
	d := net.Dialer{Timeout: 2 * time.Second}
	c, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		c.Close()
	}
	ok := err == nil || errors.Is(err, unix.ECONNREFUSED)
	if ok {
		a.say("ok     probe    %s answers", address)
	}
	return ok
}
