package ec2sim_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"peerhub/test/ec2sim"
)

func (l *lab) run(in ec2.RunInstancesInput) (string, error) {
	in.MinCount, in.MaxCount = aws.Int32(1), aws.Int32(1)
	if in.SubnetId == nil {
		in.SubnetId = aws.String(hubSubnet)
	}
	out, err := l.ec2(hubAccount).RunInstances(ctx, &in)
	if err != nil {
		return "", err
	}
	return *out.Instances[0].InstanceId, nil
}

func (l *lab) newInterface(address string) (string, error) {
	out, err := l.ec2(hubAccount).CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: aws.String(hubSubnet), PrivateIpAddress: aws.String(address)})
	if err != nil {
		return "", err
	}
	return *out.NetworkInterface.NetworkInterfaceId, nil
}

func (l *lab) attach(eni string, index int32) error {
	_, err := l.ec2(hubAccount).AttachNetworkInterface(ctx, &ec2.AttachNetworkInterfaceInput{
		NetworkInterfaceId: aws.String(eni), InstanceId: aws.String(hubInstance), DeviceIndex: aws.Int32(index)})
	return err
}

func (l *lab) instanceCheck(on bool) error {
	_, err := l.ec2(hubAccount).ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{
		InstanceId: aws.String(hubInstance), SourceDestCheck: &types.AttributeBooleanValue{Value: aws.Bool(on)}})
	return err
}

func (l *lab) assign(addresses ...string) error {
	_, err := l.ec2(hubAccount).AssignPrivateIpAddresses(ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: aws.String(hubENI), PrivateIpAddresses: addresses})
	return err
}

func (l *lab) unassign(address string) error {
	_, err := l.ec2(hubAccount).UnassignPrivateIpAddresses(ctx, &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: aws.String(hubENI), PrivateIpAddresses: []string{address}})
	return err
}

