package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"peerhub/hub"
)

// decodeAccounts reads accounts: a mapping from quoted account ids.
func (c *Config) decodeAccounts(v value) {
	list, ok := v.entries(`a mapping from quoted account ids, such as "222222222222": {name: billing}`, func(name string) string { return "accounts." + name })
	if !ok {
		return
	}
	for _, e := range list {
		c.decodeAccount(e)
	}
}

// decodeAccountFile reads a file of accounts.d: one entry of accounts, of the account the file is named for.
func (c *Config) decodeAccountFile(root value, account string) {
	list, ok := root.entries(fmt.Sprintf(`one entry such as "%s": {name: billing}`, account), func(name string) string { return "accounts." + name })
	if !ok {
		return
	}
	for i, e := range list {
		place := value{r: root.r, at: e.at, key: e.value.key}
		switch {
		case i > 0:
			place.wrong("found a second account", "want one account a file; move it to "+e.name+".yaml")
		case accountForm.MatchString(e.name) && e.name != account:
			place.wrong("found this account in a file named "+account+".yaml", "rename the file to "+e.name+".yaml")
		}
		c.decodeAccount(e)
	}
}

func (c *Config) decodeAccount(e entry) {
	place := value{r: e.r, at: e.at, key: e.value.key}
	if !accountID(e, place) {
		return
	}
	id := hub.AccountID(e.name)
	if first, ok := e.r.origins[e.value.key]; ok {
		place.wrong("repeated account", fmt.Sprintf("it is already set in %s:%d; keep one of the two", first.File, first.Line))
		return
	}
	e.r.origins[e.value.key] = place.origin()
	var a hub.Account
	if _, ok := e.node.(*ast.NullNode); !ok {
		f, ok := e.object()
		if !ok {
			return
		}
		a = decodeAccountFields(f, e.name)
	}
	c.Policy.Accounts[id] = a
}

// accountID checks a key: twelve digits in quotes, for YAML reads 011111111111 as an octal number.
func accountID(e entry, place value) bool {
	if _, ok := e.key.(*ast.StringNode); ok && quoted(e.key) && accountForm.MatchString(e.name) {
		return true
	}
	place.key = "accounts"
	if digits := strings.ReplaceAll(e.name, "-", ""); accountForm.MatchString(digits) && !quoted(e.key) {
		place.wrong(fmt.Sprintf("found the account id %s without quotes, which YAML reads as a number", e.name), fmt.Sprintf("write %q", digits))
	} else if accountForm.MatchString(digits) {
		place.wrong(fmt.Sprintf("found %q", e.name), fmt.Sprintf("write %q", digits))
	} else {
		place.wrong(fmt.Sprintf("found %q", clip(e.name)), `want an account id of twelve digits in quotes, such as "222222222222"`)
	}
	return false
}

func decodeAccountFields(f fields, id string) hub.Account {
	var a hub.Account
	read(f, "name", &a.Name, named("account", name))
	read(f, "exclude", &a.Exclude, prefixes)
	read(f, "role", &a.Role, func(v value) (string, bool) { return accountRole(v, id) })
	read(f, "external_id", &a.ExternalID, externalID)
	f.section("tables", func(t fields) { read(t, "spoke", &a.SpokeTables, tables(hub.TablesAll)) })
	return a
}

// accountRole reads none or a role, which must be of this account: entering another one by
// mistake is how a confused deputy begins.
func accountRole(v value, id string) (string, bool) {
	want := "none, or a role such as arn:aws:iam::" + id + ":role/peerhub-spoke"
	s, ok := v.scalar(want)
	if !ok {
		return "", false
	}
	if s == hub.RoleNone {
		return s, true
	}
	if !roleForm.MatchString(s) {
		v.mismatch(want)
		return "", false
	}
	arn := strings.ReplaceAll(s, "{account}", id)
	if !strings.Contains(arn, "::"+id+":") {
		v.mismatch("a role of account " + id)
		return "", false
	}
	return arn, true
}
