package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
)

// nameWindow is what is to be put back unless somebody confirms, in the daemon's words.
const nameWindow = "window"

// SaveWindow makes durable what is to be put back unless somebody confirms; nil: nothing is.
func (s *State) SaveWindow(ctx context.Context, body json.RawMessage) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		if body != nil {
			return put(ctx, tx, nameWindow, body)
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM value WHERE name = ?", nameWindow); err != nil {
			return fmt.Errorf("writing %q of %s: %w", nameWindow, fileState, err)
		}
		return nil
	})
}

// LoadWindow returns what SaveWindow saved last, nil when nothing was.
func (s *State) LoadWindow(ctx context.Context) (json.RawMessage, error) {
	var body json.RawMessage
	if ok, err := s.get(ctx, nameWindow, &body); !ok || err != nil {
		return nil, err
	}
	return body, nil
}
