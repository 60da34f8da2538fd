package vpnconf

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Client is one connection of a VPN user or an office, as OpenVPN's status tells it.
type Client struct {
	Server   string
	Name     string     // common name
	Real     string     // where it connects from, ADDRESS:PORT, without a protocol before it
	Address  netip.Addr // in the tunnel
	Since    time.Time  // by the second
	BytesIn  uint64     // from the client
	BytesOut uint64
	Networks []netip.Prefix // behind it (iroute), sorted
	Lacks    []netip.Prefix // pushed routes it has not got; filled in by Plane.Clients
}

// errIncomplete says that a status ends before its END: OpenVPN writes the file in place,
// so a reader may see a part of it.
var errIncomplete = errors.New("the status has no END")

const (
	// maxLine bounds a line: twelve fields, a common name of at most 64 characters.
	maxLine = 64 << 10
	// maxSurplus bounds how many separators names of one line may hold.
	maxSurplus = 256
	// maxColumns bounds a table's columns; OpenVPN has twelve.
	maxColumns    = 64
	titleVersion1 = "OpenVPN CLIENT LIST"
)

// record is one line of a table, by column name.
type record map[string]string

// ParseStatus reads a status as OpenVPN writes it to its file (version 1, 2 or 3) or
// answers it to `status` on the management socket. Columns are found by their HEADER.
// Real-time messages of the socket ('>' lines) may stand anywhere.
//
// A common name may hold the separator of versions 1 and 2. Then a line is taken only if
// there is exactly one way to cut it into columns that hold what they must; if there are
// several, a client is trying to be another one, and the line is left out. A line that
// fits nothing makes the whole status an error: OpenVPN does not write such lines.
// Times without a zone are in loc.
func ParseStatus(text []byte, loc *time.Location) ([]Client, error) {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte(titleVersion1)) {
		return parseVersion1(text, loc)
	}
	headers := map[string][]string{}
	var clients, routes []record
	for l, err := range statusLines(text) {
		if err != nil {
			return nil, err
		}
		if l[0] == '>' {
			continue
		}
		sep := ","
		if strings.Contains(l, "\t") {
			sep = "\t"
		}
		f := strings.Split(l, sep)
		switch f[0] {
		case "END":
			return join(clients, routes, loc)
		case "HEADER":
			if len(f) > 2 {
				headers[f[1]] = f[2:]
			}
		case "CLIENT_LIST":
			if clients, err = appendRecord(clients, f, headers, sep); err != nil {
				return nil, err
			}
		case "ROUTING_TABLE":
			if routes, err = appendRecord(routes, f, headers, sep); err != nil {
				return nil, err
			}
		case "TITLE", "TIME", "GLOBAL_STATS":
		default:
			return nil, fmt.Errorf("read a status: unknown line %.60q", l)
		}
	}
	return nil, errIncomplete
}

// statusLines yields the lines that are not empty.
func statusLines(text []byte) func(func(string, error) bool) {
	return func(yield func(string, error) bool) {
		s := bufio.NewScanner(bytes.NewReader(text))
		s.Buffer(nil, maxLine)
		for s.Scan() {
			l := strings.TrimSuffix(s.Text(), "\r")
			if l != "" && !yield(l, nil) {
				return
			}
		}
		if err := s.Err(); err != nil {
			yield("", fmt.Errorf("read a status: %w", err))
		}
	}
}

// appendRecord adds a line to a table.
func appendRecord(table []record, f []string, headers map[string][]string, sep string) ([]record, error) {
	columns, known := headers[f[0]]
	if !known {
		return nil, fmt.Errorf("read a status: %s before its HEADER", f[0])
	}
	r, ok, err := cut(columns, f[1:], sep)
	if err != nil {
		return nil, fmt.Errorf("read a status: %s: %w", f[0], err)
	}
	if ok {
		table = append(table, r)
	}
	return table, nil
}

// free are the columns a client has a say in.
func free(column string) bool { return column == "Common Name" || column == "Username" }

// cut gives fields their columns. Surplus fields are parts of a free column that held the
// separator; ok is false when they can be divided in more than one way.
func cut(columns, fields []string, sep string) (r record, ok bool, err error) {
	surplus := len(fields) - len(columns)
	if surplus < 0 || surplus > maxSurplus || len(columns) > maxColumns {
		return nil, false, fmt.Errorf("%d fields for %d columns", len(fields), len(columns))
	}
	where := []int{}
	for i, c := range columns {
		if free(c) {
			where = append(where, i)
		}
	}
	if surplus > 0 && len(where) == 0 {
		return nil, false, fmt.Errorf("%d fields for %d columns", len(fields), len(columns))
	}
	found := 0
	try := func(extra map[int]int) {
		got, i := record{}, 0
		for at, c := range columns {
			n := 1 + extra[at]
			got[c] = strings.Join(fields[i:i+n], sep)
			i += n
		}
		if got.plausible() {
			r = got
			found++
		}
	}
	switch {
	case len(where) == 0 || surplus == 0:
		try(nil)
	default:
		for first := range surplus + 1 {
			if len(where) == 1 && first != surplus {
				continue
			}
			extra := map[int]int{where[0]: first}
			if len(where) > 1 {
				extra[where[1]] = surplus - first
			}
			try(extra)
		}
	}
	if found == 0 {
		return nil, false, errors.New("no field holds what its column must")
	}
	return r, found == 1, nil
}

