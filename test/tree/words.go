package tree

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// forbidden is a text that must not stand in the files of a folder, and why.
type forbidden struct {
	pattern *regexp.Regexp
	under   []string // folders below the root; "" is the whole tree
	except  []string
	ext     []string // endings of file names; empty: all text
	why     string
}

var goFiles = []string{".go"}

var forbiddens = []forbidden{
	{regexp.MustCompile(`(?i)\bhublab\b|\bec2sim\b|test/lab|test/fabric`), []string{"hub", "discovery", "masq", "vpnconf", "cmd/hubd", "cmd/hubctl", "deploy"}, []string{"_test.go"}, nil,
		"nothing outside test/ and cmd/hublab knows of the lab"},
	{regexp.MustCompile(`\.(AddTable|AddSet|GetRules?|Monitor|AddMonitor|NewMonitor)\(`), []string{"masq"}, nil, goFiles,
		"google/nftables v0.3.0 gets these wrong; masq/netlink.go has ours"},
	{regexp.MustCompile(`\btime\.Now\b`), []string{"hub"}, []string{"hub/awsapi", "hub/config", "hub/state", "hub/control", "hub/daemon", "hub/kroute", "hub/vpcroute", "hub/peering"}, goFiles,
		"the core never asks for the time"},
	{regexp.MustCompile(`\bexec\.Command|os\.StartProcess|syscall\.(Fork)?Exec\b`), []string{"hub", "discovery", "masq", "vpnconf", "cmd/hubd"}, []string{"_test.go"}, goFiles,
		"hubd starts no other program"},
	{regexp.MustCompile(`"(text|html)/template"`), []string{"cmd", "hub", "discovery", "masq", "vpnconf"}, nil, goFiles,
		"a template package defeats dead-code elimination of the EC2 client: 42 MB"},
	{regexp.MustCompile(`\bt\.Skip(f|Now)?\(|\bb\.Skip`), []string{""}, []string{"test/tree/"}, goFiles, "a skipped test is a failure"},
	{regexp.MustCompile(`(?m)^//go:build `), []string{""}, []string{"test/tree/", "hub/failpoint/"}, goFiles, "no build tag may leave a test unrun"},
	{regexp.MustCompile(`zerolog/log"`), []string{""}, []string{"test/tree/"}, goFiles, "no global logger"},
	{regexp.MustCompile(`\bpanic\(|log\.Fatal|os\.Exit\(`), []string{"hub", "discovery", "masq", "vpnconf"}, []string{"_test.go"}, goFiles, "only main exits, nothing panics on input"},
	{regexp.MustCompile(`(?i)\b(claude|anthropic|openai|chatgpt|copilot|llm)\b|\b(?-i:AI)\b`), []string{""}, []string{"test/tree/"}, nil,
		"the tree speaks of the product, not of how it was written"},
	{regexp.MustCompile("(?m)(^|[\\s\"'`(=:])/(work|home/[a-z]+|root)/"), []string{""}, []string{"test/tree/"}, nil,
		"a path of somebody's machine is of no use to a reader"},
	{regexp.MustCompile(`\bfacts/[a-z0-9-]+\.md|\b(design|contract)\.md\b`), []string{""}, []string{"test/tree/"}, nil,
		"a document that is not in the tree cannot be read there"},
}

// words reports every forbidden text in the files, which are paths below root.
func words(root string, files []string) ([]string, error) {
	var out []string
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		for _, f := range forbiddens {
			if f.covers(file) {
				if at := f.pattern.FindIndex(b); at != nil {
					out = append(out, fmt.Sprintf("%s:%d: %q: %s", file, 1+strings.Count(string(b[:at[0]]), "\n"), b[at[0]:at[1]], f.why))
				}
			}
		}
	}
	return out, nil
}

func (f forbidden) covers(file string) bool {
	in := false
	for _, u := range f.under {
		in = in || u == "" || strings.HasPrefix(file, u+"/")
	}
	for _, e := range f.except {
		if strings.HasPrefix(file, e) || strings.HasSuffix(file, e) {
			return false
		}
	}
	if len(f.ext) == 0 {
		return in
	}
	for _, e := range f.ext {
		if in && strings.HasSuffix(file, e) {
			return true
		}
	}
	return false
}
