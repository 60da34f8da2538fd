package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"peerhub/hub/daemon"
	"peerhub/hub/failpoint"
)

// notes keeps small words in a file of the state directory: whether an operator paused
// hubd, and whether this hub was adopted.
type notes struct {
	path string
	mu   sync.Mutex
}

func (n *notes) Note(key string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	all, err := n.read()
	return all[key], err
}

// SetNote writes the file anew, whole or not at all, also through a power cut. It takes the
// place of one that cannot be understood.
func (n *notes) SetNote(key, value string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	all, err := n.read()
	if err != nil && !errors.Is(err, daemon.ErrNotesBroken) {
		return err
	}
	if err == nil && all[key] == value {
		return nil
	}
	all[key] = value
	data, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return fmt.Errorf("write %s: %w", n.path, err)
	}
	if err := replaceFile(n.path, append(data, '\n')); err != nil {
		return fmt.Errorf("write %s: %w", n.path, err)
	}
	return nil
}

// read returns what is noted. A file that cannot be understood is daemon.ErrNotesBroken: whoever
// wrote it may have asked hubd to keep still.
func (n *notes) read() (map[string]string, error) {
	all := map[string]string{}
	data, err := os.ReadFile(n.path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return all, fmt.Errorf("read the notes: %w", err)
	}
	if err := json.Unmarshal(data, &all); err != nil || all == nil {
		return map[string]string{}, fmt.Errorf("%s: %w", n.path, daemon.ErrNotesBroken)
	}
	return all, nil
}

// replaceFile puts data in path's place: temporary file, sync, rename, sync of the folder.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // it is gone already when all went well
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o640), f.Sync(), f.Close()); err != nil {
		return err
	}
	failpoint.Hit("notes.temp")
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	failpoint.Hit("notes.renamed")
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
