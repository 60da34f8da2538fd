package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// OpenCopy opens a copy of the state in dir, for a dry run: what is written goes to the copy
// and with it, at Close. dir is not changed, nor made when it is not there. It fails as Open does.
func OpenCopy(dir string) (s *State, err error) {
	held, err := holdDir(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	copied, err := os.MkdirTemp("", "hubd-dry-run-")
	if err != nil {
		return nil, fmt.Errorf("copying the state: %w", err)
	}
	if err := copyFiles(dir, copied); err != nil {
		return nil, errors.Join(fmt.Errorf("copying the state of %s: %w", dir, err), os.RemoveAll(copied))
	}
	if s, err = Open(copied); err != nil {
		var newer *NewerError
		if errors.As(err, &newer) {
			newer.Path = filepath.Join(dir, filepath.Base(newer.Path))
		}
		return nil, errors.Join(err, os.RemoveAll(copied))
	}
	s.doubt = strings.ReplaceAll(s.doubt, copied, dir)
	s.copied = true
	return s, nil
}

// copyFiles copies the files of a state directory but the lock. Of the history only that
// there is one: nobody asks the copy for it, and it may be large.
func copyFiles(from, to string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(from, e.Name())
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || e.Name() == fileLock || strings.HasPrefix(e.Name(), fileHistory+"-") {
			continue
		}
		var data []byte
		if e.Name() != fileHistory {
			if data, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}
