package ec2sim

import (
	"fmt"
	"regexp"
)

var idForm = regexp.MustCompile(`^[a-z]+(-[a-z]+)*-([0-9a-f]{8}|[0-9a-f]{17})$`)

// wellFormed tells whether an id looks like AWS's of that kind.
func wellFormed(id, prefix string) bool {
	return idForm.MatchString(id) && len(id) > len(prefix)+1 && id[:len(prefix)+1] == prefix+"-" &&
		(len(id) == len(prefix)+9 || len(id) == len(prefix)+18)
}

// Error codes for ids, by prefix, in AWS's own spelling: it is not regular.
var (
	notFoundCode = map[string]string{
		"vpc": "InvalidVpcID.NotFound", "subnet": "InvalidSubnetID.NotFound",
		"rtb": "InvalidRouteTableID.NotFound", "igw": "InvalidInternetGatewayID.NotFound",
		"nat": "InvalidNatGatewayID.NotFound", "tgw": "InvalidTransitGatewayID.NotFound", "vgw": "InvalidGatewayID.NotFound",
		"i": "InvalidInstanceID.NotFound", "eni": "InvalidNetworkInterfaceID.NotFound",
		"sg": "InvalidGroup.NotFound", "sgr": "InvalidSecurityGroupRuleId.NotFound", "acl": "InvalidNetworkAclID.NotFound",
		"pcx": "InvalidVpcPeeringConnectionID.NotFound", "eipalloc": "InvalidAllocationID.NotFound",
		"rtbassoc": "InvalidAssociationID.NotFound", "eipassoc": "InvalidAssociationID.NotFound",
		"aclassoc": "InvalidAssociationID.NotFound", "vpc-cidr-assoc": "InvalidVpcCidrBlockAssociationID.NotFound",
		"eni-attach": "InvalidAttachmentID.NotFound",
	}
	malformedCode = map[string]string{
		"vpc": "InvalidVpcID.Malformed", "subnet": "InvalidSubnetID.Malformed",
		"rtb": "InvalidRouteTableId.Malformed", "igw": "InvalidInternetGatewayId.Malformed",
		"nat": "NatGatewayMalformed", "tgw": "InvalidTransitGatewayID.Malformed", "vgw": "InvalidGatewayID.Malformed",
		"i": "InvalidInstanceID.Malformed", "eni": "InvalidNetworkInterfaceId.Malformed",
		"sg": "InvalidGroupId.Malformed", "sgr": "InvalidSecurityGroupRuleId.Malformed", "acl": "InvalidNetworkAclId.Malformed",
		"pcx": "InvalidVpcPeeringConnectionId.Malformed", "eipalloc": "InvalidAllocationID.Malformed",
		"rtbassoc": "InvalidAssociationID.Malformed", "eipassoc": "InvalidAssociationID.Malformed",
		"aclassoc": "InvalidAssociationID.Malformed", "vpc-cidr-assoc": "InvalidVpcCidrBlockAssociationID.Malformed",
		"eni-attach": "InvalidNetworkInterfaceAttachmentId.Malformed",
	}
	// kindName is how messages speak of a kind.
	kindName = map[string]string{
		"vpc": "vpc", "subnet": "subnet", "rtb": "routeTable", "igw": "internetGateway", "i": "instance",
		"eni": "networkInterface", "sg": "security group", "sgr": "security group rule", "acl": "networkAcl",
		"pcx": "vpcPeeringConnection", "eipalloc": "allocation", "rtbassoc": "association", "eipassoc": "association",
		"aclassoc": "association", "vpc-cidr-assoc": "association", "eni-attach": "attachment",
		"nat": "natGateway", "tgw": "transitGateway", "vgw": "gateway",
	}
)

func notFound(id, prefix string) error {
	return refuse(notFoundCode[prefix], "The %s ID '%s' does not exist", kindName[prefix], id)
}

// checkID refuses an id that does not look like one of its kind.
func checkID(id, prefix string) error {
	if !wellFormed(id, prefix) {
		return refuse(malformedCode[prefix], "Invalid id: \"%s\" (expecting \"%s-...\")", id, prefix)
	}
	return nil
}

// idOr is a given id after a check, or a new one.
func (st *state) idOr(id, prefix string) (string, error) {
	if id == "" {
		return st.newID(prefix), nil
	}
	if st.exists(id) {
		return "", fmt.Errorf("%s exists", id)
	}
	return id, checkID(id, prefix)
}

// exists tells whether an id is taken.
func (st *state) exists(id string) bool {
	_, v := st.vpcs[id]
	_, sn := st.subnets[id]
	_, t := st.tables[id]
	_, g := st.gateways[id]
	_, i := st.instances[id]
	_, e := st.interfaces[id]
	_, sg := st.groups[id]
	_, a := st.acls[id]
	_, p := st.peerings[id]
	return v || sn || t || g || i || e || sg || a || p
}