func TestInstanceRules(t *testing.T) {
	start := func(address string) func(*lab) error {
		return func(l *lab) error {
			_, err := l.run(ec2.RunInstancesInput{PrivateIpAddress: aws.String(address)})
			return err
		}
	}
	second := func(l *lab) { // a second interface of the hub
		id, err := l.newInterface("10.100.0.20")
		accepted(l.t, err)
		accepted(l.t, l.attach(id, 1))
	}
	checkRules(t, []rule{
		{name: "an address has one holder", code: "InvalidIPAddress.InUse", refused: start("10.100.0.10"), accepted: start("10.100.0.11")},
		{name: "an address lies in its subnet", code: "InvalidParameterValue", refused: start("10.100.1.5"), accepted: start("10.100.0.5")},
		{name: "the first four addresses of a subnet are AWS's", code: "InvalidIPAddress.InUse", refused: start("10.100.0.3"), accepted: start("10.100.0.4")},
		{name: "the last address of a subnet is AWS's", code: "InvalidIPAddress.InUse", refused: start("10.100.0.255"), accepted: start("10.100.0.254")},
		{
			name: "a subnet can be full", code: "InsufficientFreeAddressesInSubnet",
			prepare: func(l *lab) {
				must(l.t)(l.AddSubnet(ec2sim.SubnetSpec{ID: "subnet-0a0000000000000ee", VPC: hubVPC, CIDR: prefixes("10.100.9.0/28")[0]}))
				for range 10 {
					_, err := l.run(ec2.RunInstancesInput{SubnetId: aws.String("subnet-0a0000000000000ee")})
					accepted(l.t, err)
				}
			},
			refused: func(l *lab) error {
				accepted(l.t, func() error {
					_, err := l.run(ec2.RunInstancesInput{SubnetId: aws.String("subnet-0a0000000000000ee")})
					return err
				}())
				_, err := l.run(ec2.RunInstancesInput{SubnetId: aws.String("subnet-0a0000000000000ee")})
				return err
			},
			accepted: func(l *lab) error {
				_, err := l.run(ec2.RunInstancesInput{SubnetId: aws.String("subnet-0a0000000000000ee")})
				return err
			},
		}, {
			name: "groups belong to the VPC", code: "InvalidGroup.NotFound",
			prepare: func(l *lab) {
				must(l.t)(l.AddSecurityGroup(ec2sim.GroupSpec{ID: "sg-0a0000000000000aa", VPC: svcVPC, Name: "a"}))
				must(l.t)(l.AddSecurityGroup(ec2sim.GroupSpec{ID: "sg-0a0000000000000bb", VPC: hubVPC, Name: "b"}))
			},
			refused: func(l *lab) error { return l.setGroups("sg-0a0000000000000aa") }, accepted: func(l *lab) error { return l.setGroups("sg-0a0000000000000bb") },
		}, {
			name: "an instance with several interfaces has no source check of its own", code: "InvalidInstanceID",
			refused: func(l *lab) error { second(l); return l.instanceCheck(false) }, accepted: func(l *lab) error { return l.instanceCheck(false) },
		}, {
			name: "a device index has one interface", code: "InvalidParameterValue",
			prepare: func(l *lab) { second(l) },
			refused: func(l *lab) error {
				id, err := l.newInterface("10.100.0.30")
				accepted(l.t, err)
				return l.attach(id, 1)
			},
			accepted: func(l *lab) error {
				id, err := l.newInterface("10.100.0.30")
				accepted(l.t, err)
				return l.attach(id, 2)
			},
		}, {
			name: "an attached interface is not deleted", code: "InvalidParameterValue",
			refused: func(l *lab) error {
				_, err := l.ec2(hubAccount).DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: aws.String(hubENI)})
				return err
			},
			accepted: func(l *lab) error {
				id, err := l.newInterface("10.100.0.30")
				accepted(l.t, err)
				_, err = l.ec2(hubAccount).DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &id})
				return err
			},
		}, {
			name: "one attribute of an interface at a time", code: "InvalidParameterCombination",
			refused: func(l *lab) error {
				_, err := l.ec2(hubAccount).ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: aws.String(hubENI),
					SourceDestCheck: &types.AttributeBooleanValue{Value: aws.Bool(false)}, Description: &types.AttributeValue{Value: aws.String("x")}})
				return err
			},
			accepted: func(l *lab) error {
				_, err := l.ec2(hubAccount).ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: aws.String(hubENI),
					SourceDestCheck: &types.AttributeBooleanValue{Value: aws.Bool(false)}})
				return err
			},
		}, {
			name: "private addresses per interface have a limit", code: "PrivateIpAddressLimitExceeded",
			options: ec2sim.Options{Quotas: ec2sim.Quotas{AddressesPerENI: 2}},
			refused: func(l *lab) error { return l.assign("10.100.0.50", "10.100.0.51") }, accepted: func(l *lab) error { return l.assign("10.100.0.50") },
		}, {
			name: "the primary address stays", code: "InvalidParameterValue",
			prepare: func(l *lab) { accepted(l.t, l.assign("10.100.0.50")) },
			refused: func(l *lab) error { return l.unassign("10.100.0.10") }, accepted: func(l *lab) error { return l.unassign("10.100.0.50") },
		}, {
			name: "an Elastic address in use is not released", code: "InvalidIPAddress.InUse",
			refused: func(l *lab) error {
				out, err := l.ec2(hubAccount).DescribeAddresses(ctx, &ec2.DescribeAddressesInput{})
				accepted(l.t, err)
				_, err = l.ec2(hubAccount).ReleaseAddress(ctx, &ec2.ReleaseAddressInput{AllocationId: out.Addresses[0].AllocationId})
				return err
			},
			accepted: func(l *lab) error {
				out, err := l.ec2(hubAccount).DescribeAddresses(ctx, &ec2.DescribeAddressesInput{})
				accepted(l.t, err)
				_, err = l.ec2(hubAccount).DisassociateAddress(ctx, &ec2.DisassociateAddressInput{AssociationId: out.Addresses[0].AssociationId})
				accepted(l.t, err)
				_, err = l.ec2(hubAccount).ReleaseAddress(ctx, &ec2.ReleaseAddressInput{AllocationId: out.Addresses[0].AllocationId})
				return err
			},
		}, {
			name: "a public address needs an internet gateway", code: "Gateway.NotAttached",
			refused: func(l *lab) error {
				out, err := l.ec2(svcAccount).AllocateAddress(ctx, &ec2.AllocateAddressInput{})
				accepted(l.t, err)
				_, err = l.ec2(svcAccount).AssociateAddress(ctx, &ec2.AssociateAddressInput{AllocationId: out.AllocationId, InstanceId: aws.String(svcInstance)})
				return err
			},
			accepted: func(l *lab) error {
				must(l.t)(l.AddInternetGateway("", svcVPC))
				out, err := l.ec2(svcAccount).AllocateAddress(ctx, &ec2.AllocateAddressInput{})
				accepted(l.t, err)
				_, err = l.ec2(svcAccount).AssociateAddress(ctx, &ec2.AssociateAddressInput{AllocationId: out.AllocationId, InstanceId: aws.String(svcInstance)})
				return err
			},
		}, {
			name: "a gateway with mapped addresses is not detached", code: "DependencyViolation",
			refused: func(l *lab) error { return l.detachGateway() },
			accepted: func(l *lab) error {
				accepted(l.t, l.TerminateInstance(hubInstance))
				l.clock.Add(time.Second)
				return l.detachGateway()
			},
		}, {
			name: "a VPC has one internet gateway", code: "InvalidParameterValue",
			refused: func(l *lab) error { return l.attachGateway(hubAccount, hubVPC) }, accepted: func(l *lab) error { return l.attachGateway(svcAccount, svcVPC) },
		},
	})
}

