package lab

import (
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"peerhub/hub"
	"peerhub/hub/config"
)

// TestHubdUnderstandsItsConfig loads the config that the lab writes, as hubd does.
func TestHubdUnderstandsItsConfig(t *testing.T) {
	none := DefaultSpec()
	none.Services = nil
	far := DefaultSpec()
	far.Services[0].Region = "us-west-2"
	for _, c := range []struct {
		name     string
		spec     Spec
		accounts []hub.AccountID
	}{
		{"the default lab", DefaultSpec(), []hub.AccountID{"222222222222", "333333333333"}},
		{"no services", none, nil},
		{"a service in another region", far, []hub.AccountID{"222222222222", "333333333333"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := testDir(t)
			l := &Lab{Spec: c.spec, Dir: dir, VPN: newVPNFiles(dir)}
			must(t, os.MkdirAll(dir, 0o755))
			must(t, l.writeHubdConfig())
			got, err := config.Load(l.hubdConfig())
			must(t, err)
			for _, a := range c.accounts {
				if _, ok := got.Policy.Accounts[a]; !ok {
					t.Errorf("account %s is not listed", a)
				}
			}
			if len(got.Policy.Accounts) != len(c.accounts) {
				t.Errorf("accounts %v, want %v", got.Policy.Accounts, c.accounts)
			}
			if d := cmp.Diff([]netip.Prefix{c.spec.Pool}, got.Policy.VPNs[0].Pools, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
				t.Error(d)
			}
			if !got.Policy.SetSysctls {
				t.Error("the lab's hub must let hubd set its switches")
			}
		})
	}
}
