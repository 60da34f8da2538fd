package e2e

import (
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"peerhub/test/lab"

	_ "modernc.org/sqlite"
)

// spokeFact is a spoke as the cloud and the config have it.
type spokeFact struct {
	pcx      string
	tables   []string // of its VPC
	prefixes []netip.Prefix
}

// spokesNow are the spokes there should be: every active peering of the hub VPC, but for
// what the config excludes.
func (c *crasher) spokesNow() []spokeFact {
	n := c.Sim.Network()
	hub := c.Spec.ID("vpc", lab.HostHub)
	var out []spokeFact
	for _, p := range n.Peerings {
		peer := p.AccepterVPC
		if peer == hub {
			peer = p.RequesterVPC
		}
		if !p.Active || peer == c.Spec.ID("vpc", "svc4") && c.excluded {
			continue
		}
		f := spokeFact{pcx: p.ID}
		for _, v := range n.VPCs {
			if v.ID == peer {
				f.prefixes = v.Prefixes
			}
		}
		for _, t := range n.Tables {
			if t.VPC == peer {
				f.tables = append(f.tables, t.ID)
			}
		}
		out = append(out, f)
	}
	return out
}

// agree is content when cloud, kernel, pushes and ledger are what the model says, and hubd
// has nothing to do.
func (c *crasher) agree() error {
	c.t.Helper()
	if c.asked {
		if !slices.ContainsFunc(c.spokesNow(), func(f spokeFact) bool { return f.pcx == c.svc4 }) {
			return errors.New("the request is not accepted")
		}
	}
	if err := c.compare(c.spokesNow()); err != nil {
		return err
	}
	return c.quiet()
}

// compare holds every place that hubd writes to against the spokes.
func (c *crasher) compare(spokes []spokeFact) error {
	c.t.Helper()
	var routes, kernel, pushed []string
	hubTable, back := c.Spec.ID("rtb", "hub-public"), c.Spec.HubSubnet()
	for _, f := range spokes {
		for _, p := range f.prefixes {
			routes = append(routes, fmt.Sprintf("%s %s %s", hubTable, p, f.pcx))
			kernel = append(kernel, p.String())
			if !slices.ContainsFunc(c.Spec.Aggregates, func(a netip.Prefix) bool { return a.Contains(p.Addr()) }) {
				pushed = append(pushed, p.Addr().String())
			}
		}
		for _, t := range f.tables {
			routes = append(routes, fmt.Sprintf("%s %s %s", t, back, f.pcx))
		}
	}
	var errs []error
	differ := func(what string, want, have []string) {
		slices.Sort(want)
		slices.Sort(have)
		if !slices.Equal(want, have) {
			errs = append(errs, fmt.Errorf("%s has\n%s\nwant\n%s", what, strings.Join(have, "\n"), strings.Join(want, "\n")))
		}
	}
	differ("AWS", routes, c.cloudRoutes())
	differ("the kernel", kernel, c.prefixesIn(c.sh(lab.HostHub, "ip -4 route show table 26741 2>/dev/null || true")))
	differ("the firewall", kernel, c.prefixesIn(c.sh(lab.HostHub, "nft list map inet hubd spokes4 2>/dev/null || true")))
	differ("OpenVPN", pushed, c.pushed())
	ledger, err := ledgerOf(filepath.Join(c.statePath(), "state.db"))
	errs = append(errs, err)
	differ("the ledger", routes, ledger)
	return errors.Join(errs...)
}

