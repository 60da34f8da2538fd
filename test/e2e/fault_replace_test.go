package e2e

import (
	"fmt"

	"peerhub/test/lab"
)

// faultsOfReplacement are what becomes of a hub whose instance, interface or address is
// another one.
var faultsOfReplacement = []fault{
	{
		id: "F38", name: "interface renamed, a second one added, the default route moved",
		inject: `GATEWAY=$(on-hub ip route show default | awk '{print $3}')
on-hub ip link set $ETH name ens7
on-hub ip link add ens8 type veth peer name ens8p
on-hub ip address add 10.100.0.99/32 dev ens8
on-hub ip link set ens8 up
on-hub ip route add default via $GATEWAY dev ens7 metric 512
on-hub ip route del default via $GATEWAY dev ens7 metric 0`,
		expect:  "no packet is lost; the way out is found by its MAC address or its address, whatever it is called; a spoke that comes afterwards is served",
		control: "finding the interface by what it is (hub.interfaces states a name)",
		run: func(s *scene) {
			s.inject()
			s.paste(peerAnother)
			s.converged("the new spoke is reached", func() error { return s.arrives(lab.HostLaptop1, "svc3") })
			eventually(s.t, "nothing is left to do", s.quiet)
			for _, p := range s.probes {
				p.more(50)
			}
			s.saw("the peering made afterwards is reached by ens7, and nothing names eth0")
			s.paste(`GATEWAY=$(on-hub ip route show default | awk '{print $3}')
on-hub ip route add default via $GATEWAY dev ens7 onlink
on-hub ip route del default via $GATEWAY dev ens7 metric 512
on-hub ip link del ens8
on-hub ip link set ens7 name $ETH`)
			eventually(s.t, "renamed back, nothing is left to do", s.quiet)
		},
		off: func(g *stage) {
			g.replace("hub: {name: "+g.spec.HubName+"}", fmt.Sprintf("hub: {name: %s, interfaces: [{name: %s, eni: %s}]}", g.spec.HubName, g.spec.HubInterface, g.spec.ID("eni", lab.HostHub)))
		},
		harm: func(s *scene) string {
			s.inject()
			s.paste(peerAnother)
			s.afterPolls(5)
			if s.arrives(lab.HostLaptop1, "svc3") == nil {
				return ""
			}
			return "five polls after its peering svc3 was not reached: its route names an interface that is not there"
		},
	},
}

// peerAnother makes svc3 a spoke.
const peerAnother = `pcx=$(aws $HUB ec2 create-vpc-peering-connection --region $REGION --vpc-id $HUB_VPC --peer-vpc-id $SVC3_VPC --peer-owner-id $SVC3 \
  --query VpcPeeringConnection.VpcPeeringConnectionId --output text)
until aws $SVC3 ec2 accept-vpc-peering-connection --region $REGION --vpc-peering-connection-id $pcx >/dev/null 2>&1; do :; done`