func (l *lab) setGroups(groups ...string) error {
	_, err := l.ec2(hubAccount).ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{InstanceId: aws.String(hubInstance), Groups: groups})
	return err
}

func (l *lab) detachGateway() error {
	_, err := l.ec2(hubAccount).DetachInternetGateway(ctx, &ec2.DetachInternetGatewayInput{InternetGatewayId: aws.String(hubGateway), VpcId: aws.String(hubVPC)})
	return err
}

func (l *lab) attachGateway(account, vpc string) error {
	out, err := l.ec2(account).CreateInternetGateway(ctx, &ec2.CreateInternetGatewayInput{})
	accepted(l.t, err)
	_, err = l.ec2(account).AttachInternetGateway(ctx, &ec2.AttachInternetGatewayInput{InternetGatewayId: out.InternetGateway.InternetGatewayId, VpcId: aws.String(vpc)})
	return err
}

func TestInstanceLivesAndDies(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	id, err := l.run(ec2.RunInstancesInput{ClientToken: aws.String("once"), IamInstanceProfile: &types.IamInstanceProfileSpecification{Name: aws.String("hub")}})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := l.run(ec2.RunInstancesInput{ClientToken: aws.String("once")}); again != id || err != nil {
		t.Errorf("the same token started %s beside %s, %v", again, id, err)
	}
	state := func() string {
		t.Helper()
		out, err := l.ec2(hubAccount).DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
		if err != nil {
			return code(err)
		}
		return string(out.Reservations[0].Instances[0].State.Name)
	}
	in := func() int { return len(l.Network().Interfaces) }
	if got, n := state(), in(); got != "pending" || n != 2 {
		t.Errorf("at first %s, %d interfaces in the network", got, n)
	}
	l.clock.Add(time.Second)
	if got, n := state(), in(); got != "running" || n != 3 {
		t.Errorf("then %s, %d interfaces in the network", got, n)
	}
	_, err = l.ec2(hubAccount).TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	accepted(t, err)
	if got, n := state(), in(); got != "shutting-down" || n != 2 {
		t.Errorf("ending: %s, %d interfaces in the network", got, n)
	}
	l.clock.Add(time.Second)
	if got := state(); got != "terminated" {
		t.Errorf("ended: %s", got)
	}
	_, err = l.run(ec2.RunInstancesInput{ClientToken: aws.String("once")})
	refused(t, "IdempotentInstanceTerminated", err)
	l.clock.Add(3 * time.Hour)
	if got := state(); got != "InvalidInstanceID.NotFound" {
		t.Errorf("long gone: %s", got)
	}
}

func TestReplacedInstanceKeepsItsAddresses(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	id, err := l.ReplaceInstance(hubInstance, ec2sim.InstanceSpec{ID: "i-0a0000000000000ff"})
	if err != nil || id != "i-0a0000000000000ff" {
		t.Fatalf("%s, %v", id, err)
	}
	for _, e := range l.Network().Interfaces {
		if e.VPC != hubVPC {
			continue
		}
		if e.Instance != id || e.ID == hubENI || e.Addresses[0] != netip.MustParseAddr("10.100.0.10") ||
			e.Public[e.Addresses[0]] != netip.MustParseAddr("203.0.113.10") {
			t.Errorf("in its place: %+v", e)
		}
	}
}

func TestSourceDestCheckIsSeenEverywhere(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	accepted(t, l.instanceCheck(false))
	inst, err := l.ec2(hubAccount).DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{hubInstance}})
	accepted(t, err)
	eni, err := l.ec2(hubAccount).DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{hubENI}})
	accepted(t, err)
	attr, err := l.ec2(hubAccount).DescribeInstanceAttribute(ctx, &ec2.DescribeInstanceAttributeInput{InstanceId: aws.String(hubInstance), Attribute: types.InstanceAttributeNameSourceDestCheck})
	accepted(t, err)
	if *inst.Reservations[0].Instances[0].SourceDestCheck || *eni.NetworkInterfaces[0].SourceDestCheck || *attr.SourceDestCheck.Value {
		t.Error("the check is still on somewhere in the API")
	}
	for _, e := range l.Network().Interfaces {
		if e.ID == hubENI && e.SourceDestCheck {
			t.Error("the check is still on in the data plane")
		}
	}
}
