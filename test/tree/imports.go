package tree

import (
	"fmt"
	"slices"
	"strings"
)

const (
	anything = "*"
	sdk      = "github.com/aws/"
)

// rule says what a package may import beside the standard library: import paths or
// prefixes that end in a slash. design: layout and who may import whom.
type rule struct {
	may   []string
	never []string // forbidden though it is in the standard library
}

// ioPackages are the standard library's I/O packages, which the core does without.
var ioPackages = []string{"net", "os", "net/http", "database/sql", "os/exec", "syscall", "io/ioutil", "log", "log/slog", "testing"}

var rules = map[string]rule{
	"hub":          {never: ioPackages},
	"hub/awsapi":   {may: []string{"peerhub/hub", sdk, "golang.org/x/time/rate"}},
	"hub/config":   {may: []string{"peerhub/hub", "github.com/goccy/go-yaml/", "github.com/goccy/go-yaml"}},
	"hub/state":    {may: []string{"peerhub/hub", "modernc.org/sqlite", "golang.org/x/sys/unix"}},
	"hub/control":  {may: []string{"peerhub/hub", "golang.org/x/sys/unix"}},
	"hub/daemon":   {may: []string{"peerhub/hub", "peerhub/hub/config", "peerhub/hub/control", "github.com/rs/zerolog", "github.com/prometheus/client_golang/", "github.com/mdlayher/sdnotify", "golang.org/x/sync/errgroup"}},
	"hub/kroute":   {may: []string{"peerhub/hub", "github.com/vishvananda/", "golang.org/x/sys/unix"}},
	"hub/vpcroute": {may: []string{"peerhub/hub", "peerhub/hub/awsapi", sdk}},
	"hub/peering":  {may: []string{"peerhub/hub", "peerhub/hub/awsapi", sdk}},
	"discovery":    {may: []string{"peerhub/hub", "peerhub/hub/awsapi", sdk, "golang.org/x/sync/errgroup"}},
	"masq":         {may: []string{"peerhub/hub", "github.com/google/nftables", "github.com/google/nftables/", "github.com/mdlayher/netlink", "github.com/mdlayher/netlink/", "golang.org/x/sys/unix"}},
	"vpnconf":      {may: []string{"peerhub/hub", "golang.org/x/sys/unix"}},
	"cmd/hubd":     {may: []string{anything}, never: []string{"peerhub/test/"}},
	"cmd/hubctl":   {may: []string{anything}, never: []string{"peerhub/test/"}},
	"cmd/hublab":   {may: []string{anything}},
	"test/ec2sim":  {never: []string{"peerhub/"}},
	"test/fabric":  {may: []string{"peerhub/test/ec2sim", "golang.org/x/", "github.com/vishvananda/"}},
	"test/lab":     {may: []string{"peerhub/test/", "golang.org/x/", "github.com/vishvananda/"}},
}

// importProblems applies the rules to the packages' own imports; tests of a package may import anything.
func importProblems(pkgs []Package) []string {
	var out []string
	for _, p := range pkgs {
		path := p.Path()
		r, ok := rules[path]
		if !ok {
			if strings.HasPrefix(path, "test/") {
				continue // test/e2e, test/bench, test/tree, test/run: anything
			}
			out = append(out, fmt.Sprintf("%s: no rule says what it may import: add it to the table", path))
			continue
		}
		for _, imp := range p.Imports {
			if matches(r.never, imp) {
				out = append(out, fmt.Sprintf("%s imports %s, which it must not", path, imp))
			} else if !standard(imp) && !matches(r.may, imp) {
				out = append(out, fmt.Sprintf("%s imports %s, which its rule does not list", path, imp))
			}
		}
	}
	return out
}

// matches reports whether imp is listed, or lies below a listed prefix that ends in a slash.
func matches(list []string, imp string) bool {
	return slices.ContainsFunc(list, func(m string) bool {
		return m == anything || m == imp || strings.HasSuffix(m, "/") && strings.HasPrefix(imp, m)
	})
}

// standard reports whether imp is of the standard library: its first element has no dot.
func standard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".") && first != "peerhub"
}
