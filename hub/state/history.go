package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"peerhub/hub"
	"peerhub/hub/failpoint"
)

// Limits of what is kept: whatever is reached first.
const (
	historyRows    = 1000    // entries
	historyBytes   = 8 << 20 // of all entries
	historyWeighed = 16      // entries between two looks at their size
	historyChanges = 200     // changes of one entry
	historyVersion = 1
	historySchema  = `CREATE TABLE IF NOT EXISTS pass (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
PRAGMA user_version = 1;`
)

// history is history.db. It may be lost, so it never waits for the disk, and an error of
// it is nobody's failure but the one's who asks.
type history struct {
	path string

	mu   sync.Mutex // guards what follows
	db   *sql.DB    // nil: none could be opened
	note string     // what became of an older one; "" when it goes on
}

// openHistory opens the history. One that is no good is kept aside, and a new one begun.
func openHistory(path string) *history {
	h := &history{path: path}
	h.note = h.begin()
	return h
}

// begin opens the file, or a new one in its place, and says what was wrong with the old one.
func (h *history) begin() string {
	db, err := tryHistory(h.path)
	if err == nil {
		h.db = db
		return ""
	}
	aside, aerr := setAside(h.path)
	if aerr != nil {
		return errors.Join(err, aerr).Error()
	}
	note := fmt.Sprintf("%v; it is kept as %s, and a new one begins", err, filepath.Base(aside))
	if h.db, err = tryHistory(h.path); err != nil {
		note += ", which failed: " + err.Error()
	}
	return note
}

func tryHistory(path string) (*sql.DB, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode) // SQLite would make it readable for all
	if err != nil {
		return nil, fmt.Errorf("opening the history: %w", err)
	}
	if err := errors.Join(f.Chmod(fileMode), f.Close()); err != nil { // an older hubd left it so
		return nil, fmt.Errorf("opening the history: %w", err)
	}
	db, err := sql.Open("sqlite", dsn(path, "OFF"))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	if err = checkHistory(db); err == nil {
		_, err = db.Exec(historySchema)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), db.Close())
	}
	return db, nil
}

// checkHistory reads the version before anything is written, then every page.
func checkHistory(db *sql.DB) error {
	var version int
	if err := db.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > historyVersion {
		return fmt.Errorf("a newer hubd wrote it (schema %d, this one knows %d)", version, historyVersion)
	}
	var answer string
	if err := db.QueryRow("PRAGMA quick_check(1)").Scan(&answer); err != nil {
		return err
	}
	if answer != "ok" {
		return errors.New(answer)
	}
	return nil
}

func (h *history) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.db == nil {
		return nil
	}
	return h.db.Close()
}

// HistoryNote says what became of a history that could not be gone on with; "" when it could.
func (s *State) HistoryNote() string {
	s.history.mu.Lock()
	defer s.history.mu.Unlock()
	return s.history.note
}

// AppendHistory adds an entry, the oldest give way. The same repair made again is counted on
// the newest entry. A file that was torn or taken away meanwhile is begun anew, once.
func (s *State) AppendHistory(ctx context.Context, e hub.HistoryEntry) error {
	if len(e.Changes) > historyChanges {
		e.Changes = e.Changes[:historyChanges]
	}
	h := s.history
	h.mu.Lock()
	defer h.mu.Unlock()
	var first error
	if h.db != nil {
		if first = h.append(ctx, e); first == nil || ctx.Err() != nil {
			return first
		}
		first = errors.Join(first, h.db.Close())
		h.db = nil
	}
	h.note = h.begin()
	if h.db == nil {
		return fmt.Errorf("writing the history: %s", h.note)
	}
	if err := h.append(ctx, e); err != nil {
		return errors.Join(first, err)
	}
	return nil
}

func (h *history) append(ctx context.Context, e hub.HistoryEntry) error {
	tx, err := h.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("writing the history: %w", err)
	}
	if err := appendTo(ctx, tx, e); err != nil {
		return errors.Join(fmt.Errorf("writing the history: %w", err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("writing the history: %w", err)
	}
	return nil
}

func appendTo(ctx context.Context, tx *sql.Tx, e hub.HistoryEntry) error {
	var seq int64
	var newest []byte
	err := tx.QueryRowContext(ctx, "SELECT seq, body FROM pass ORDER BY seq DESC LIMIT 1").Scan(&seq, &newest)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	e.Times, e.Last = 1, e.At
	var before hub.HistoryEntry
	if err == nil && json.Unmarshal(newest, &before) == nil && e.Repeats(before) {
		before.Times, before.Last = before.Times+1, e.At
		e = before
	} else {
		seq++
	}
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO pass (seq, body) VALUES (?, ?) ON CONFLICT (seq) DO UPDATE SET body = excluded.body", seq, body); err != nil {
		return err
	}
	failpoint.Hit("history.added")
	if _, err = tx.ExecContext(ctx, "DELETE FROM pass WHERE seq <= ? - ?", seq, historyRows); err != nil || seq%historyWeighed != 0 {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM pass WHERE seq < ?1 AND seq <= (SELECT max(seq) FROM
		(SELECT seq, sum(length(body)) OVER (ORDER BY seq DESC) AS total FROM pass) WHERE total > ?2)`, seq, historyBytes)
	return err
}

// History returns the entries that q picks, newest first.
func (s *State) History(ctx context.Context, q hub.HistoryQuery) ([]hub.HistoryEntry, error) {
	s.history.mu.Lock()
	defer s.history.mu.Unlock()
	if s.history.db == nil {
		return nil, fmt.Errorf("there is no history: %s", s.history.note)
	}
	return readHistory(ctx, s.history.db, q)
}

// ReadHistory reads the history in dir of a hubd that does not run. Nothing is written. A
// missing file is fs.ErrNotExist, one that the caller may not read fs.ErrPermission.
func ReadHistory(ctx context.Context, dir string, q hub.HistoryQuery) (list []hub.HistoryEntry, err error) {
	path := filepath.Join(dir, fileHistory)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no history is kept in %s: no hubd changed anything here, or the file was taken away: %w", dir, err)
	} else if err != nil {
		return nil, fmt.Errorf("reading the history: %w", err)
	}
	f, err := os.Open(path) // SQLite's word for a denied one is that of a broken one
	if err != nil {
		return nil, fmt.Errorf("reading the history: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("reading the history: %w", err)
	}
	db, err := sql.Open("sqlite", dsn(path, "OFF")+"&mode=ro")
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := checkHistory(db); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w; hubd keeps it aside and begins a new one at its next start", path, err)
	}
	return readHistory(ctx, db, q)
}

func readHistory(ctx context.Context, db *sql.DB, q hub.HistoryQuery) ([]hub.HistoryEntry, error) {
	rows, err := db.QueryContext(ctx, "SELECT body FROM pass ORDER BY seq DESC")
	if err != nil {
		return nil, fmt.Errorf("reading the history: %w", err)
	}
	defer rows.Close()
	var out []hub.HistoryEntry
	for rows.Next() && (q.Limit <= 0 || len(out) < q.Limit) {
		var body []byte
		var e hub.HistoryEntry
		if err := rows.Scan(&body); err != nil {
			return nil, fmt.Errorf("reading the history: %w", err)
		}
		if err := json.Unmarshal(body, &e); err != nil {
			continue // one unreadable row is no reason to show none
		}
		if q.Picks(e) {
			out = append(out, e)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading the history: %w", err)
	}
	return out, nil
}
