package tree

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Lines that a Go file may have: past the first a reader is told, past the second the
// tree's test fails. Files of tests are tables more often than ideas and are not counted.
const (
	longLines    = 400
	tooLongLines = 500
)

// lengths tells which of the files, paths below root, are long and which are too long.
func lengths(root string, files []string) (long, tooLong []string, err error) {
	for _, file := range files {
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", file, err)
		}
		n := bytes.Count(b, []byte("\n"))
		text := fmt.Sprintf("%s has %d lines", file, n)
		switch {
		case n > tooLongLines:
			tooLong = append(tooLong, text)
		case n > longLines:
			long = append(long, text)
		}
	}
	return long, tooLong, nil
}
