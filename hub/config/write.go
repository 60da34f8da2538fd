package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"peerhub/hub"
)

// WriteAccount puts an account into accounts.d beside the config at path, in a file of its own.
// The whole config is checked with it first; a mistake is an Errors, and nothing is written.
func WriteAccount(path string, id hub.AccountID, a hub.Account) error {
	main, err := readFile(path)
	if err != nil {
		return err
	}
	dir := AccountsDir(path)
	accounts, err := readAccounts(dir)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, string(id)+".yaml")
	data := accountText(id, a)
	if _, err := Parse(Source{Name: path, Data: main}, append(accounts, Source{Name: file, Data: data})...); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write account %s: %w", id, err)
	}
	if err := writeBeside(dir, file, data); err != nil {
		return fmt.Errorf("write account %s: %w", id, err)
	}
	return nil
}

// accountText is an account as an entry of accounts.
func accountText(id hub.AccountID, a hub.Account) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by hubctl add-spoke; yours to edit.\n%q:", id)
	var lines []string
	for _, f := range []struct{ key, value string }{{"name", a.Name}, {"role", a.Role}, {"external_id", a.ExternalID}} {
		if f.value != "" {
			lines = append(lines, "  "+f.key+": "+strconv.Quote(f.value))
		}
	}
	if len(lines) == 0 {
		b.WriteString(" {}")
	}
	for _, l := range lines {
		b.WriteString("\n" + l)
	}
	b.WriteString("\n")
	return []byte(b.String())
}

// writeBeside writes a file whole or not at all. It gets the folder's group, so that a hubd
// that is not root can read it.
func writeBeside(dir, file string, data []byte) error {
	f, err := os.CreateTemp(dir, ".account-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it is gone already when all went well
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o640), f.Sync()); err == nil {
		err = inheritGroup(dir, f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

func inheritGroup(dir string, f *os.File) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Gid) != os.Getgid() {
		return f.Chown(-1, int(st.Gid))
	}
	return nil
}
