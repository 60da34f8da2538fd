package tree

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
)

// Package is what the rules need to know of a Go package (go help list).
type Package struct {
	ImportPath, Dir, Name, Doc                         string
	Imports, TestImports, XTestImports                 []string
	GoFiles, TestGoFiles, XTestGoFiles, IgnoredGoFiles []string
	Standard                                           bool
}

// Files lists the package's Go files, tests included, with their folder.
func (p Package) Files() []string {
	var out []string
	for _, list := range [][]string{p.GoFiles, p.TestGoFiles, p.XTestGoFiles} {
		for _, f := range list {
			out = append(out, filepath.Join(p.Dir, f))
		}
	}
	return out
}

// Path is the import path below the module: "hub/kroute".
func (p Package) Path() string { return strings.TrimPrefix(p.ImportPath, "peerhub/") }

// load lists packages by pattern, run in the tree's root.
func load(root string, patterns ...string) ([]Package, error) {
	cmd := exec.Command("go", append([]string{"list", "-json"}, patterns...)...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", strings.Join(patterns, " "), err)
	}
	var pkgs []Package
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p Package
		if err := dec.Decode(&p); err == io.EOF {
			return pkgs, nil
		} else if err != nil {
			return nil, fmt.Errorf("read go list's answer: %w", err)
		}
		pkgs = append(pkgs, p)
	}
}
