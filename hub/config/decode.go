package config

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"peerhub/hub"
)

var (
	prefixes   = listOf("prefixes", prefix)
	name       = matching[string](nameForm, "a name of letters, digits, dot, underscore and dash, at most 63")
	region     = matching[hub.Region](regionForm, "a region such as ap-northeast-1")
	externalID = matching[string](externalForm, "an external id of 2 to 512 letters, digits and +=,.@:/-")
)

// decode reads the top mapping. dir is what relative paths are relative to.
func (c *Config) decode(root value, dir string) {
	f, ok := root.object()
	if !ok {
		return
	}
	f.require("version")
	version := 1
	read(f, "version", &version, integer(1, 1))
	read(f, "mode", &c.Policy.Mode, oneOf(hub.ModeObserve, hub.ModeAdd, hub.ModeSync))
	read(f, "poll", &c.Poll, duration(time.Second, 10*time.Minute))
	read(f, "protect", &c.Policy.Protect, ranges(rangeProtected))
	read(f, "state", &c.State, path(dir))
	f.section("hub", c.decodeHub)
	f.section("aws", c.decodeAWS)
	f.section("spokes", c.decodeSpokes)
	f.section("safety", c.decodeSafety)
	f.section("masq", c.decodeMasq)
	f.section("kernel", func(k fields) {
		var mode string
		read(k, "sysctls", &mode, oneOf("check", "set"))
		c.Policy.SetSysctls = mode == "set"
	})
	f.section("control", func(s fields) {
		read(s, "socket", &c.Control.Socket, socketPath(dir))
		read(s, "group", &c.Control.Group, matching[string](groupForm, "the name of a group"))
	})
	f.section("metrics", func(m fields) { read(m, "listen", &c.Metrics.Listen, listen) })
	f.section("log", func(l fields) {
		read(l, "level", &c.Log.Level, oneOf("debug", "info", "warn", "error"))
		read(l, "format", &c.Log.Format, oneOf("auto", "console", "json"))
	})
	if v, ok := f.set["accounts"]; ok {
		c.decodeAccounts(v)
	}
	read(f, "vpn", &c.Policy.VPNs, listOf("servers", func(v value) (hub.VPN, bool) { return decodeVPN(v, dir) }))
}

// section reads a mapping below f when it is there.
func (f fields) section(name string, body func(fields)) {
	if v, ok := f.set[name]; ok {
		if s, ok := v.object(); ok {
			body(s)
		}
	}
}

func (c *Config) decodeHub(f fields) {
	read(f, "name", &c.Hub.Name, name)
	read(f, "region", &c.Hub.Region, region)
	read(f, "vpc", &c.Hub.VPC, awsID[hub.VPCID]("vpc"))
	read(f, "instance", &c.Hub.Instance, awsID[hub.InstanceID]("i"))
	read(f, "interfaces", &c.Hub.Interfaces, listOf("interfaces", func(v value) (Interface, bool) {
		var i Interface
		o, ok := v.object()
		if !ok {
			return i, false
		}
		o.require("name")
		read(o, "name", &i.Name, kernelName)
		read(o, "eni", &i.ENI, awsID[hub.InterfaceID]("eni"))
		return i, true
	}))
	c.Policy.HubName = c.Hub.Name
}

func (c *Config) decodeAWS(f fields) {
	read(f, "role", &c.AWS.Role, defaultRole)
	read(f, "external_id", &c.AWS.ExternalID, externalID)
	read(f, "regions", &c.AWS.Regions, listOf("regions", region))
	read(f, "return_route", &c.Policy.ReturnRoute, oneOf(hub.ReturnAddress, hub.ReturnSubnet, hub.ReturnVPC))
	read(f, "override", &c.Policy.Override, prefixes)
	read(f, "endpoint", &c.AWS.Endpoint, endpoint)
	read(f, "allow_insecure_endpoint", &c.AWS.AllowInsecureEndpoint, boolean)
	f.section("tables", func(t fields) {
		read(t, "hub", &c.Policy.HubTables, tables(hub.TablesOwnSubnet, hub.TablesAll))
		read(t, "spoke", &c.Policy.SpokeTables, tables(hub.TablesAll))
	})
	if strings.HasPrefix(c.AWS.Endpoint, "http://") && !c.AWS.AllowInsecureEndpoint {
		f.set["endpoint"].wrong("found plain http", "want https, or allow_insecure_endpoint: true beside it")
	}
}

// defaultRole reads the role of every account without its own: it must differ by account.
func defaultRole(v value) (string, bool) {
	arn, ok := matching[string](roleForm, "a role such as arn:aws:iam::{account}:role/peerhub-spoke")(v)
	if ok && !strings.Contains(arn, "{account}") {
		v.mismatch("{account} in place of the account id, for this role is used in every account")
		return "", false
	}
	return arn, ok
}

func (c *Config) decodeSpokes(f fields) {
	from := "active"
	read(f, "from", &from, oneOf("active", "listed"))
	c.Policy.ListedOnly = from == "listed"
	read(f, "allow", &c.Policy.Allow, listOf("prefixes", func(v value) (netip.Prefix, bool) {
		p, ok := prefix(v)
		if !ok {
			return p, false
		}
		for _, r := range reserved {
			if r.Overlaps(p) {
				v.wrong("found "+describe(v.node), fmt.Sprintf("%s is never a spoke's; remove it", r))
				return p, false
			}
		}
		return p, true
	}))
}

// reserved is space that no spoke can have, whatever is allowed.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("240.0.0.0/4"),
}

func (c *Config) decodeSafety(f fields) {
	read(f, "removals_after", &c.Policy.Safety.RemovalsAfter, integer(1, 100))
	read(f, "max_removed", &c.Policy.Safety.MaxRemoved, percent)
}

func (c *Config) decodeMasq(f fields) {
	read(f, "ownership", &c.Policy.Masq.Ownership, oneOf(hub.OwnershipAuto, hub.OwnershipPersist, hub.OwnershipPlain))
	source := "address"
	read(f, "source", &source, oneOf("address", "masquerade"))
	c.Policy.Masq.Masquerade = source == "masquerade"
	read(f, "max_flows", &c.Policy.Masq.MaxFlows, integer(0, 1_000_000))
}
