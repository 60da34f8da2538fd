package fabric

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// faults are the switches of SetFault; never changed after they were stored.
type faults struct {
	quietMTU bool
	loss     float64       // 0..1
	latency  time.Duration // one way
}

// loses tells whether the next packet is lost.
func (f *faults) loses() bool { return f.loss > 0 && rand.Float64() < f.loss }

// SetFault switches a fault of the data plane:
//
//	no-frag-needed  on|off      too big packets vanish without an ICMP message
//	loss            0..100      percent of all packets that are lost
//	latency         DURATION    every frame takes that much longer, one way
//
// The value off ends any of them.
func (f *Fabric) SetFault(name, value string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := *f.faults.Load()
	if value == "off" && (name == "loss" || name == "latency") {
		value = "0"
	}
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
	case "latency":
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return fmt.Errorf("set fault %s: %q is no duration", name, value)
		}
		next.latency = d
	default:
		return fmt.Errorf("set fault %s: no such fault (no-frag-needed, loss, latency)", name)
	}
	f.faults.Store(&next)
	return nil
}

// delayLine holds the frames of one port back, in order.
type delayLine chan lateFrame

type lateFrame struct {
	due   time.Time
	frame []byte
}

// delayed is how many frames of a port may be on their way at once.
const delayed = 2048

// put copies the frame into the line; false: the line is full.
func (l delayLine) put(frame []byte, latency time.Duration) bool {
	select {
	case l <- lateFrame{time.Now().Add(latency), bytes.Clone(frame)}:
		return true
	default:
		return false
	}
}

// runLate hands the frames of a line to the router when they are due, until the
// line ends or the fabric closes. p is a copy of the port, for its scratch space.
func (f *Fabric) runLate(p port, line delayLine) {
	defer f.readers.Done()
	for late := range line {
		select {
		case <-f.done:
			return
		case <-time.After(time.Until(late.due)):
		}
		f.receive(&p, late.frame)
	}
}
