package hub

import "slices"

// CodeDoc is what docs/problems.md says about a code.
type CodeDoc struct {
	Code    Code
	Meaning string // what is so, and what hubd does meanwhile
	Mend    string // what a person does about it
}

// Codes returns every problem code with its meaning and mend, in the order of the documentation.
func Codes() []CodeDoc { return slices.Clone(codes) }

// Mend returns what to do about a problem of the code in general.
func Mend(c Code) string {
	if i := slices.IndexFunc(codes, func(d CodeDoc) bool { return d.Code == c }); i >= 0 {
		return codes[i].Mend
	}
	return ""
}

var codes = []CodeDoc{
	{OverlapsHub, "A spoke announces a prefix that overlaps the hub VPC. It is left out; the spoke's other prefixes work.", "renumber the spoke's prefix; to be told no more, exclude it in the account"},
	{OverlapsPool, "A prefix overlaps a pool that VPN clients get their addresses from. It is left out.", "change vpn.pools or renumber the prefix; to be told no more, exclude it in the account"},
	{OverlapsSite, "A prefix overlaps an office network behind a site client. It is left out.", "change vpn.sites or renumber the prefix; to be told no more, exclude it in the account"},
	{OverlapsProtected, "A prefix overlaps a network named in protect. It is left out.", "renumber the prefix, or take the network out of protect; to be told no more, exclude it in the account"},
	{ReservedSpace, "A prefix lies in space that no VPC may announce: this-network, loopback, link-local with IMDS, multicast, class E. It is left out.", "ask the spoke's owner what it is for; there is no way to allow it"},
	{NotAllowed, "A prefix is outside RFC 1918 (public or CGNAT space) and not inside an entry of spokes.allow. It is left out.", "if it is right, add it to spokes.allow; else exclude it in the account"},
	{BadLength, "A prefix is wider than /16 or narrower than /28, which no VPC can be. It is left out.", "look at the peering in the AWS console; exclude the prefix in the account to be told no more"},
	{Collision, "Two spokes announce the same addresses. The one that had them first keeps them; the other's prefix is left out.", "exclude the prefix in the account that shall not have it, or renumber one of them"},
	{BadPrefix, "An announced prefix cannot be read, or is IPv6, which is not carried yet. It is left out.", "none needed for IPv6; else look at the peering in the AWS console"},
	{NoPrefix, "An active peering has no prefix that can be reached, so its VPC is no spoke.", "see the other problems of this spoke"},
	{SpokeNumbers, "Every spoke number is in use. The spoke waits.", "delete peerings that nobody needs"},

	{PeeringNotActive, "A peering of the hub VPC is not active yet, or waits for somebody.", "accept it on the side that has to; hubd accepts requests of listed accounts itself"},
	{PeeringEnded, "A peering was deleted, rejected, failed or expired. What led there is removed.", "if it shall work again, request it anew: hubctl add-spoke"},
	{NotListed, "An active peering's account is not in accounts, and spokes.from is listed.", "add the account, or delete the peering"},

	{RoleDenied, "The role in an account cannot be assumed. What is known of it stays as it was; what other accounts need goes on.", "check role, external_id and the role's trust policy in that account"},
	{SourceStale, "An account and region does not answer completely. What is known of it stays as it was.", "hubctl status shows since when; check network, credentials and throttling"},
	{AnswerDoubt, "An answer was complete in form and is not believed: no request id, or the hub's own VPC is not in it. It counts as no answer.", "check what stands between hubd and the EC2 endpoint: proxy, aws.endpoint"},
	{NoTopology, "Nothing is known of AWS yet. What was wanted before is kept up; nothing is removed.", "check credentials, region and hub.vpc in hubd.yaml"},
	{OtherSide, "The spoke's own route tables are not ours to see. Whether replies find their way is not known; nothing is held back.", "ask the account's owner for the route back to the hub, or give hubd a role there"},

	{RouteConflict, "A VPC route table has a foreign route to the wanted destination with another target. It is not touched; the prefix is held.", "delete or change that route, or exclude the prefix"},
	{RouteShadowed, "A foreign, more specific VPC route takes part of a wanted destination. Our route is made; that part goes elsewhere.", "delete that route if it is not meant"},
	{RouteCovered, "A foreign, wider VPC route covers a wanted destination, which would change where that traffic goes. The prefix is held.", "`override` under `aws` in hubd.yaml approves it; or exclude the prefix"},
	{RouteContested, "A VPC route of ours is removed again and again by somebody. hubd waits longer each time.", "find who removes it: CloudTrail event DeleteRoute or ReplaceRoute"},
	{RouteQuota, "A VPC route table is full. Other tables and prefixes go on; nothing is removed.", "raise quota L-93826ACB, or exclude prefixes"},
	{RouteDenied, "A VPC route may not be written: permission is missing.", "allow ec2:CreateRoute, ec2:ReplaceRoute and ec2:DeleteRoute on that table (deploy/iam)"},
	{RouteFailed, "A VPC route could not be written, for a reason that may pass. It is tried again.", "see the detail; hubctl sync tries at once"},
	{NoTable, "No VPC route table is chosen, or a chosen one is not there.", "check aws.tables and the account's tables in hubd.yaml"},
	{Blackhole, "A VPC route leads to something that is gone: a peering, or the interface or address of a hub that was replaced.", "if it is not ours, its owner deletes it"},

	{NoEgress, "The hub's first network interface is not known by kernel name and address. What stands is kept; new spokes wait.", "ip link; or state hub.interfaces in hubd.yaml"},
	{SysctlWrong, "A kernel setting keeps the hub from forwarding as it should.", "sysctl as the detail says, or kernel.sysctls: set in hubd.yaml"},
	{PlaneFailed, "A place could not be read or written. What it lacks is held for the places after it; it is tried again.", "journalctl -u hubd -n 50, then: hubctl sync"},
	{TunnelAbsent, "A tunnel interface named in vpn.interfaces is not there. Its rules are, so it is closed until it comes.", "systemctl status openvpn-server@NAME"},
	{KernelLacks, "The kernel or nft lacks something hubd would use. A weaker way is used instead.", "see the detail; a newer kernel or nftables"},
	{ForeignChain, "A chain of somebody else's nftables table (iptables-nft, Docker and firewalld have such) drops packets that hubd lets through, or translates them before hubd does. hubd never touches it.", "let the tunnel pass in that chain, as the detail and the mend of the problem say"},
	{ConntrackFull, "The kernel's table of flows is nearly full. When it is full, new flows of everybody are refused.", "sysctl -w net.netfilter.nf_conntrack_max=N; who has many: conntrack -L, or look at masq.max_flows"},

	{ClientFileHides, "A client has a client-config-dir file of its own, which hides DEFAULT and the routes in it.", "put the config line of the detail into that file"},
	{ClientLacks, "A client connected before a route was pushed and lacks it.", "it has it after its next connect"},
	{StatusUnread, "OpenVPN's status cannot be read, so who is connected is not known.", "check vpn.status in hubd.yaml and the permissions of that path"},

	{RemovalHeld, "More would be removed than safety.max_removed allows at once, or the config leaves none of two or more spokes. Nothing is removed; what works goes on working.", "look at hubctl plan; if it is meant: hubctl sync --allow-removals"},
	{Paused, "An operator paused a place. It is neither added to nor removed from.", "hubctl resume"},
	{LedgerDoubt, "The state directory was lost, broken or not believable. Nothing is removed before a full answer of the hub's own account.", "none: it passes; the broken file is kept beside the new one"},
	{StateFailed, "What must be remembered could not be saved, so nothing is applied. What works goes on working.", "make room in, or give hubd access to, the state directory"},
}
