package tree

import (
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestInstallPutsEachFileInItsPlace runs make install into an empty folder.
func TestInstallPutsEachFileInItsPlace(t *testing.T) {
	dest := t.TempDir()
	cmd := exec.Command("make", "install", "BIN="+t.TempDir(), "DESTDIR="+dest)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	have := map[string]string{}
	err := filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, dest)
		config := strings.HasPrefix(name, "/etc/hubd")
		if d.IsDir() && !config || strings.HasPrefix(name, "/usr/share/doc/hubd/") && strings.HasSuffix(name, ".md") {
			return nil
		}
		info, err := d.Info()
		if err == nil {
			have[name] = fmt.Sprintf("%o", info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"/usr/sbin/hubd": "755", "/usr/bin/hubctl": "755",
		"/usr/lib/systemd/system/hubd.service":                           "644",
		"/usr/lib/systemd/system/hubd-fail-closed.service":               "644",
		"/usr/lib/systemd/system/openvpn-server@.service.d/10-hubd.conf": "644",
		"/usr/lib/systemd/system/openvpn@.service.d/10-hubd.conf":        "644",
		"/usr/lib/systemd/networkd.conf.d/90-hubd.conf":                  "644",
		"/usr/lib/sysctl.d/90-hubd.conf":                                 "644",
		"/usr/lib/sysusers.d/hubd.conf":                                  "644",
		"/usr/lib/tmpfiles.d/hubd.conf":                                  "644",
		"/usr/share/doc/hubd/hubd.yaml":                                  "644",
		"/usr/share/doc/hubd/LICENSE":                                    "644",
		"/usr/share/doc/hubd/iam/hub-role.json":                          "644",
		"/usr/share/doc/hubd/iam/operator.json":                          "644",
		"/usr/share/doc/hubd/iam/spoke-role.json":                        "644",
		"/usr/share/doc/hubd/iam/spoke-trust.json":                       "644",
		// Nothing in it: the reference's example accounts would be accepted.
		"/etc/hubd": "750", "/etc/hubd/accounts.d": "750",
	}
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("installed (-want +got):\n%s", d)
	}
}
