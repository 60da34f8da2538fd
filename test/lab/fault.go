package lab

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"peerhub/test/ec2sim"
)

// Fault is one way in which the lab can be made to misbehave while it runs.
type Fault struct {
	Name  string `json:"name"`
	Takes string `json:"takes"` // what its value is
	Does  string `json:"does"`
	Value string `json:"value"` // "" while it is off

	wire string // its name in the fabric; "": it is the simulated AWS's
}

// catalogue lists every fault with what it takes and does.
var catalogue = []Fault{
	{Name: ec2sim.FaultEmpty200, Takes: "ACTION,... | on", Does: "HTTP 200 without a body"},
	{Name: ec2sim.FaultHTML200, Takes: "ACTION,... | on", Does: "HTTP 200 with a proxy's HTML page"},
	{Name: ec2sim.FaultPage2Fail, Takes: "ACTION,... | on", Does: "every page but the first fails with InternalError"},
	{Name: ec2sim.FaultRepeatToken, Takes: "ACTION,... | on", Does: "every page is the first one, and its token never ends"},
	{Name: ec2sim.FaultPageSize, Takes: "N", Does: "at most N objects a page, asked or not"},
	{Name: ec2sim.FaultUnavailable, Takes: "on | DURATION", Does: "503 for every request"},
	{Name: ec2sim.FaultLatency, Takes: "DURATION", Does: "every answer is that late"},
	{Name: ec2sim.FaultStaleReplica, Takes: "on | DURATION", Does: "every second read is answered as of now, or as of that long ago"},
	{Name: ec2sim.FaultDeny, Takes: "ACTION[@ACCOUNT],...", Does: "UnauthorizedOperation (STS: AccessDenied)"},
	{Name: ec2sim.FaultRegionDown, Takes: "REGION,...", Does: "connections are cut without an answer"},
	{Name: ec2sim.FaultEndlessBody, Takes: "ACTION,... | on", Does: "HTTP 200 whose body never ends"},
	{Name: ec2sim.FaultDataPlaneLag, Takes: "DURATION", Does: "packets obey the API's state of that long ago"},
	{Name: ec2sim.FaultRouteLag, Takes: "DURATION", Does: "a created route is invisible to reads for that long"},
	{Name: ec2sim.FaultQuotaRoutes, Takes: "N", Does: "routes a table may hold, for each family"},
	{Name: ec2sim.FaultThrottle, Takes: "on | empty", Does: "AWS's token buckets; empty: no tokens at all"},
	{Name: ec2sim.FaultNoRequestID, Takes: "ACTION,... | on", Does: "the answer lacks its request id"},
	{Name: ec2sim.FaultUnknownStatus, Takes: "PCX,...", Does: "described with a status that no SDK knows"},
	{Name: ec2sim.FaultUnlisted, Takes: "PCX,...", Does: "not in any answer, though they stand"},
	{Name: ec2sim.FaultEmptySet, Takes: "ACTION,... | on", Does: "a well-formed answer whose lists have no item"},
	{Name: ec2sim.FaultGzipBomb, Takes: "ACTION,... | on", Does: "HTTP 200 with a packed body of 1 MB that unpacks to 1 GB"},
	{Name: ec2sim.FaultMalformed, Takes: "KIND@PCX,...", Does: "the accepter of a peering is described with bad-cidr, host-bits, no-vpc-info, ipv6-only or many-cidrs"},
	{Name: ec2sim.FaultClockSkew, Takes: "DURATION", Does: "AWS's clock is that far ahead, or behind with a minus"},
	{Name: ec2sim.FaultIMDSDown, Takes: "on", Does: "the metadata service cuts connections"},
	{Name: ec2sim.FaultIMDSSlow, Takes: "DURATION", Does: "the metadata service answers that late"},
	{Name: ec2sim.FaultIMDSExpired, Takes: "on", Does: "the metadata service hands out expired credentials, and earlier ones have expired"},
	{Name: "no-frag-needed", Takes: "on", Does: "packets too big for the path vanish without an ICMP message", wire: "no-frag-needed"},
	{Name: "loss", Takes: "PERCENT", Does: "that share of all packets is lost", wire: "loss"},
	{Name: "wire-latency", Takes: "DURATION", Does: "every packet is that late, one way", wire: "latency"},
}

// Faults lists every fault with its value, "" for those that are off.
func (l *Lab) Faults() []Fault {
	on := l.Sim.Faults()
	l.mu.Lock()
	maps.Copy(on, l.faultsOn)
	l.mu.Unlock()
	out := slices.Clone(catalogue)
	for i := range out {
		out[i].Value = on[out[i].Name]
	}
	return out
}

// SetFault begins, changes or, with the value off, ends a fault.
func (l *Lab) SetFault(name, value string) error {
	i := slices.IndexFunc(catalogue, func(f Fault) bool { return f.Name == name })
	if i < 0 {
		var names []string
		for _, f := range catalogue {
			names = append(names, f.Name)
		}
		return fmt.Errorf("no fault %q; there are %s", name, strings.Join(names, ", "))
	}
	wire := catalogue[i].wire
	if wire == "" {
		return l.Sim.SetFault(name, value)
	}
	if err := l.Fabric.SetFault(wire, value); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.faultsOn, name)
	if value != "off" {
		l.faultsOn[name] = value
	}
	return nil
}

// FaultValue joins what a person typed after a fault's name: nothing is on; words
// are a list; KEY=VALUE is the value, and account= belongs to the action before it.
func FaultValue(words []string) string {
	if len(words) == 0 {
		return "on"
	}
	var out []string
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		switch {
		case ok && key == "account" && len(out) > 0:
			out[len(out)-1] += "@" + value
		case ok:
			out = append(out, value)
		default:
			out = append(out, w)
		}
	}
	return strings.Join(out, ",")
}
