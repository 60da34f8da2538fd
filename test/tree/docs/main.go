// Command docs writes the generated pages of docs: `make docs`, run in the tree's root.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"peerhub/test/tree/reference"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

func run() error {
	dir, err := os.MkdirTemp("", "docs")
	if err != nil {
		return fmt.Errorf("make a place for hubctl: %w", err)
	}
	defer os.RemoveAll(dir)
	hubctl := filepath.Join(dir, "hubctl")
	if out, err := exec.Command("go", "build", "-o", hubctl, "./cmd/hubctl").CombinedOutput(); err != nil {
		return fmt.Errorf("build hubctl: %w: %s", err, out)
	}
	pages, err := reference.Pages(".", hubctl)
	if err != nil {
		return err
	}
	for path, text := range pages {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return fmt.Errorf("write the page: %w", err)
		}
	}
	return nil
}
