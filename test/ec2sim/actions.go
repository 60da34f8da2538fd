package ec2sim

import "fmt"

func read(do func(*call) ([]node, error), params string) action {
	return action{do: do, schema: parseSchema(params), class: classRead}
}

func readBig(do func(*call) ([]node, error), params string) action {
	a := read(do, params)
	a.big = true
	return a
}

func write(do func(*call) ([]node, error), params string) action {
	return action{do: do, schema: parseSchema(params), class: classWrite, writes: true, network: true}
}

// writeAt is a write with a bucket of its own size.
func writeAt(c class, do func(*call) ([]node, error), params string) action {
	a := write(do, params)
	a.class = c
	return a
}

// writeTags is a write that the data plane need not hear of.
func writeTags(do func(*call) ([]node, error)) action {
	a := writeAt(classTags, do, "ResourceId.n! Tag.n.Key Tag.n.Value")
	a.network = false
	return a
}

const (
	pcxParam   = "VpcPeeringConnectionId:pcx!"
	routeParam = "RouteTableId:rtb! DestinationCidrBlock:cidr4 DestinationIpv6CidrBlock:cidr6 GatewayId NatGatewayId:nat " +
		"TransitGatewayId:tgw NetworkInterfaceId:eni InstanceId:i VpcPeeringConnectionId:pcx"
)

