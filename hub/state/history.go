package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"peerhub/hub"
	"peerhub/hub/failpoint"
)

const (
	historyRows   = 1000 // passes kept
	passChanges   = 500  // changes kept of one pass
	historySchema = `CREATE TABLE IF NOT EXISTS pass (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
PRAGMA user_version = 1;`
)

// Pass is a pass that changed something, as the history keeps it.
type Pass struct {
	At       time.Time     `json:"at"`
	TookMS   int64         `json:"took_ms"`
	Mode     hub.Mode      `json:"mode"`
	Count    int           `json:"count"` // of all changes, also those beyond the first of Changes
	Changes  []PassChange  `json:"changes"`
	Problems []hub.Problem `json:"problems"`
}

// PassChange is one change that was made.
type PassChange struct {
	Plane  hub.PlaneName `json:"plane"`
	Verb   hub.Verb      `json:"verb"`
	Unit   hub.Unit      `json:"unit"`
	Object string        `json:"object"`
	Detail string        `json:"detail"`
}

// history is history.db. It may be lost, so it never waits for the disk, and an error of
// it is nobody's failure but the one's who asks.
type history struct {
	db  *sql.DB
	err error // why there is none
}

// openHistory opens the history, or begins a new one when the old one is no good.
func openHistory(path string) *history {
	db, err := tryHistory(path)
	if err != nil {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			if rerr := os.Remove(path + suffix); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
				return &history{err: errors.Join(err, rerr)}
			}
		}
		db, err = tryHistory(path)
	}
	return &history{db: db, err: err}
}

func tryHistory(path string) (*sql.DB, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would make it readable for all
	if err != nil {
		return nil, fmt.Errorf("opening the history: %w", err)
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil { // an older hubd left it so
		return nil, fmt.Errorf("opening the history: %w", err)
	}
	db, err := sql.Open("sqlite", dsn(path, "OFF"))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	var answer string
	if _, err = db.Exec(historySchema); err == nil {
		err = db.QueryRow("PRAGMA quick_check(1)").Scan(&answer)
	}
	if err == nil && answer != "ok" {
		err = errors.New(answer)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening %s: %w", path, err), db.Close())
	}
	return db, nil
}

func (h *history) close() error {
	if h.db == nil {
		return nil
	}
	return h.db.Close()
}

// AppendPass adds a pass to the history if it changed anything.
func (s *State) AppendPass(ctx context.Context, rep hub.Report) error {
	if rep.Changes() == 0 {
		return nil
	}
	if s.history.err != nil {
		return s.history.err
	}
	p := Pass{At: rep.Started, TookMS: rep.Took.Milliseconds(), Mode: rep.Mode, Count: rep.Changes(), Problems: rep.Problems}
	for _, plane := range rep.Planes {
		for _, c := range plane.Applied {
			if len(p.Changes) < passChanges {
				p.Changes = append(p.Changes, PassChange{Plane: plane.Plane, Verb: c.Verb, Unit: c.Unit, Object: c.Object, Detail: c.Detail})
			}
		}
	}
	body, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("writing the history: %w", err)
	}
	if _, err := s.history.db.ExecContext(ctx, "INSERT INTO pass (body) VALUES (?)", body); err != nil {
		return fmt.Errorf("writing the history: %w", err)
	}
	failpoint.Hit("history.added")
	if _, err := s.history.db.ExecContext(ctx, "DELETE FROM pass WHERE seq <= (SELECT max(seq) FROM pass) - ?", historyRows); err != nil {
		return fmt.Errorf("shortening the history: %w", err)
	}
	return nil
}

// Passes returns the newest passes that changed something, newest first, at most limit.
func (s *State) Passes(ctx context.Context, limit int) ([]Pass, error) {
	if s.history.err != nil {
		return nil, s.history.err
	}
	rows, err := s.history.db.QueryContext(ctx, "SELECT body FROM pass ORDER BY seq DESC LIMIT ?", limit)
	if err != nil {
		return nil, fmt.Errorf("reading the history: %w", err)
	}
	defer rows.Close()
	var out []Pass
	for rows.Next() {
		var body []byte
		var p Pass
		if err := rows.Scan(&body); err != nil {
			return nil, fmt.Errorf("reading the history: %w", err)
		}
		if err := json.Unmarshal(body, &p); err != nil {
			continue // one unreadable row is no reason to show none
		}
		out = append(out, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading the history: %w", err)
	}
	return out, nil
}
