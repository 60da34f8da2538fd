package fabric_test

import (
	"testing"
)

func TestPingInsideAVPCAndOverAPeering(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, "eni-hub", "eni-mate", "eni-other", "eni-svc")
	r.arrives("eni-hub", "10.100.0.11")
	r.arrives("eni-hub", "10.100.1.20")
	r.arrives("eni-hub", "10.110.0.10")
	r.arrives("eni-svc", "10.100.0.10")
}