var prefixText = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+/\d+\b`)

// prefixesIn are the prefixes in a text, but for the hub's own, which hubd needs, too.
func (c *crasher) prefixesIn(text string) []string {
	return slices.DeleteFunc(prefixText.FindAllString(text, -1), func(s string) bool {
		return c.Spec.HubVPC.Contains(netip.MustParsePrefix(s).Addr())
	})
}

// tables are the route tables that hubd may write to.
func (c *crasher) tables() []string {
	out := []string{c.Spec.ID("rtb", "hub-public")}
	for _, t := range c.Sim.Network().Tables {
		if t.VPC != c.Spec.ID("vpc", lab.HostHub) {
			out = append(out, t.ID)
		}
	}
	return out
}

// cloudRoutes are the routes to peerings in those tables.
func (c *crasher) cloudRoutes() []string {
	var out []string
	tables := c.tables()
	for _, t := range c.Sim.Network().Tables {
		for _, r := range t.Routes {
			if slices.Contains(tables, t.ID) && strings.HasPrefix(r.Target, "pcx-") {
				out = append(out, fmt.Sprintf("%s %s %s", t.ID, r.Destination, r.Target))
			}
		}
	}
	return out
}

var pushedText = regexp.MustCompile(`push "route ([0-9.]+) `)

// pushed are the networks pushed beside the aggregates and the hub's own.
func (c *crasher) pushed() []string {
	b, err := os.ReadFile(filepath.Join(c.VPN.ClientDir, "peerhub.routes"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.t.Fatal(err)
	}
	var out []string
	for _, m := range pushedText.FindAllStringSubmatch(string(b), -1) {
		a := netip.MustParseAddr(m[1])
		if !slices.ContainsFunc(append(c.Spec.Aggregates, c.Spec.HubVPC), func(p netip.Prefix) bool { return p.Contains(a) }) {
			out = append(out, m[1])
		}
	}
	return out
}

// ledgerOf reads the confirmed routes of a state file, which a hubd may have open.
func ledgerOf(path string) ([]string, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(2000)")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.Query("SELECT table_id, destination, peering, body FROM ledger")
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var table, dest, pcx, body string
		if err := rows.Scan(&table, &dest, &pcx, &body); err != nil {
			return nil, err
		}
		entry := table + " " + dest + " " + pcx
		if !strings.Contains(body, `"Confirmed":true`) {
			entry += " (not confirmed)"
		}
		out = append(out, entry)
	}
	return out, rows.Err()
}

// foreignDeletes fails when hubd asked AWS to delete a route that it had not made.
func (c *crasher) foreignDeletes(what string) {
	c.t.Helper()
	all := c.Requests(c.requests)
	for _, q := range all {
		if q.Action != "DeleteRoute" && q.Action != "ReplaceRoute" {
			continue
		}
		dest := q.Params.Get("DestinationCidrBlock")
		ours := dest == "10.200.0.0/16" || dest == svc4Second.String() || dest == c.Spec.HubSubnet().String()
		for _, v := range c.Spec.Services {
			ours = ours || dest == v.VPC.String()
		}
		if !ours {
			c.t.Fatalf("%s: %s %s of %v", what, q.Principal, q.Action, q.Params)
		}
	}
	c.requests += len(all)
}

// untouched fails when something foreign is not as it was, but for the prefix that the test
// itself gives to a VPC.
func (c *crasher) untouched(what string) {
	c.t.Helper()
	var now strings.Builder
	for line := range strings.Lines(c.others()) {
		if !strings.Contains(line, svc4Second.String()+" local ") {
			now.WriteString(line)
		}
	}
	if err := same(c.foreign, now.String()); err != nil {
		c.t.Fatalf("%s: something foreign changed: %v", what, err)
	}
}

// leftovers waits until there is no file that only a write in progress has.
func (c *crasher) leftovers(what string) {
	c.t.Helper()
	eventually(c.t, what+": no temporary file is left", func() error {
		for _, dir := range []string{c.VPN.ClientDir, c.statePath()} {
			entries, err := os.ReadDir(dir)
			if err != nil {
				return err
			}
			for _, e := range entries {
				if strings.HasPrefix(e.Name(), ".") {
					return fmt.Errorf("%s stays in %s", e.Name(), dir)
				}
			}
		}
		return nil
	})
}
