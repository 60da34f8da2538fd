package vpcroute_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"peerhub/test/ec2sim"
)

// A route that somebody removes before any survey has shown it is believed to be there, as
// AWS shows writes late. Who asks for a sync is believed sooner, and harms nothing when AWS
// was only late.
func TestASyncBelievesSeveralSurveysAgainstARecentWrite(t *testing.T) {
	has := func(w *world) bool {
		return slices.ContainsFunc(w.Network().Tables, func(x ec2sim.NetTable) bool {
			return x.ID == hubTable && slices.ContainsFunc(x.Routes, func(r ec2sim.NetRoute) bool { return r.Destination == prefix("10.110.0.0/16") })
		})
	}
	for _, retry := range []bool{true, false} {
		w := newWorld(t, ec2sim.Options{})
		w.pass()
		if !has(w) {
			t.Fatal("no route was made")
		}
		if _, err := w.client(hubAccount, tokyo).DeleteRoute(t.Context(), &ec2.DeleteRouteInput{RouteTableId: aws.String(hubTable), DestinationCidrBlock: aws.String("10.110.0.0/16")}); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if retry {
				w.plane.Retry()
			}
			w.disc.Force()
			w.pass()
		}
		if has(w) != retry {
			t.Errorf("after four surveys without it, asked %v: the route is there: %v", retry, has(w))
		}
	}
	// AWS is late: nothing is made twice and nothing goes wrong.
	w := newWorld(t, ec2sim.Options{})
	if err := w.SetFault(ec2sim.FaultRouteLag, "1h"); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		w.plane.Retry()
		w.disc.Force()
		rep := w.pass()
		for _, p := range rep.Planes {
			if p.Error != "" && !strings.Contains(p.Error, "RouteAlreadyExists") {
				t.Errorf("%s: %s", p.Plane, p.Error)
			}
		}
	}
	if !has(w) {
		t.Error("the route is gone")
	}
	if e, err := w.ledger.Entries(t.Context()); err != nil || len(e) == 0 {
		t.Errorf("the ledger has %v, %v", e, err)
	}
}
