package lab

import (
	"slices"
	"strings"
	"testing"

	"peerhub/test/ec2sim"
	"peerhub/test/fabric"
)

// TestEveryFaultGoesOnAndOff holds the catalogue against those who do the faults.
func TestEveryFaultGoesOnAndOff(t *testing.T) {
	sim := ec2sim.New(ec2sim.Options{})
	defer sim.Close()
	wires := fabric.New(fabric.Options{})
	defer wires.Close()
	l := &Lab{Sim: sim, Fabric: wires, faultsOn: map[string]string{}}
	example := strings.NewReplacer("ACTION,... | on", "CreateRoute", "on | DURATION", "on", "on | empty", "on", "DURATION", "1s",
		"ACTION[@ACCOUNT],...", "CreateRoute@222222222222", "REGION,...", "eu-west-1", "PCX,...", "pcx-1", "KIND", "bad-cidr", "PERCENT", "3", "N", "7")
	for _, f := range catalogue {
		value := example.Replace(f.Takes)
		must(t, l.SetFault(f.Name, value))
		if got := valueOf(l, f.Name); got != value {
			t.Errorf("fault %s: value %q after setting %q", f.Name, got, value)
		}
		must(t, l.SetFault(f.Name, "off"))
		if got := valueOf(l, f.Name); got != "" {
			t.Errorf("fault %s: value %q after off", f.Name, got)
		}
	}
	if err := l.SetFault("nonsense", "on"); err == nil {
		t.Error("a fault that does not exist was set")
	}
	// Both name what they know when asked for what they do not.
	for _, name := range knownIn(sim.SetFault("nonsense", "on").Error()) {
		if !slices.ContainsFunc(catalogue, func(f Fault) bool { return f.wire == "" && f.Name == name }) {
			t.Errorf("the catalogue lacks the simulated AWS's fault %q", name)
		}
	}
	for _, name := range knownIn(wires.SetFault("nonsense", "on").Error()) {
		if !slices.ContainsFunc(catalogue, func(f Fault) bool { return f.wire == name }) {
			t.Errorf("the catalogue lacks the fabric's fault %q", name)
		}
	}
}

func valueOf(l *Lab, name string) string {
	for _, f := range l.Faults() {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// knownIn finds the names of faults in "...: unknown; known are A, B" and "... (A, B)".
func knownIn(text string) []string {
	if _, after, ok := strings.Cut(text, "known are "); ok {
		return strings.Split(after, ", ")
	}
	_, after, _ := strings.Cut(text, "(")
	return strings.Split(strings.TrimSuffix(after, ")"), ", ")
}
