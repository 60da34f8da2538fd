package vpcroute

import (
	"fmt"
	"slices"
	"time"

	"peerhub/hub"
	"peerhub/hub/failpoint"
)

// A route of ours that has to be made again and again is contested: somebody removes
// it on purpose, or another program does. After fights re-creations within window we
// wait, from pauseFirst doubling to pauseMost, and start afresh after peace.
const (
	fights     = 3
	window     = time.Hour
	pauseFirst = 5 * time.Minute
	pauseMost  = time.Hour
	peace      = 2 * time.Hour
)

type contest struct {
	made  []time.Time // within the window
	pause time.Duration
}

// made notes that AWS really made a route at a place, in contrast to having it already.
func (p *Plane) made(at place) {
	now := p.opts.Now()
	c := p.contests[at]
	if c == nil {
		c = &contest{}
		p.contests[at] = c
	}
	if n := len(c.made); n > 0 && now.Sub(c.made[n-1]) > peace {
		c.pause = 0
	}
	c.made = append(slices.DeleteFunc(c.made, func(t time.Time) bool { return now.Sub(t) > window }), now)
	if len(c.made) <= fights && c.pause == 0 || failpoint.Off("contest") {
		return
	}
	c.pause = min(max(2*c.pause, pauseFirst), pauseMost)
	p.waits[at] = wait{verb: hub.VerbAdd, code: hub.RouteContested, since: now, until: now.Add(c.pause),
		detail: fmt.Sprintf("made %d times within an hour and gone each time; next try after %s. CloudTrail (DeleteRoute, ReplaceRoute) names who",
			len(c.made), now.Add(c.pause).UTC().Format("15:04:05 UTC"))}
}
