package control

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"peerhub/hub"
)

// Of the problems that a pass finds, some are none of this hub's: a stranger's pending request,
// a peering that somebody deleted, an account that is not listed, a spoke whose tables are its
// owner's. They touch no spoke that works, and only others can end them. They are shown, and
// make no command fail. This is the one place that says which.
//
//	hubctl sync                  2 when a change is left, or there is a problem that is ours
//	hubd --once                  the same
//	hubctl status --check clean  2 also when something is held or paused, or waits for confirm

// OfOthers reports whether a problem of this code is somebody else's to end and touches no spoke
// that is there.
func OfOthers(c hub.Code) bool {
	switch c {
	case hub.PeeringNotActive, hub.PeeringEnded, hub.NotListed, hub.OtherSide:
		return true
	}
	return false
}

// Ours are the problems that make a command fail.
func Ours(list []hub.Problem) []hub.Problem {
	return slices.DeleteFunc(slices.Clone(list), func(p hub.Problem) bool { return OfOthers(p.Code) })
}

// Done reports whether the pass did all there was to do.
func (s Synced) Done() bool { return len(s.Pending) == 0 && len(Ours(s.Problems)) == 0 }

// Unclean says why a hubd that is ready is not clean; "" when it is.
func (s Status) Unclean() string {
	switch {
	case s.Paused != nil:
		return "paused by " + s.Paused.By
	case s.Confirm != nil:
		return "a sync of " + s.Confirm.By + " waits for hubctl confirm"
	case s.LastPass != nil && s.LastPass.Pending > 0:
		return count(s.LastPass.Pending, "change") + " pending"
	case len(Ours(s.Problems)) > 0:
		return count(len(Ours(s.Problems)), "problem")
	case len(s.Held) > 0:
		return count(len(s.Held), "thing") + " held"
	}
	return ""
}

// Working counts the spokes that work, and apart those of which that is known as of an earlier
// answer only: "2 of 2 spokes work, 1 of them as of 05:31:02". The oldest answer counts.
func (s Status) Working(zone *time.Location) string {
	works, stale := 0, 0
	var oldest time.Time
	for _, sp := range s.Spokes {
		if !sp.Works {
			continue
		}
		works++
		if sp.Stale && sp.AsOf != nil {
			if stale == 0 || sp.AsOf.Before(oldest) {
				oldest = *sp.AsOf
			}
			stale++
		}
	}
	text := fmt.Sprintf("%d of %s work", works, count(len(s.Spokes), "spoke"))
	if stale > 0 {
		layout := time.TimeOnly
		if time.Since(oldest) > 20*time.Hour {
			layout = time.DateTime
		}
		text += fmt.Sprintf(", %d of them as of %s", stale, oldest.In(zone).Format(layout))
	}
	return text
}

func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}
