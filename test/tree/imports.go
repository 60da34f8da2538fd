package tree

import (
	"fmt"
	"slices"
	"strings"
)

const (
	anything = "*"
	sdk      = "github.com/aws/"
	points   = "peerhub/hub/failpoint"
)

// rule says what a package may import beside the standard library: import paths or
// prefixes that end in a slash. docs/architecture.md shows the same table.
type rule struct {
	may   []string
	never []string // forbidden though it is in the standard library
}

// ioPackages are the standard library's I/O packages, which the core does without.
var ioPackages = []string{"net", "os", "net/http", "database/sql", "os/exec", "syscall", "io/ioutil", "log", "log/slog", "testing"}

var rules = map[string]rule{
	"hub":           {never: ioPackages},
	"hub/failpoint": {},
	"hub/awsapi":    {may: []string{"peerhub/hub", points, sdk, "golang.org/x/time/rate"}},
	"hub/config":    {may: []string{"peerhub/hub", "github.com/goccy/go-yaml/"}},
	"hub/state":     {may: []string{"peerhub/hub", points, "modernc.org/sqlite"}},
	"hub/control":   {may: []string{"peerhub/hub", points, "golang.org/x/sys/unix"}},
	"hub/daemon":    {may: []string{"peerhub/hub", points, "peerhub/hub/config", "peerhub/hub/control", "github.com/rs/zerolog", "github.com/mdlayher/sdnotify", "golang.org/x/sync/errgroup"}},
	"hub/kroute":    {may: []string{"peerhub/hub", points, "github.com/vishvananda/", "golang.org/x/sys/unix"}},
	"hub/vpcroute":  {may: []string{"peerhub/hub", points, "peerhub/hub/awsapi", sdk}},
	"hub/peering":   {may: []string{"peerhub/hub", points, "peerhub/hub/awsapi", sdk}},
	"discovery":     {may: []string{"peerhub/hub", points, "peerhub/hub/awsapi", sdk, "golang.org/x/sync/errgroup"}},
	"masq":          {may: []string{"peerhub/hub", points, "github.com/google/nftables/", "github.com/mdlayher/netlink", "golang.org/x/sys/unix"}},
	"vpnconf":       {may: []string{"peerhub/hub", points, "golang.org/x/sys/unix"}},
	"cmd/hubd": {may: []string{"peerhub/hub", "peerhub/hub/", "peerhub/discovery", "peerhub/masq", "peerhub/vpnconf", "github.com/rs/zerolog",
		"github.com/mdlayher/sdnotify", "github.com/vishvananda/netlink", "golang.org/x/sys/unix", "golang.org/x/term"}},
	"cmd/hubctl": {may: []string{"peerhub/hub", "peerhub/hub/", "peerhub/masq", "peerhub/vpnconf", "github.com/spf13/cobra", "golang.org/x/sys/unix", "golang.org/x/term"}},
	"cmd/hublab": {may: []string{anything}},
	// The simulated AWS cannot agree with a mistake of ours that it does not share.
	"test/ec2sim": {never: []string{"peerhub/"}},
	"test/fabric": {may: []string{"peerhub/test/ec2sim", "github.com/vishvananda/netlink", "golang.org/x/sys/unix"}},
	"test/lab":    {may: []string{"peerhub/test/ec2sim", "peerhub/test/fabric"}},
	// The model of the soak must not share a mistake with what it judges.
	"test/soak":       {may: []string{"peerhub/test/soak/admin", "peerhub/test/ec2sim", "peerhub/test/fabric", "peerhub/test/lab", sdk, "github.com/goccy/go-yaml"}},
	"test/soak/admin": {may: []string{"peerhub/test/lab", sdk}},
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

// text is how docs/architecture.md writes the rule.
func (r rule) text() string {
	var out []string
	for _, m := range r.may {
		switch {
		case m == anything:
			return "anything"
		case strings.HasSuffix(m, "/"):
			m += "*"
		}
		out = append(out, "`"+strings.TrimPrefix(strings.TrimPrefix(m, "github.com/"), "peerhub/")+"`")
	}
	switch {
	case len(out) > 0:
		return strings.Join(out, ", ")
	case slices.Contains(r.never, "net/http"):
		return "the standard library without its I/O packages"
	}
	return "the standard library"
}

// linked lists the packages of ours that make it into the binaries of commands but must not.
func linked(deps []Package) []string {
	var out []string
	for _, p := range deps {
		if strings.HasPrefix(p.ImportPath, "peerhub/test/") {
			out = append(out, p.ImportPath)
		}
	}
	return out
}
