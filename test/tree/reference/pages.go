package reference

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"

	"peerhub/hub"
	"peerhub/hub/config"
)

// Pages returns every generated page by its path below root, the tree's root. hubctl is
// the program whose help is taken.
func Pages(root, hubctl string) (map[string]string, error) {
	settings, err := settingsPage(filepath.Join(root, "deploy", "hubd.yaml"))
	if err != nil {
		return nil, err
	}
	commands, err := commandsPage(hubctl)
	if err != nil {
		return nil, err
	}
	metrics, err := metricsPage(filepath.Join(root, "hub", "daemon", "metrics.go"))
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"docs/problems.md": problemsPage(),
		"docs/config.md":   settings,
		"docs/hubctl.md":   commands,
		"docs/metrics.md":  metrics,
	}, nil
}

// from is the line that tells a reader where a page comes from.
func from(source string) string {
	return "<!-- Generated from " + source + " by `make docs`: edits here are lost. -->\n"
}

func problemsPage() string {
	var b strings.Builder
	b.WriteString("# Problems\n" + from("hub/codes.go"))
	b.WriteString(`
Every reason why something that might be reachable is not, or why hubd cannot tell. The list is closed. A problem has
a code, a subject (a spoke, an account, a table, a client, a file), a detail (what was seen) and a mend (what to do).
` + "`hubctl status`" + ` shows those of now, the log says when one appears or clears, and the metric ` + "`hubd_problems{code=...}`" + `
counts them.

| code | what is so, and what hubd does meanwhile | what to do |
|---|---|---|
`)
	for _, c := range hub.Codes() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.Code, cell(c.Meaning), cell(c.Mend))
	}
	return b.String()
}

// cell is text within a table.
func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}

// required are the keys that have no default within their item.
var required = map[string]string{
	"hub.interfaces[].name": "instance metadata", "hub.interfaces[].eni": "instance metadata",
	"vpn[].name": "required", "vpn[].interfaces": "required", "vpn[].pools": "required where there are no sites",
	"vpn[].sites[].name": "required", "vpn[].sites[].client": "required", "vpn[].sites[].networks": "required",
}

// least is the smallest config that has every section, for its defaults.
const least = "version: 1\nvpn: [{name: people, interfaces: [tun0], pools: [172.27.240.0/22]}]\n"

// settingsPage shows the reference file at path, and the defaults as the code has them.
func settingsPage(path string) (string, error) {
	reference, err := config.Load(path)
	if err != nil {
		return "", fmt.Errorf("the reference file: %w", err)
	}
	bare, err := config.Parse(config.Source{Name: "hubd.yaml", Data: []byte(least)})
	if err != nil {
		return "", fmt.Errorf("the defaults: %w", err)
	}
	text, err := textOf(path)
	if err != nil {
		return "", err
	}
	defaults := map[string]string{}
	for _, s := range bare.Settings() {
		switch {
		case s.From == config.FromMetadata:
			defaults[plain(s.Key)] = "instance metadata"
		case s.From == "default" && s.Value != "" && s.Value != "[]":
			defaults[plain(s.Key)] = "`" + s.Value + "`"
		}
	}
	var b strings.Builder
	b.WriteString("# hubd.yaml\n" + from("deploy/hubd.yaml and hub/config"))
	b.WriteString(`
One file, ` + "`/etc/hubd/hubd.yaml`" + `, and beside it ` + "`accounts.d/ACCOUNT.yaml`" + `, one entry of ` + "`accounts:`" + ` each. It is strict: an unknown
or repeated key, a wrong type and a value out of range are errors, all told at once with line, column, key and what
would be right. ` + "`hubctl config check`" + ` tells them before hubd does; ` + "`hubctl config show`" + ` says what is in use and where
each value came from. ` + "`systemctl reload hubd`" + ` reads the file anew; a file with a mistake changes nothing.

` + "```yaml\n" + text + "```\n" + `
## Defaults

| key | without it |
|---|---|
`)
	seen := map[string]bool{}
	for _, s := range reference.Settings() {
		key := plain(s.Key)
		if seen[key] || key == "version" || strings.HasPrefix(key, "accounts.") {
			continue
		}
		seen[key] = true
		fmt.Fprintf(&b, "| `%s` | %s |\n", key, cmp.Or(required[key], defaults[key], "none"))
	}
	return b.String(), nil
}
