package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"peerhub/hub"
	"peerhub/hub/control"
	"peerhub/hub/kroute"
	"peerhub/hub/state"
	"peerhub/masq"
)

// errSaid ends a command with code 1 when everything has been said already.
var errSaid = errors.New("it has been said")

// kernel is what the kernel has of ours, read without hubd.
type kernel struct {
	Routes   *int    `json:"kroute"` // routes and rules of ours; null: could not be read
	Elements *int    `json:"masq"`   // elements of our nftables table
	Note     *string `json:"note"`
}

// offline shows the last report of a hubd that is gone, and what the kernel still does.
func (a *app) offline(ctx context.Context, cause error) error {
	dir := a.stateDir()
	var s control.Status
	err := state.ReadLast(dir, &s)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; no report of an earlier one is in %s", cause, dir)
	}
	if err != nil {
		return fmt.Errorf("%w; its last report: %w", cause, whoMay(err))
	}
	s.Running, s.UpSince, s.Ready = false, nil, false
	k := readKernel(ctx)
	if a.format == "json" {
		err = a.printJSON(struct {
			control.Status
			Kernel kernel `json:"kernel"`
		}{s, k})
	} else {
		age := "of an unknown time"
		if s.LastPass != nil {
			age = "of " + span(time.Since(s.LastPass.At)) + " ago"
		}
		fmt.Fprintf(a.out, "%s this is its last report, %s\n\n", a.paint(red, "hubd DOES NOT RUN,"), age)
		err = a.showStatus(s)
		fmt.Fprintf(a.out, "\n%s\n", k)
	}
	a.say("hubctl: %v", cause)
	return errors.Join(err, errSaid)
}

// whoMay adds to a denied access who has it: hubd answers its group, but what it leaves behind
// only root may read.
func whoMay(err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w: without hubd only root may read it: run it with sudo", err)
}

func (k kernel) String() string {
	if k.Note != nil {
		return "kernel: " + *k.Note
	}
	if *k.Routes == 0 && *k.Elements == 0 {
		return "kernel: nothing of hubd's is there, the VPN reaches no spoke"
	}
	return fmt.Sprintf("kernel: the data path stands without hubd: %d routes and rules, %d elements in table inet hubd", *k.Routes, *k.Elements)
}

func readKernel(ctx context.Context) kernel {
	note := func(text string) kernel { return kernel{Note: &text} }
	if os.Geteuid() != 0 {
		return note("only root may see what it still does")
	}
	r, err := kroute.Open(kroute.Options{})
	if err != nil {
		return note(err.Error())
	}
	defer r.Close()
	m, err := masq.Open(ctx, masq.Options{})
	if err != nil {
		return note(err.Error())
	}
	defer m.Close()
	routes, err := ours(ctx, r, "")
	if err != nil {
		return note(err.Error())
	}
	elements, err := ours(ctx, m, "element ")
	if err != nil {
		return note(err.Error())
	}
	return kernel{Routes: &routes, Elements: &elements}
}

// ours counts what a plane has of hubd's, of a kind: what it would remove if nothing were wanted.
func ours(ctx context.Context, p hub.Plane, kind string) (int, error) {
	view, err := p.Observe(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, c := range hub.Removals(view.Plan(hub.Desired{})) {
		if strings.HasPrefix(c.Object, kind) {
			n++
		}
	}
	return n, nil
}
