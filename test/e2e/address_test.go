package e2e

import (
	"fmt"
	"testing"

	"peerhub/test/lab"
)

// TestAddressGoesAndReturns takes the hub's address from its interface and gives it
// back, as a DHCP client does when it starts anew. With translation to the address the
// flows live. The control is what people have by hand, masquerade: the kernel forgets
// its flows, and the connections are dead.
func TestAddressGoesAndReturns(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"address", "masquerade"} {
		t.Run(source, func(t *testing.T) {
			r := start(t, "a"+source[:1], nil)
			r.configure(replacing("kernel:", "masq: {source: "+source+"}\nkernel:"))
			r.must(r.RestartUnit(t.Context(), lab.UnitHubd))
			r.reaches(everybody, []string{"svc1"})
			streams := load{r.tcp(lab.HostLaptop1, "svc1"), r.tcp(lab.HostOffice, "svc1")}
			tracked := r.tracked()

			address := fmt.Sprintf("%s/%d", r.Spec.HubAddress(), r.Spec.HubSubnet().Bits())
			r.exec(lab.HostHub, "ip", "address", "del", address, "dev", r.Spec.HubInterface)
			r.exec(lab.HostHub, "ip", "address", "add", address, "dev", r.Spec.HubInterface)
			r.exec(lab.HostHub, "ip", "route", "add", "default", "via", r.Spec.HubSubnet().Addr().Next().String(), "dev", r.Spec.HubInterface)

			if source == "address" {
				streams.unharmed(r)
				if now := r.tracked(); now != tracked {
					t.Errorf("conntrack had\n%s\nand has\n%s", tracked, now)
				}
				return
			}
			for _, f := range streams {
				eventually(t, f.name+" is dead", func() error {
					if _, _, err := f.state(); err == nil {
						return fmt.Errorf("it lives")
					}
					return nil
				})
			}
			r.reaches(everybody, []string{"svc1"}) // new ones are well
		})
	}
}

// tracked lists the TCP flows to the echo service that the hub's conntrack knows, as
// the program conntrack prints their addresses and ports.
func (r *rig) tracked() string {
	r.t.Helper()
	return r.sh(lab.HostHub, "conntrack -L -p tcp --orig-port-dst 7 -o extended 2>/dev/null | grep -o 'src=.* dport=[0-9]*' | sort")
}
