package vpcroute_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"peerhub/hub"
	"peerhub/test/ec2sim"
)

// order stands in front of the API and looks into the ledger when a call comes: a route that
// is made must be recorded by then, one that is deleted must not be forgotten before it is gone.
type order struct {
	w     *world
	mu    sync.Mutex
	calls map[string]int
	wrong []string
}

func watchOrder(w *world) *order {
	o := &order{w: w, calls: map[string]int{}}
	w.handler = func(rw http.ResponseWriter, r *http.Request, api http.Handler) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return
		}
		o.before(form)
		api.ServeHTTP(rw, r)
	}
	return o
}

func (o *order) before(form url.Values) {
	action, table, dest := form.Get("Action"), form.Get("RouteTableId"), form.Get("DestinationCidrBlock")
	if action != "CreateRoute" && action != "ReplaceRoute" && action != "DeleteRoute" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls[action]++
	want := table + " " + dest + " " + form.Get("VpcPeeringConnectionId")
	if !slices.ContainsFunc(o.w.ledger.lines(), func(l string) bool { return strings.HasPrefix(l, want) }) {
		o.wrong = append(o.wrong, fmt.Sprintf("%s %s: not in the ledger when it is called", action, want))
	}
}

// forgetful is a ledger that says yes and writes down nothing before a confirmation.
type forgetful struct{ *ledger }

func (f forgetful) Intend(context.Context, hub.LedgerEntry) error { return nil }

// Every VPC route is in the ledger before the call that makes it, confirmed after it, and
// forgotten only once it is gone: when it is new, led to another peering, found to exist
// after a lost answer, made again, and removed.
func TestTheLedgerKnowsBeforeAWS(t *testing.T) {
	t.Parallel()
	walk := func(t *testing.T, w *world) *order {
		o := watchOrder(w)
		confirmed := func(when string) {
			t.Helper()
			for _, l := range w.ledger.lines() {
				if strings.HasSuffix(l, " intent") {
					o.wrong = append(o.wrong, when+": not confirmed: "+l)
				}
			}
		}
		w.pass() // makes
		confirmed("made")
		w.pass()
		w.deleteRoute(hubAccount, tokyo, hubTable, "10.110.0.0/16")
		w.pass()
		w.pass() // makes again
		confirmed("made again")
		w.deletePeering(svcPeering)
		must(t)(w.AddPeering(ec2sim.PeeringSpec{ID: "pcx-0a000009", Requester: hubVPC, Accepter: svcVPC}))
		w.pass() // leads to the new peering
		confirmed("replaced")
		w.deletePeering(farPeering)
		w.pass() // removes
		confirmed("removed")
		return o
	}
	w := newWorld(t, ec2sim.Options{Delays: ec2sim.Delays{Deleted: ec2sim.Immediate}})
	o := walk(t, w)
	if len(o.wrong) > 0 {
		t.Errorf("%d times:\n%s", len(o.wrong), strings.Join(o.wrong, "\n"))
	}
	for _, action := range []string{"CreateRoute", "ReplaceRoute", "DeleteRoute"} {
		if o.calls[action] == 0 {
			t.Errorf("%s was never called: %v", action, o.calls)
		}
	}
	w.expect("ledger", w.ledger.lines(), []string{hubTable + " 10.110.0.0/16 pcx-0a000009 hub", svcTable + " 10.100.0.0/24 pcx-0a000009 spoke"})

	t.Run("control: a ledger that writes too late is seen", func(t *testing.T) {
		w := newWorld(t, ec2sim.Options{Delays: ec2sim.Delays{Deleted: ec2sim.Immediate}})
		w.kept = forgetful{w.ledger}
		w.start(nil)
		if o := walk(t, w); len(o.wrong) == 0 {
			t.Error("nothing was seen")
		}
	})
}
