package masq

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"peerhub/hub"
	"peerhub/hub/failpoint"

	"golang.org/x/sys/unix"
)

// Mode is how the table is protected, and why that way.
type Mode struct {
	Ownership hub.Ownership // persist or plain
	Why       string        // one sentence for status and logs
}

// abilities is what kernel and nft of this host can do.
type abilities struct {
	own     bool // table flag owner, Linux 5.12
	persist bool // table flag persist, Linux 6.9
	print   bool // an installed nft prints the persist flag, or there is none

	fullyRandom bool // flag of nat and masquerade, Linux 3.13
	count       bool // ct count in a set, Linux 4.18
}

// probe asks the kernel by a batch that is never committed.
func probe(s *socket, table string, files fs.FS) (a abilities, err error) {
	for _, t := range []struct {
		flags  uint32
		has    *bool
		masked bool
	}{{tableOwner, &a.own, failpoint.Off("owner-flag")}, {tableOwner | tablePersist, &a.persist, failpoint.Off("persist-flag")}} {
		// A name of its own: the real table may belong to somebody.
		refused, err := s.check([]request{newTable(table+"_probe", t.flags, "")})
		if err != nil {
			return a, err
		}
		switch err := refused[0]; {
		case err == nil:
			*t.has = !t.masked
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		default:
			return a, fmt.Errorf("probe table flags %#x: %w", t.flags, err)
		}
	}
	a.print = nftPrintsPersist(files)
	random, err := takes(s, table, shape{fullyRandom: true})
	if err != nil {
		return a, err
	}
	count, err := takes(s, table, shape{maxFlows: 1})
	a.fullyRandom, a.count = random && !failpoint.Off("fully-random"), count && !failpoint.Off("flow-count")
	return a, err
}

// takes reports whether the kernel would take a skeleton of a shape.
func takes(s *socket, table string, sh shape) (bool, error) {
	skeleton, err := compile(chains(sh))
	if err != nil {
		return false, err
	}
	table += "_probe"
	reqs := append([]request{newTable(table, 0, "")}, setRequests(table)...)
	for _, c := range dropCounters {
		reqs = append(reqs, newCounter(table, c, 0, 0))
	}
	refused, err := s.check(append(reqs, skeleton.requests(table)...))
	if err != nil {
		return false, fmt.Errorf("probe a skeleton %q: %w", sh.note(), err)
	}
	return len(refused) == 0, nil
}

// nftPrintsPersist reports whether the installed nft knows the table flag persist: its
// library has the flag's name among its constants. nft 1.0.6 does not; it saves such a
// table as `flags `, and then refuses to load the whole saved file. The library's version
// does not tell (it is 1.1.0 for old and new ones), and hubd starts no program. Without any
// nft nobody saves a ruleset that could not be loaded.
func nftPrintsPersist(files fs.FS) bool {
	libraries := glob(files, "usr/lib/*/libnftables.so.*", "usr/lib/libnftables.so.*", "usr/lib64/libnftables.so.*",
		"usr/local/lib/libnftables.so.*", "usr/local/lib/*/libnftables.so.*", "usr/local/lib64/libnftables.so.*")
	for _, name := range libraries {
		b, err := fs.ReadFile(files, name)
		if err != nil || !bytes.Contains(b, []byte("\x00persist\x00")) {
			return false
		}
	}
	// An nft whose library is not where we look: not known, so no.
	return len(libraries) > 0 || len(glob(files, "usr/sbin/nft", "usr/local/sbin/nft", "usr/bin/nft")) == 0
}

func glob(files fs.FS, patterns ...string) []string {
	var out []string
	for _, p := range patterns {
		if names, err := fs.Glob(files, p); err == nil {
			out = append(out, names...)
		}
	}
	return out
}

// choose picks the mode for what is asked for.
func (a abilities) choose(asked hub.Ownership) Mode {
	switch {
	case asked == hub.OwnershipPlain:
		return Mode{hub.OwnershipPlain, "configured"}
	case !a.persist:
		return Mode{hub.OwnershipPlain, "the kernel does not know the table flag persist (Linux 6.9)"}
	case asked == hub.OwnershipPersist:
		return Mode{hub.OwnershipPersist, "configured"}
	case !a.print:
		return Mode{hub.OwnershipPlain, "the installed nft cannot print the table flag persist: a saved ruleset would not load"}
	}
	return Mode{hub.OwnershipPersist, "kernel and nft know the table flag persist"}
}

// tableFlags are the flags of the main table in a mode: never owner without persist, with which
// the table would go when the daemon does.
func tableFlags(m hub.Ownership) uint32 {
	if failpoint.Off("owner-with-persist") {
		return tableOwner
	}
	if m == hub.OwnershipPersist {
		return tableOwner | tablePersist
	}
	return 0
}
