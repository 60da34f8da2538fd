package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"peerhub/hub"
)

// rowName is what the checksum of a ledger row covers besides its body.
func rowName(k hub.LedgerKey) string {
	return string(k.Table) + " " + k.Destination.String() + " " + string(k.Peering)
}

// Entries returns the VPC routes of ours, sorted by table, destination and peering.
func (s *State) Entries(ctx context.Context) ([]hub.LedgerEntry, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT body FROM ledger ORDER BY table_id, destination, peering")
	if err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	defer rows.Close()
	var out []hub.LedgerEntry
	for rows.Next() {
		var body []byte
		var e hub.LedgerEntry
		if err := rows.Scan(&body); err != nil {
			return nil, fmt.Errorf("reading the ledger: %w", err)
		}
		if err := json.Unmarshal(body, &e); err != nil {
			return nil, fmt.Errorf("reading the ledger: %w", err)
		}
		out = append(out, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading the ledger: %w", err)
	}
	return out, nil
}

// Intend records that a route is about to be made. It is on the disk when the call returns.
func (s *State) Intend(ctx context.Context, e hub.LedgerEntry) error {
	return s.inTx(ctx, func(tx *sql.Tx) error { return record(ctx, tx, e) })
}

func record(ctx context.Context, tx *sql.Tx, e hub.LedgerEntry) error {
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("recording %s: %w", rowName(e.LedgerKey), err)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO ledger (table_id, destination, peering, body, sum) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (table_id, destination, peering) DO UPDATE SET body = excluded.body, sum = excluded.sum`,
		string(e.Table), e.Destination.String(), string(e.Peering), body, checksum(rowName(e.LedgerKey), body))
	if err != nil {
		return fmt.Errorf("recording %s: %w", rowName(e.LedgerKey), err)
	}
	return nil
}

// Confirm records that the route was made. A route nobody intended is an error: it would
// not be ours.
func (s *State) Confirm(ctx context.Context, k hub.LedgerKey) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		var body []byte
		err := tx.QueryRowContext(ctx, "SELECT body FROM ledger WHERE table_id = ? AND destination = ? AND peering = ?",
			string(k.Table), k.Destination.String(), string(k.Peering)).Scan(&body)
		if err != nil {
			return fmt.Errorf("confirming %s: %w", rowName(k), err)
		}
		var e hub.LedgerEntry
		if err := json.Unmarshal(body, &e); err != nil {
			return fmt.Errorf("confirming %s: %w", rowName(k), err)
		}
		if e.Confirmed {
			return nil
		}
		e.Confirmed = true
		return record(ctx, tx, e)
	})
}

// Forget records that the route is gone. Forgetting what is not there is no error.
func (s *State) Forget(ctx context.Context, k hub.LedgerKey) error {
	return s.inTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM ledger WHERE table_id = ? AND destination = ? AND peering = ?",
			string(k.Table), k.Destination.String(), string(k.Peering))
		if err != nil {
			return fmt.Errorf("forgetting %s: %w", rowName(k), err)
		}
		return nil
	})
}