// ec2Actions is everything that EC2 is asked for here; the rest is InvalidAction.
var ec2Actions = map[string]action{
	"CreateVpcPeeringConnection": write((*call).createPeering, "VpcId:vpc! PeerVpcId:vpc! PeerOwnerId PeerRegion"+tagSpecParams),
	"AcceptVpcPeeringConnection": write((*call).acceptPeering, pcxParam),
	"RejectVpcPeeringConnection": write((*call).rejectPeering, pcxParam),
	"DeleteVpcPeeringConnection": write((*call).deletePeering, pcxParam),
	"ModifyVpcPeeringConnectionOptions": write((*call).modifyPeeringOptions, pcxParam+" "+
		peeringOptions("AccepterPeeringConnectionOptions")+peeringOptions("RequesterPeeringConnectionOptions")),
	"DescribeVpcPeeringConnections": read((*call).describePeerings, "VpcPeeringConnectionId.n:pcx"+pageParams),

	"CreateVpc":                write((*call).createVPC, "CidrBlock:cidr4 AmazonProvidedIpv6CidrBlock:bool InstanceTenancy"+tagSpecParams),
	"DeleteVpc":                write((*call).deleteVPC, "VpcId:vpc!"),
	"DescribeVpcs":             read((*call).describeVPCs, "VpcId.n:vpc"+pageParams),
	"AssociateVpcCidrBlock":    write((*call).associateCIDR, "VpcId:vpc! CidrBlock:cidr4 AmazonProvidedIpv6CidrBlock:bool"),
	"DisassociateVpcCidrBlock": write((*call).disassociateCIDR, "AssociationId:vpc-cidr-assoc!"),
	"DescribeVpcAttribute":     read((*call).describeVPCAttribute, "VpcId:vpc! Attribute!"),
	"ModifyVpcAttribute":       write((*call).modifyVPCAttribute, "VpcId:vpc! EnableDnsSupport.Value:bool EnableDnsHostnames.Value:bool"),

	"CreateSubnet":    write((*call).createSubnet, "VpcId:vpc! CidrBlock:cidr4! AvailabilityZone"+tagSpecParams),
	"DeleteSubnet":    write((*call).deleteSubnet, "SubnetId:subnet!"),
	"DescribeSubnets": read((*call).describeSubnets, "SubnetId.n:subnet"+pageParams),

	"CreateRouteTable":             write((*call).createTable, "VpcId:vpc! ClientToken"+tagSpecParams),
	"DeleteRouteTable":             write((*call).deleteTable, "RouteTableId:rtb!"),
	"DescribeRouteTables":          read((*call).describeTables, "RouteTableId.n:rtb"+pageParams),
	"AssociateRouteTable":          write((*call).associateTable, "RouteTableId:rtb! SubnetId:subnet GatewayId"),
	"DisassociateRouteTable":       write((*call).disassociateTable, "AssociationId:rtbassoc!"),
	"ReplaceRouteTableAssociation": write((*call).replaceTableLink, "AssociationId:rtbassoc! RouteTableId:rtb!"),
	"CreateRoute":                  write((*call).createRoute, routeParam),
	"ReplaceRoute":                 write((*call).replaceRoute, routeParam+" LocalTarget:bool"),
	"DeleteRoute":                  write((*call).deleteRoute, "RouteTableId:rtb! DestinationCidrBlock:cidr4 DestinationIpv6CidrBlock:cidr6"),

	"CreateInternetGateway":    write((*call).createGateway, tagSpecParams),
	"AttachInternetGateway":    write((*call).attachGateway, "InternetGatewayId:igw! VpcId:vpc!"),
	"DetachInternetGateway":    write((*call).detachGateway, "InternetGatewayId:igw! VpcId:vpc!"),
	"DeleteInternetGateway":    write((*call).deleteGateway, "InternetGatewayId:igw!"),
	"DescribeInternetGateways": read((*call).describeGateways, "InternetGatewayId.n:igw"+pageParams),

	"AllocateAddress":     write((*call).allocateAddress, "Domain"+tagSpecParams),
	"ReleaseAddress":      write((*call).releaseAddress, "AllocationId:eipalloc!"),
	"AssociateAddress":    write((*call).associateAddress, "AllocationId:eipalloc! InstanceId:i NetworkInterfaceId:eni PrivateIpAddress:addr4 AllowReassociation:bool"),
	"DisassociateAddress": write((*call).disassociateAddress, "AssociationId:eipassoc!"),
	"DescribeAddresses":   read((*call).describeAddresses, "AllocationId.n:eipalloc Filter.n.Name Filter.n.Value.n"),

	"RunInstances":              write((*call).runInstances, runParams),
	"TerminateInstances":        write((*call).terminateInstances, "InstanceId.n:i!"),
	"DescribeInstances":         readBig((*call).describeInstances, "InstanceId.n:i"+pageParams),
	"DescribeInstanceStatus":    read((*call).describeInstanceStatus, "InstanceId.n:i IncludeAllInstances:bool"+pageParams),
	"ModifyInstanceAttribute":   write((*call).modifyInstanceAttribute, "InstanceId:i! SourceDestCheck.Value:bool GroupId.n:sg Attribute Value"),
	"DescribeInstanceAttribute": read((*call).describeInstanceAttribute, "InstanceId:i! Attribute!"),

	"DescribeNetworkInterfaces":       readBig((*call).describeInterfaces, "NetworkInterfaceId.n:eni"+pageParams),
	"CreateNetworkInterface":          write((*call).createInterface, "SubnetId:subnet! Description PrivateIpAddress:addr4 SecurityGroupId.n:sg ClientToken"+tagSpecParams),
	"DeleteNetworkInterface":          write((*call).deleteInterface, "NetworkInterfaceId:eni!"),
	"AttachNetworkInterface":          write((*call).attachInterface, "NetworkInterfaceId:eni! InstanceId:i! DeviceIndex:int!"),
	"DetachNetworkInterface":          write((*call).detachInterface, "AttachmentId:eni-attach! Force:bool"),
	"ModifyNetworkInterfaceAttribute": writeAt(classInterface, (*call).modifyInterfaceAttribute, "NetworkInterfaceId:eni! SourceDestCheck.Value:bool Description.Value SecurityGroupId.n:sg"),
	"AssignPrivateIpAddresses":        writeAt(classInterface, (*call).assignAddresses, "NetworkInterfaceId:eni! PrivateIpAddress.n:addr4 SecondaryPrivateIpAddressCount:int AllowReassignment:bool"),
	"UnassignPrivateIpAddresses":      writeAt(classInterface, (*call).unassignAddresses, "NetworkInterfaceId:eni! PrivateIpAddress.n:addr4!"),

	"CreateSecurityGroup":           write((*call).createGroup, "GroupName! GroupDescription! VpcId:vpc!"+tagSpecParams),
	"DeleteSecurityGroup":           write((*call).deleteGroup, "GroupId:sg!"),
	"DescribeSecurityGroups":        readBig((*call).describeGroups, "GroupId.n:sg"+pageParams),
	"DescribeSecurityGroupRules":    read((*call).describeGroupRules, "SecurityGroupRuleId.n:sgr"+pageParams),
	"AuthorizeSecurityGroupIngress": write(func(c *call) ([]node, error) { return c.authorize(false)() }, "GroupId:sg!"+permissionParams),
	"AuthorizeSecurityGroupEgress":  write(func(c *call) ([]node, error) { return c.authorize(true)() }, "GroupId:sg!"+permissionParams),
	"RevokeSecurityGroupIngress":    write(func(c *call) ([]node, error) { return c.revoke(false)() }, "GroupId:sg! SecurityGroupRuleId.n:sgr"+permissionParams),
	"RevokeSecurityGroupEgress":     write(func(c *call) ([]node, error) { return c.revoke(true)() }, "GroupId:sg! SecurityGroupRuleId.n:sgr"+permissionParams),

	"CreateNetworkAcl":             write((*call).createACL, "VpcId:vpc! ClientToken"+tagSpecParams),
	"DeleteNetworkAcl":             write((*call).deleteACL, "NetworkAclId:acl!"),
	"DescribeNetworkAcls":          read((*call).describeACLs, "NetworkAclId.n:acl"+pageParams),
	"CreateNetworkAclEntry":        write((*call).createEntry, aclEntryParams),
	"ReplaceNetworkAclEntry":       write((*call).replaceEntry, aclEntryParams),
	"DeleteNetworkAclEntry":        write((*call).deleteEntry, "NetworkAclId:acl! RuleNumber:int! Egress:bool!"),
	"ReplaceNetworkAclAssociation": write((*call).replaceACLLink, "AssociationId:aclassoc! NetworkAclId:acl!"),

	"CreateTags":   writeTags((*call).createTags),
	"DeleteTags":   writeTags((*call).deleteTags),
	"DescribeTags": read((*call).describeTags, pageParams),

	"DescribeManagedPrefixLists": read((*call).describePrefixLists, "PrefixListId.n"+pageParams),
}

func peeringOptions(side string) string {
	out := ""
	for _, name := range []string{dnsOption, "AllowEgressFromLocalClassicLinkToRemoteVpc", "AllowEgressFromLocalVpcToRemoteClassicLink"} {
		out += fmt.Sprintf("%s.%s:bool ", side, name)
	}
	return out
}

// describePrefixLists knows of no lists: the answer is an empty set.
func (c *call) describePrefixLists() ([]node, error) {
	return describe(c, listing[string]{
		element: "prefixListSet", idParam: "PrefixListId", kind: "pl", max: 100,
		id: func(s string) string { return s }, item: func(string) node { return node{} },
		filters: map[string]func(string) []string{
			"owner-id": one(func(s string) string { return s }), "prefix-list-id": one(func(s string) string { return s }),
			"prefix-list-name": one(func(s string) string { return s }),
		},
	}, nil)
}
