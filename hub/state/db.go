package state

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"

	"modernc.org/sqlite"

	"peerhub/hub/failpoint"
)

// fileMode is that of every file here: hubd writes, its group reads.
const fileMode = 0o640

// schemaVersion is the layout of state.db, kept in its user_version.
const schemaVersion = 1

const schema = `
CREATE TABLE value (
	name  TEXT PRIMARY KEY,
	body  BLOB NOT NULL,
	sum   BLOB NOT NULL            -- SHA-256 of name and body
) WITHOUT ROWID;
CREATE TABLE ledger (
	table_id    TEXT NOT NULL,
	destination TEXT NOT NULL,
	peering     TEXT NOT NULL,
	body        BLOB NOT NULL,
	sum         BLOB NOT NULL,
	PRIMARY KEY (table_id, destination, peering)
) WITHOUT ROWID;
PRAGMA user_version = 1;`

// The values that are kept.
const (
	nameRemembered = "remembered"
	nameDesired    = "desired"
	nameTopology   = "topology"
)

// NewerError says that a file was written by a newer hubd. It was not changed.
type NewerError struct {
	Path       string
	Have, Know int // schema versions
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("%s was written by a newer hubd (schema %d, this one knows %d): install that version again, or move the file away", e.Path, e.Have, e.Know)
}

// errBroken is wrapped by errors that say a file cannot be trusted.
var errBroken = errors.New("broken")

// dsn names the database for the driver. Every connection has a small cache. With
// synchronous FULL each commit is on the disk when it returns. The log is folded into the
// database at a quarter of a megabyte: a small disk holds both.
func dsn(path string, synchronous string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() +
		"?_pragma=busy_timeout(2000)&_pragma=cache_size(-256)&_pragma=wal_autocheckpoint(64)&_pragma=synchronous(" + synchronous + ")"
}

