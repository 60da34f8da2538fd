package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"peerhub/hub"
	"peerhub/hub/config"
	"peerhub/hub/control"
	"peerhub/hub/peering"
)

// patience is how long add-spoke takes unless --timeout says otherwise.
const patience = 5 * time.Minute

// order is what add-spoke was told.
type order struct {
	account, vpc, region, name, role, profile, probe string
	dryRun, wait, yes                                bool
}

// added is the answer of add-spoke.
type added struct {
	Schema   string           `json:"schema"`
	Account  hub.AccountID    `json:"account"`
	VPC      hub.VPCID        `json:"vpc"`
	Peering  *hub.PeeringID   `json:"peering"`
	State    hub.PeeringState `json:"state"`
	Prefixes []netip.Prefix   `json:"prefixes"`
	Works    *bool            `json:"works"` // null: nobody waited for it
	TookMS   int64            `json:"took_ms"`
	DryRun   bool             `json:"dry_run"`
}

func addSpokeCommand(a *app) *cobra.Command {
	var o order
	c := a.reading(&cobra.Command{
		Use:   "add-spoke --account A --vpc V",
		Short: "Peer a VPC with the hub's and have hubd reach it",
		Long: `Peer a VPC with the hub's and have hubd reach it: request the peering or accept the one that is
pending, accept it on the other side through its role, list the account in accounts.d, have hubd
do routes and translation, and with --wait, wait until they are there. No packet is sent unless
--probe says where to.

Every step looks first, so the command may be broken off and run again at any point.
Exit code 2 when the owner of the other side has to accept, or with --wait when it does not
work in time.`,
		Example: `  hubctl add-spoke --account 444444444444 --vpc vpc-0abc1234 --name search --wait
  hubctl add-spoke --account 444444444444 --vpc vpc-0abc1234 --region us-west-2 --dry-run
  hubctl add-spoke --account 444444444444 --vpc vpc-0abc1234 --wait --probe 10.112.0.10:443`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return usageError{err}
			}
			limit := patience
			if cmd.Flags().Changed("timeout") {
				limit = a.timeout
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), limit)
			defer cancel()
			return a.addSpoke(ctx, o)
		},
	})
	f := c.Flags()
	f.StringVar(&o.account, "account", "", "the account that the VPC is in, twelve digits")
	f.StringVar(&o.vpc, "vpc", "", "the VPC")
	f.StringVar(&o.region, "region", "", "its region (default: the hub's)")
	f.StringVar(&o.name, "name", "", "what to call it (default: the peering's or the VPC's Name tag)")
	f.StringVar(&o.role, "role-arn", "", "the role to enter the account with (default: aws.role of the config)")
	f.StringVar(&o.profile, "profile", "", "an AWS profile of that account to accept with, instead of the role")
	f.StringVar(&o.probe, "probe", "", "with --wait: also wait until ADDRESS:PORT can be connected to from here")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be done, change nothing")
	f.BoolVar(&o.wait, "wait", false, "wait until it works")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	return c
}

var (
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
	vpcForm     = regexp.MustCompile(`^vpc-[0-9a-f]{8,17}$`)
)

// check says what is wrong with the command line. What goes into the config is checked there.
func (o order) check() error {
	switch {
	case !accountForm.MatchString(o.account):
		return fmt.Errorf("--account %q: want twelve digits", o.account)
	case !vpcForm.MatchString(o.vpc):
		return fmt.Errorf("--vpc %q: want an id such as vpc-0d41c2b3a4f5e6071", o.vpc)
	case o.probe != "" && !o.wait:
		return errors.New("--probe goes with --wait")
	case o.role != "" && o.profile != "":
		return errors.New("--role-arn and --profile are two ways in: give one")
	}
	if o.probe != "" {
		if _, err := netip.ParseAddrPort(o.probe); err != nil {
			return fmt.Errorf("--probe %q: want ADDRESS:PORT", o.probe)
		}
	}
	return nil
}