// plausible reports whether each column holds what OpenVPN writes there.
func (r record) plausible() bool {
	for c, v := range r {
		var err error
		switch c {
		case "Bytes Received", "Bytes Sent", "Connected Since (time_t)", "Last Ref (time_t)":
			_, err = strconv.ParseUint(v, 10, 63)
		case "Real Address":
			if v != "" && !strings.ContainsAny(v, ".:") {
				err = errors.New("no address")
			}
		case "Virtual Address":
			if v != "" {
				_, err = routeOf(v)
			}
		case "Connected Since", "Last Ref":
			_, err = dateOf(v, time.UTC)
		}
		if err != nil {
			return false
		}
	}
	return true
}

// routeOf reads a virtual address: an address, with a trailing C when OpenVPN learned it
// by use, a network, or the hardware address of a bridged client, which gives none.
func routeOf(s string) (netip.Prefix, error) {
	if strings.Count(s, ":") == 5 && len(s) >= 17 && !strings.Contains(s, "/") {
		return netip.Prefix{}, nil
	}
	s = strings.TrimSuffix(s, "C")
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// dateOf reads a date of version 2 and 3, or of OpenVPN 2.4 and older.
func dateOf(s string, loc *time.Location) (time.Time, error) {
	t, err := time.ParseInLocation(time.DateTime, s, loc)
	if err != nil {
		t, err = time.ParseInLocation(time.ANSIC, s, loc)
	}
	return t, err
}

// join makes clients of the two tables.
func join(clients, routes []record, loc *time.Location) ([]Client, error) {
	type who struct{ name, real string }
	address, networks := map[who]netip.Addr{}, map[who][]netip.Prefix{}
	for _, r := range routes {
		k := who{r["Common Name"], bare(r["Real Address"])}
		p, err := routeOf(r["Virtual Address"])
		switch {
		case err != nil || !p.IsValid():
		case strings.Contains(r["Virtual Address"], "/"):
			networks[k] = append(networks[k], p)
		case !strings.HasSuffix(r["Virtual Address"], "C") && (!address[k].IsValid() || p.Addr().Is4()):
			address[k] = p.Addr()
		}
	}
	out := []Client{}
	for _, r := range clients {
		c := Client{Name: r["Common Name"], Real: bare(r["Real Address"])}
		if c.Name == "UNDEF" && r["Virtual Address"] == "" {
			continue // still shaking hands
		}
		k := who{c.Name, c.Real}
		c.Address = address[k]
		if a, err := netip.ParseAddr(r["Virtual Address"]); err == nil {
			c.Address = a
		}
		c.Networks = networks[k]
		slices.SortFunc(c.Networks, func(a, b netip.Prefix) int { return a.Compare(b) })
		c.BytesIn, _ = strconv.ParseUint(r["Bytes Received"], 10, 64)
		c.BytesOut, _ = strconv.ParseUint(r["Bytes Sent"], 10, 64)
		if s, err := strconv.ParseInt(r["Connected Since (time_t)"], 10, 64); err == nil {
			c.Since = time.Unix(s, 0)
		} else if c.Since, err = dateOf(r["Connected Since"], loc); err != nil {
			return nil, fmt.Errorf("read a status: %q is no date: %w", r["Connected Since"], err)
		}
		out = append(out, c)
	}
	return out, nil
}

// bare takes the protocol off an address of OpenVPN 2.7 ("udp4:192.0.2.2:39821").
func bare(real string) string {
	for _, p := range []string{"udp4:", "udp6:", "tcp4-server:", "tcp6-server:", "tcp4:", "tcp6:", "udp:", "tcp:"} {
		if rest, ok := strings.CutPrefix(real, p); ok {
			return rest
		}
	}
	return real
}

// parseVersion1 reads the oldest form: titled tables with a line of column names.
func parseVersion1(text []byte, loc *time.Location) ([]Client, error) {
	headers := map[string][]string{}
	var clients, routes []record
	section := ""
	for l, err := range statusLines(text) {
		if err != nil {
			return nil, err
		}
		f := strings.Split(l, ",")
		switch {
		case l == "END":
			return join(clients, routes, loc)
		case l == titleVersion1, l == "ROUTING TABLE", l == "GLOBAL STATS":
			section = l
		case section == "GLOBAL STATS", f[0] == "Updated" && section == titleVersion1 && headers[section] == nil:
		case headers[section] == nil:
			headers[section] = f
		default:
			table := &clients
			if section == "ROUTING TABLE" {
				table = &routes
			}
			if *table, err = appendRecord(*table, append([]string{section}, f...), headers, ","); err != nil {
				return nil, err
			}
		}
	}
	return nil, errIncomplete
}
