package fabric

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

// faults are the switches of SetFault; never changed after they were stored.
type faults struct {
	quietMTU bool
	loss     float64 // 0..1
}

// loses tells whether the next packet is lost.
func (f *faults) loses() bool { return f.loss > 0 && rand.Float64() < f.loss }

// SetFault switches a fault of the data plane:
//
//	no-frag-needed  on|off      too big packets vanish without an ICMP message
//	loss            0..100      percent of all packets that are lost
func (f *Fabric) SetFault(name, value string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := *f.faults.Load()
	switch name {
	case "no-frag-needed":
		switch value {
		case "on", "off":
			next.quietMTU = value == "on"
		default:
			return fmt.Errorf("set fault %s: %q is neither on nor off", name, value)
		}
	case "loss":
		percent, err := strconv.ParseFloat(value, 64)
		if err != nil || !(percent >= 0 && percent <= 100) {
			return fmt.Errorf("set fault %s: %q is no percentage", name, value)
		}
		next.loss = percent / 100
	default:
		return fmt.Errorf("set fault %s: no such fault (no-frag-needed, loss)", name)
	}
	f.faults.Store(&next)
	return nil
}
