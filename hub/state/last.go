package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"peerhub/hub/failpoint"
)

// lastTemp is the pattern of last.json's temporary files, allTemp of all in the directory:
// the notes have theirs.
const (
	lastTemp = ".last-*.tmp"
	allTemp  = ".*.tmp"
)

// WriteLast writes v as dir/last.json (0640), whole or not at all, also through a power cut:
// the new file is on the disk before it takes the old one's name.
func WriteLast(dir string, v any) error {
	path := filepath.Join(dir, fileLast)
	if err := writeWhole(path, v); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func writeWhole(path string, v any) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), lastTemp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	enc := json.NewEncoder(f)
	enc.SetIndent("", " ")
	err = errors.Join(enc.Encode(v), f.Chmod(fileMode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	failpoint.Hit("last.temp")
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	failpoint.Hit("last.renamed")
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ReadLast reads dir/last.json into v. A missing file is fs.ErrNotExist.
func ReadLast(dir string, v any) error {
	path := filepath.Join(dir, fileLast)
	body, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the last report: %w", err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

// sweep removes temporary files that a killed hubd left.
func sweep(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, allTemp))
	if err != nil {
		return fmt.Errorf("looking for temporary files in %s: %w", dir, err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing an unfinished file: %w", err)
		}
	}
	return nil
}