func (a *app) addSpoke(ctx context.Context, o order) error {
	began := time.Now()
	c, err := config.Load(a.config)
	if err != nil {
		return err
	}
	w, err := a.open(ctx, c, o)
	if err != nil {
		return err
	}
	if !o.dryRun {
		if err := a.preview(ctx, c, w, o); err != nil {
			return err
		}
		if ok, err := a.confirm(o.yes, "go on?"); !ok || err != nil {
			return err
		}
	}
	listed, err := listedAs(c, o)
	if err != nil {
		return err
	}
	res, err := peering.Run(ctx, w.request, w.options(o.dryRun, a.step))
	out := added{Schema: control.Schema, Account: hub.AccountID(o.account), VPC: hub.VPCID(o.vpc), State: res.State, Prefixes: res.Prefixes, DryRun: o.dryRun}
	if res.Peering != "" {
		out.Peering = &res.Peering
	}
	if out.Prefixes == nil {
		out.Prefixes = []netip.Prefix{}
	}
	waits := errors.Is(err, peering.ErrWaits)
	if err != nil && !waits {
		return err
	}
	if o.dryRun {
		if err := a.worthwhile(ctx, c, w, res); err != nil {
			return err
		}
	}
	// Only now: a VPC id that belongs to somebody else must not leave its account trusted.
	if lerr := a.list(ctx, o, listed); lerr != nil {
		return fmt.Errorf("the peering is there, and account %s is not listed: %w", o.account, lerr)
	}
	if waits {
		a.say("%v; run this again afterwards, or leave it to hubd", err)
	}
	var ok bool
	if !waits && !o.dryRun {
		ok, err = a.handOver(ctx, o)
		if o.wait {
			out.Works = &ok
		}
		if err != nil {
			return err
		}
	}
	out.TookMS = time.Since(began).Milliseconds()
	if err := a.showAdded(out, o.probe != ""); err != nil {
		return err
	}
	if waits || o.wait && !o.dryRun && !ok {
		return errNo
	}
	return nil
}

// preview looks whether it can be done at all, before anything is written. A person who will be
// asked sees what would be done.
func (a *app) preview(ctx context.Context, c config.Config, w workplace, o order) error {
	tell := func(peering.Event) {}
	if a.talks && !o.yes {
		tell = a.step
	}
	res, err := peering.Run(ctx, w.request, w.options(true, tell))
	if err != nil && !errors.Is(err, peering.ErrWaits) {
		return err
	}
	return a.worthwhile(ctx, c, w, res)
}

// worthwhile is nil unless nothing of the VPC could be reached.
func (a *app) worthwhile(ctx context.Context, c config.Config, w workplace, res peering.Result) error {
	if why := a.useless(ctx, c.Policy, w.request, res.Announced); why != "" {
		return fmt.Errorf("nothing of %s could be reached, so it is not peered: %s", w.request.SpokeVPC, why)
	}
	return nil
}

// useless says why hubd would reach nothing of the VPC: the config speaks against each prefix,
// or another spoke has it.
func (a *app) useless(ctx context.Context, p hub.Policy, r peering.Request, announced []netip.Prefix) string {
	pcx := hub.Peering{Peer: hub.Peer{Scope: r.Spoke, VPC: r.SpokeVPC, Prefixes: announced}}
	if why := hub.Useless(p, hub.Topology{}, pcx); why != "" {
		return why
	}
	s, err := a.caller().Status(ctx)
	if err != nil {
		return "" // hubd tells when it runs
	}
	why := ""
	for _, prefix := range announced {
		who, ok := holder(s.Spokes, r.SpokeVPC, prefix)
		if !ok {
			return ""
		}
		why = fmt.Sprintf("%s overlaps %s of spoke %s (%s)", prefix, join(who.Prefixes), who.Name, who.VPC)
	}
	return why
}

// holder is the spoke, another one than vpc, that has a part of prefix.
func holder(spokes []control.Spoke, vpc hub.VPCID, prefix netip.Prefix) (control.Spoke, bool) {
	for _, s := range spokes {
		if string(s.VPC) != string(vpc) && slices.ContainsFunc(s.Prefixes, prefix.Overlaps) {
			return s, true
		}
	}
	return control.Spoke{}, false
}

func (a *app) showAdded(out added, probed bool) error {
	if a.format == "json" {
		return a.printJSON(out)
	}
	took := (time.Duration(out.TookMS) * time.Millisecond).Round(100 * time.Millisecond)
	where := fmt.Sprintf("%s of %s", out.VPC, out.Account)
	switch {
	case out.DryRun:
		fmt.Fprintf(a.out, "%s: nothing was changed\n", where)
	case out.Works != nil && *out.Works:
		fmt.Fprintf(a.out, "%s works: %s by %s, after %s\n", where, join(out.Prefixes), *out.Peering, took)
		if !probed {
			fmt.Fprintln(a.out, "no packet was sent: routes and translation are in place; --probe ADDRESS:PORT also connects")
		}
	case out.Works != nil:
		fmt.Fprintf(a.out, "%s does not work yet: hubctl spokes show %s\n", where, out.VPC)
	case out.State == hub.PeeringActive:
		fmt.Fprintf(a.out, "%s is peered: %s by %s; hubctl status shows how far it is\n", where, join(out.Prefixes), *out.Peering)
	default:
		fmt.Fprintf(a.out, "%s is not peered yet: %s\n", where, out.State)
	}
	return nil
}

// step shows a step of a peering as it happens.
func (a *app) step(e peering.Event) {
	mark := map[peering.State]string{peering.Doing: "...", peering.Done: "ok ", peering.Todo: "todo", peering.Other: "theirs"}[e.State]
	a.say("%-6s %-8s %s", mark, e.Step, e.Text)
}