// openDB opens state.db and verifies all of it. fresh: it was made or had nothing in it.
// errBroken: it cannot be trusted.
func openDB(path string) (db *sql.DB, fresh bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode) // SQLite would make it readable for all
	if err != nil {
		return nil, false, fmt.Errorf("opening the state: %w", err)
	}
	if err := errors.Join(f.Chmod(fileMode), f.Close()); err != nil { // whatever the umask, or an older hubd, left
		return nil, false, fmt.Errorf("opening the state: %w", err)
	}
	if err := wholePages(path); err != nil {
		return nil, false, err
	}
	db, err = sql.Open("sqlite", dsn(path, "FULL"))
	if err != nil {
		return nil, false, fmt.Errorf("opening %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	fresh, err = prepare(db, path)
	if err != nil {
		return nil, false, errors.Join(err, db.Close())
	}
	return db, fresh, nil
}

// wholePages reports a file that ends within a page, which SQLite would fill with zeros. With
// a write-ahead log beside it that may be a checkpoint cut short, which the log makes good.
func wholePages(path string) error {
	const header = 100 // bytes; the page's size stands at 16, and 1 means 65536 (SQLite file format, 1.3.2)
	if wal, err := os.Stat(path + "-wal"); err == nil && wal.Size() > 0 {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("opening the state: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("opening the state: %w", err)
	}
	var head [header]byte
	if n, err := f.ReadAt(head[:], 0); n < header {
		if info.Size() == 0 {
			return nil
		}
		return fmt.Errorf("%s has %d bytes: %w", path, info.Size(), errors.Join(errBroken, err))
	}
	page := int64(head[16])<<8 | int64(head[17])
	if page == 1 {
		page = 1 << 16
	}
	if page < 512 || info.Size()%page != 0 {
		return fmt.Errorf("%s ends within a page: %d bytes in pages of %d: %w", path, info.Size(), page, errBroken)
	}
	return nil
}

// prepare checks the version before anything is written, then the content.
func prepare(db *sql.DB, path string) (fresh bool, err error) {
	var version, tables int
	if err := db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return false, classify(path, err)
	}
	if version > schemaVersion && !failpoint.Off("state-check") {
		return false, &NewerError{Path: path, Have: version, Know: schemaVersion}
	}
	if err := db.QueryRow("SELECT count(*) FROM sqlite_master").Scan(&tables); err != nil {
		return false, classify(path, err)
	}
	if version == 0 && tables > 0 || version != 0 && tables == 0 || version < 0 {
		return false, fmt.Errorf("%s is not a state of hubd (schema %d, %d tables): %w", path, version, tables, errBroken)
	}
	if _, err := db.Exec("PRAGMA journal_mode = WAL"); err != nil {
		return false, classify(path, err)
	}
	if version == 0 {
		if _, err := db.Exec("BEGIN;" + schema + "COMMIT;"); err != nil {
			return false, classify(path, err)
		}
		return true, nil
	}
	return false, verify(db, path)
}

// verify reads every page and every row.
func verify(db *sql.DB, path string) error {
	var answer string
	if err := db.QueryRow("PRAGMA integrity_check(1)").Scan(&answer); err != nil {
		return classify(path, err)
	}
	if answer != "ok" {
		return fmt.Errorf("%s: %s: %w", path, answer, errBroken)
	}
	rows, err := db.Query(`SELECT name, body, sum FROM value
		UNION ALL SELECT table_id || ' ' || destination || ' ' || peering, body, sum FROM ledger`)
	if err != nil {
		return classify(path, err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var body, sum []byte
		if err := rows.Scan(&name, &body, &sum); err != nil {
			return classify(path, err)
		}
		if !matches(name, body, sum) || !json.Valid(body) {
			return fmt.Errorf("%s: the checksum of %q does not match: %w", path, name, errBroken)
		}
	}
	return classify(path, rows.Err())
}

// classify tells a broken file from one that cannot be reached.
func classify(path string, err error) error {
	if err == nil {
		return nil
	}
	const corrupt, notADB, schemaError, shortRead = 11, 26, 1, 522 // SQLite result codes
	var se *sqlite.Error
	if errors.As(err, &se) {
		switch code := se.Code(); {
		case code&0xff == corrupt, code&0xff == notADB, code&0xff == schemaError, code == shortRead:
			return fmt.Errorf("reading %s: %v: %w", path, err, errBroken)
		}
	}
	return fmt.Errorf("reading %s: %w", path, err)
}

func checksum(name string, body []byte) []byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d %s", len(name), name)
	h.Write(body)
	return h.Sum(nil)
}

func matches(name string, body, sum []byte) bool {
	return string(checksum(name, body)) == string(sum) || failpoint.Off("state-check")
}

// setAside renames a broken database and its companions to the first free name.broken-N.
func setAside(path string) (string, error) {
	for n := 1; ; n++ {
		aside := fmt.Sprintf("%s.broken-%d", path, n)
		if exists(aside) {
			continue
		}
		if err := os.Rename(path, aside); err != nil {
			return "", fmt.Errorf("setting %s aside: %w", path, err)
		}
		for _, suffix := range []string{"-wal", "-shm"} {
			if err := os.Rename(path+suffix, aside+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
				return "", fmt.Errorf("setting %s aside: %w", path+suffix, err)
			}
		}
		return aside, nil
	}
}

// inTx makes a change whole or not at all, on the disk when it returns without an error.
func (s *State) inTx(ctx context.Context, do func(*sql.Tx) error) (err error) {
	if failpoint.Off("save-check") {
		defer func() { err = nil }()
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("writing %s: %w", fileState, err)
	}
	if err := do(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("writing %s: %w", fileState, err)
	}
	return nil
}

func put(ctx context.Context, tx *sql.Tx, name string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing %q of %s: %w", name, fileState, err)
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO value (name, body, sum) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body, sum = excluded.sum",
		name, body, checksum(name, body))
	if err != nil {
		return fmt.Errorf("writing %q of %s: %w", name, fileState, err)
	}
	return nil
}

// get reads a value into v and reports whether there was one.
func (s *State) get(ctx context.Context, name string, v any) (bool, error) {
	var body, sum []byte
	err := s.db.QueryRowContext(ctx, "SELECT body, sum FROM value WHERE name = ?", name).Scan(&body, &sum)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("reading %q of %s: %w", name, fileState, err)
	case !matches(name, body, sum):
		return false, fmt.Errorf("reading %q of %s: the checksum does not match: %w", name, fileState, errBroken)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return false, fmt.Errorf("reading %q of %s: %w", name, fileState, err)
	}
	return true, nil
}
