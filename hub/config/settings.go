package config

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"peerhub/hub"
)

// Setting is one value of the config in use, as text, and where it came from.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	From  string `json:"from"` // FILE:LINE, "default" or "instance metadata"
}

// FromMetadata is the origin of what no file states and the instance's metadata tells.
const FromMetadata = "instance metadata"

// Settings lists every value in use, in the order of the reference file.
func (c Config) Settings() []Setting {
	l := settingList{config: c}
	p := c.Policy
	l.add("version", "1")
	l.add("mode", string(p.Mode))
	l.add("poll", short(c.Poll))
	l.hub(c.Hub)
	l.add("aws.role", c.AWS.Role)
	l.add("aws.external_id", c.AWS.ExternalID)
	l.add("aws.regions", texts(c.AWS.Regions))
	l.add("aws.tables.hub", tableText(p.HubTables))
	l.add("aws.tables.spoke", tableText(p.SpokeTables))
	l.add("aws.return_route", string(p.ReturnRoute))
	l.add("aws.override", prefixText(p.Override))
	l.add("aws.endpoint", c.AWS.Endpoint)
	l.add("aws.allow_insecure_endpoint", strconv.FormatBool(c.AWS.AllowInsecureEndpoint))
	for _, id := range slices.Sorted(maps.Keys(p.Accounts)) {
		l.account(id, p.Accounts[id])
	}
	l.add("spokes.from", pick(p.ListedOnly, "listed", "active"))
	l.add("spokes.allow", prefixText(p.Allow))
	l.add("protect", prefixText(p.Protect))
	for i, v := range p.VPNs {
		l.vpn(fmt.Sprintf("vpn[%d].", i), v)
	}
	l.add("safety.removals_after", strconv.Itoa(p.Safety.RemovalsAfter))
	l.add("safety.max_removed", strconv.Itoa(p.Safety.MaxRemoved)+"%")
	l.add("masq.ownership", string(p.Masq.Ownership))
	l.add("masq.source", pick(p.Masq.Masquerade, "masquerade", "address"))
	l.add("masq.max_flows", strconv.Itoa(p.Masq.MaxFlows))
	l.add("kernel.sysctls", pick(p.SetSysctls, "set", "check"))
	l.add("control.socket", c.Control.Socket)
	l.add("control.group", c.Control.Group)
	l.add("metrics.listen", c.Metrics.Listen)
	l.add("log.level", c.Log.Level)
	l.add("log.format", c.Log.Format)
	l.add("state", c.State)
	return l.list
}

type settingList struct {
	config Config
	list   []Setting
}

func (l *settingList) add(key, value string) {
	l.list = append(l.list, Setting{Key: key, Value: value, From: l.config.Origin(key).String()})
}

// told adds a value that metadata gives when no file does.
func (l *settingList) told(key, value string) {
	l.add(key, value)
	if last := &l.list[len(l.list)-1]; value == "" {
		last.From = FromMetadata
	}
}

func (l *settingList) hub(h Hub) {
	l.told("hub.name", h.Name)
	l.told("hub.region", string(h.Region))
	l.told("hub.vpc", string(h.VPC))
	l.told("hub.instance", string(h.Instance))
	if len(h.Interfaces) == 0 {
		l.told("hub.interfaces", "")
	}
	for i, f := range h.Interfaces {
		key := fmt.Sprintf("hub.interfaces[%d].", i)
		l.add(key+"name", f.Name)
		l.add(key+"eni", string(f.ENI))
	}
}

func (l *settingList) account(id hub.AccountID, a hub.Account) {
	key := "accounts." + string(id)
	if a.Name == "" && a.Role == "" && len(a.Exclude) == 0 && a.ExternalID == "" && a.SpokeTables.Kind == "" {
		l.add(key, "{}")
		return
	}
	for _, s := range []struct{ name, value string }{
		{"name", a.Name}, {"exclude", prefixText(a.Exclude)}, {"role", a.Role},
		{"external_id", a.ExternalID}, {"tables.spoke", tableText(a.SpokeTables)},
	} {
		if s.value != "" && s.value != "[]" {
			l.add(key+"."+s.name, s.value)
		}
	}
}

func (l *settingList) vpn(key string, v hub.VPN) {
	l.add(key+"name", v.Name)
	l.add(key+"interfaces", texts(v.Interfaces))
	l.add(key+"pools", prefixText(v.Pools))
	for i, s := range v.Sites {
		site := fmt.Sprintf("%ssites[%d].", key, i)
		l.add(site+"name", s.Name)
		l.add(site+"client", s.Client)
		l.add(site+"networks", prefixText(s.Networks))
	}
	l.add(key+"client_dir", v.ClientDir)
	l.add(key+"own_files", string(v.OwnFiles))
	l.add(key+"status", v.Status)
	l.add(key+"aggregates", prefixText(v.Aggregates))
	services := make([]string, len(v.ToHub))
	for i, s := range v.ToHub {
		services[i] = s.Protocol
		if s.Port != 0 {
			services[i] = fmt.Sprintf("%d/%s", s.Port, s.Protocol)
		}
	}
	l.add(key+"to_hub", texts(services))
	l.add(key+"other_traffic", string(v.Other))
}

func pick(on bool, yes, no string) string {
	if on {
		return yes
	}
	return no
}

func texts[T ~string](list []T) string {
	out := make([]string, len(list))
	for i, t := range list {
		out[i] = string(t)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

func prefixText(list []netip.Prefix) string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.String()
	}
	return texts(out)
}

func tableText(t hub.TableChoice) string {
	switch t.Kind {
	case hub.TablesTag:
		return "tag:" + t.Tag
	case hub.TablesListed:
		return texts(t.Tables)
	}
	return string(t.Kind)
}
