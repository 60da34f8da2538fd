package config

import (
	"os"
	"path/filepath"
	"testing"

	"peerhub/hub"
)

func TestWriteAccount(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hubd.yaml")
	if err := os.WriteFile(path, []byte("version: 1\naccounts:\n  \"222222222222\": {name: billing}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	role := "arn:aws:iam::444444444444:role/vpn"
	if err := WriteAccount(path, "444444444444", hub.Account{Name: "search", Role: role}); err != nil {
		t.Fatal(err)
	}
	if err := WriteAccount(path, "555555555555", hub.Account{}); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if a := c.Policy.Accounts["444444444444"]; a.Name != "search" || a.Role != role || len(c.Policy.Accounts) != 3 {
		t.Errorf("accounts are %+v", c.Policy.Accounts)
	}
	info, err := os.Stat(filepath.Join(AccountsDir(path), "444444444444.yaml"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v: %v", info.Mode(), err)
	}
	refused := map[hub.AccountID]hub.Account{
		"222222222222": {Name: "again"},                                 // listed already
		"666666666666": {Name: "billing"},                               // a name that is taken
		"777777777777": {Name: "a: b"},                                  // no name
		"888888888888": {Role: "arn:aws:iam::444444444444:role/vpn"},    // another account's role
		"999999999999": {Name: "x\"\n\"000000000000\": {name: y}\n\"z"}, // an attempt at a second entry
	}
	for id, a := range refused {
		if err := WriteAccount(path, id, a); Find(err) == nil {
			t.Errorf("%s %+v gave %v", id, a, err)
		}
	}
	files, err := os.ReadDir(AccountsDir(path))
	if err != nil || len(files) != 2 {
		t.Errorf("there are %v: %v", files, err)
	}
}
