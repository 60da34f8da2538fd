package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"peerhub/hub"
	"peerhub/hub/failpoint"
)

// The files in the state directory.
const (
	fileState   = "state.db"
	fileHistory = "history.db"
	fileLast    = "last.json"
	fileLock    = "hubd.lock"
)

// State is the open state directory. Its methods may be called at the same time.
type State struct {
	dir    string
	lock   *os.File
	db     *sql.DB
	doubt  string
	copied bool // dir is a copy and goes with Close

	topology struct {
		sync.Mutex
		sum [32]byte // of what was saved last, without ages
	}
	history *history
}

var _ hub.Ledger = (*State)(nil)

// Open opens or makes the state in dir, which is made if need be. It fails with *LockedError
// when another process has it open and with *NewerError when a newer hubd wrote it; a broken
// file is set aside and shows in Doubt.
func Open(dir string) (*State, error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("making the state directory: %w", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	if err := sweep(dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s := &State{dir: dir, lock: lock}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.history = openHistory(filepath.Join(dir, fileHistory))
	return s, nil
}

// open opens state.db, or sets it aside and begins a new one.
func (s *State) open() error {
	path := filepath.Join(s.dir, fileState)
	ranBefore := exists(filepath.Join(s.dir, fileLast)) || exists(filepath.Join(s.dir, fileHistory))
	present := exists(path)
	db, fresh, err := openDB(path)
	switch {
	case errors.Is(err, errBroken):
		aside, merr := setAside(path)
		if merr != nil {
			return errors.Join(err, merr)
		}
		s.doubt = fmt.Sprintf("%s could not be trusted (%v); it is kept as %s", path, err, filepath.Base(aside))
		db, _, err = openDB(path)
	case err == nil && fresh && present:
		s.doubt = path + " was empty"
	case err == nil && fresh && ranBefore:
		s.doubt = path + " was missing, though hubd ran here before"
	}
	s.db = db
	return err
}

// Doubt says why what was loaded must not be the ground for removing anything; "" when it may.
func (s *State) Doubt() string { return s.doubt }

// Dir is the state directory.
func (s *State) Dir() string { return s.dir }

// Close closes the files and lets the directory go.
func (s *State) Close() error {
	err := errors.Join(s.db.Close(), s.history.close(), s.lock.Close())
	if s.copied {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

// Save makes durable, at once and together, what is remembered and what is wanted. It is
// the Save of hub.Input.
func (s *State) Save(ctx context.Context, m hub.Remembered, d hub.Desired) error {
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if err := put(ctx, tx, nameRemembered, m); err != nil {
			return err
		}
		failpoint.Hit("state.half")
		return put(ctx, tx, nameDesired, d)
	})
	failpoint.Hit("state.saved")
	return err
}

// SaveRemembered makes durable what is remembered.
func (s *State) SaveRemembered(ctx context.Context, m hub.Remembered) error {
	return s.inTx(ctx, func(tx *sql.Tx) error { return put(ctx, tx, nameRemembered, m) })
}

// LoadRemembered returns what was remembered last; the zero value when nothing was.
func (s *State) LoadRemembered(ctx context.Context) (hub.Remembered, error) {
	var m hub.Remembered
	_, err := s.get(ctx, nameRemembered, &m)
	return m, err
}

// SaveDesired makes durable what is wanted.
func (s *State) SaveDesired(ctx context.Context, d hub.Desired) error {
	return s.inTx(ctx, func(tx *sql.Tx) error { return put(ctx, tx, nameDesired, d) })
}

// LoadDesired returns what was wanted last, nil when nothing was saved.
func (s *State) LoadDesired(ctx context.Context) (*hub.Desired, error) {
	var d hub.Desired
	ok, err := s.get(ctx, nameDesired, &d)
	if !ok || err != nil {
		return nil, err
	}
	return &d, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
