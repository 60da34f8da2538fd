package vpcroute_test

import (
	"net/netip"
	"slices"
	"testing"

	"peerhub/hub"
	"peerhub/hub/vpcroute"
	"peerhub/test/ec2sim"
)

// TestAReplacedHub gives the hub another instance, interface and address, and an empty disk.
// Routes that fit are not written. Where the way back is the hub's address alone, that to the
// old address goes, for the tags say that it is ours; what others made toward the old machine
// is listed and stays.
func TestAReplacedHub(t *testing.T) {
	t.Parallel()
	const oldInstance, newInstance, newENI, other = "i-0a000001", "i-0a000002", "eni-0a000009", "rtb-0a000009"
	for _, width := range []hub.ReturnRoute{hub.ReturnSubnet, hub.ReturnAddress} {
		t.Run(string(width), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ec2sim.Options{})
			w.policy.ReturnRoute = width
			old := netip.MustParsePrefix("10.100.0.11/32")
			spec := ec2sim.InstanceSpec{ID: oldInstance, Interface: "eni-0a000008", Subnet: hubSubnet, Address: old.Addr()}
			must(t)(w.AddInstance(spec))
			w.instance, w.eni = oldInstance, spec.Interface
			w.start(nil)
			// By hand, toward the machine: a table of the hub VPC, and a spoke's way back.
			must(t)(w.AddRouteTable(ec2sim.TableSpec{ID: other, VPC: hubVPC}))
			w.add(other, "172.27.240.0/22", spec.Interface)
			w.add(farTable, "10.100.0.77/32", farPeering)
			rep := w.pass()
			before := codes(rep)

			must(t)(w.ReplaceInstance(oldInstance, ec2sim.InstanceSpec{ID: newInstance, Interface: newENI, Address: netip.MustParseAddr("10.100.0.12")}))
			w.instance, w.eni, w.prev, w.mem = newInstance, newENI, nil, hub.Remembered{}
			w.start(nil)
			w.survey()
			w.lose(vpcroute.Recover(w.top))
			w.survey()
			n := len(w.Log())
			rep = w.passOnly()
			var calls []string
			if width == hub.ReturnAddress {
				calls = []string{"222222222222 CreateRoute 10.100.0.12/32", "222222222222 DeleteRoute 10.100.0.11/32",
					"333333333333 CreateRoute 10.100.0.12/32", "333333333333 DeleteRoute 10.100.0.11/32"}
			}
			w.expect("calls that write routes", slices.DeleteFunc(w.mutations(n), func(m string) bool {
				return slices.Contains([]string{"111111111111 CreateTags", "111111111111 DeleteTags"}, m)
			}), calls)
			gone := slices.DeleteFunc(codes(rep), func(c string) bool { return slices.Contains(before, c) })
			w.expect("listed since", gone, []string{"BLACKHOLE " + other})
			if width == hub.ReturnAddress {
				w.expect("listed before", before, []string{"BLACKHOLE " + farAccount})
			} else {
				w.expect("listed before", before, nil)
			}
			w.expect("they stay", append(w.routes(hubAccount, tokyo, other), w.routes(farAccount, oregon, farTable)[1]),
				[]string{"172.27.240.0/22 " + spec.Interface + " blackhole", "10.100.0.77/32 " + farPeering})
		})
	}
}
