package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// verdict is one row of faults.json.
type verdict struct {
	ID          string  `json:"id"`
	Fault       string  `json:"fault"`
	Ownership   string  `json:"ownership"`
	Injected    string  `json:"injected"`
	Expected    string  `json:"expected"`
	Seen        string  `json:"seen"`
	Control     string  `json:"control"`
	Lost        int     `json:"lost"`
	Lossy       string  `json:"lossy"`
	ConvergedMS float64 `json:"converged_ms"`
	OK          bool    `json:"ok"`
}

func read(path string) ([]verdict, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the results: %w", err)
	}
	var list []verdict
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return list, nil
}

// joined adds the rows of earlier runs that list lacks, the first file's first.
func joined(list []verdict, files string) ([]verdict, error) {
	have := map[string]bool{}
	for _, v := range list {
		have[v.ID+v.Ownership] = true
	}
	for file := range strings.SplitSeq(files, ",") {
		if file == "" {
			continue
		}
		old, err := read(file)
		if err != nil {
			return nil, err
		}
		for _, v := range old {
			if !have[v.ID+v.Ownership] {
				have[v.ID+v.Ownership], list = true, append(list, v)
			}
		}
	}
	slices.SortFunc(list, func(a, b verdict) int { return strings.Compare(a.ID+a.Ownership, b.ID+b.Ownership) })
	return list, nil
}

func write(path string, list []verdict) error {
	b, err := json.MarshalIndent(list, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

// table is what a terminal shows.
func table(list []verdict) string {
	var sb strings.Builder
	for _, v := range list {
		state := "ok    "
		if !v.OK {
			state = "FAILED"
		}
		fmt.Fprintf(&sb, "%s %s %-7s %s\n", state, v.ID, v.Ownership, v.Fault)
		for line := range strings.Lines(v.Injected) {
			fmt.Fprintf(&sb, "         $ %s\n", strings.TrimSuffix(line, "\n"))
		}
		fmt.Fprintf(&sb, "         expected: %s\n         seen:     %s\n         control:  %s\n         lost %d packets%s, converged in %.0f ms\n",
			v.Expected, v.Seen, v.Control, v.Lost, because(v), v.ConvergedMS)
	}
	return sb.String()
}

func because(v verdict) string {
	if v.Lossy == "" {
		return ""
	}
	return " (" + v.Lossy + ")"
}

// page is docs/faults.md.
func page(list []verdict) string {
	var sb strings.Builder
	sb.WriteString(`# Faults
<!-- Written by ` + "`make faults`" + ` from faults.json: edits here are lost. -->

Each fault was made to happen in a lab of its own, once for each ownership mode of the firewall table
([architecture](architecture.md)), and once more with the defence off: the control, whose harm shows that the defence is
good for something. Probes ran all the time (TCP and UDP, 50 packets a second each, processes of their own). After each
row this was checked: the probes lost nothing, unless the row says why; nothing that is not ours changed, byte for byte;
no packet left the hub that must not; nothing was left to do; status told the truth; memory and open files stayed small.

The lines can be typed beside a lab (` + "`hublab up`" + `): ` + "`on-hub`" + ` is ` + "`hublab exec hub --`" + `, ` + "`aws ACCOUNT`" + ` is
` + "`hublab aws ACCOUNT --`" + `, and the variables are ids of the lab's AWS objects (` + "`hublab hosts -o json`" + `). Times to converge
include those of looking (30 ms and more), on a busy machine that ran two labs and more at once; rows may come from several
runs of a day.

`)
	for i, v := range list {
		if i == 0 || list[i-1].ID != v.ID {
			fmt.Fprintf(&sb, "## %s: %s\n\n```\n%s\n```\n\nExpected: %s.\n\n| mode | seen | lost | converged | control |\n|---|---|---|---|---|\n",
				v.ID, v.Fault, v.Injected, strings.TrimSuffix(v.Expected, "."))
		}
		seen := v.Seen
		if !v.OK {
			seen = "**failed** " + seen
		}
		fmt.Fprintf(&sb, "| %s | %s | %d%s | %.0f ms | %s |\n", v.Ownership, cell(seen), v.Lost, cell(because(v)), v.ConvergedMS, cell(v.Control))
		if i == len(list)-1 || list[i+1].ID != v.ID {
			sb.WriteString("\n")
		}
	}
	return strings.TrimRight(sb.String(), "\n") + "\n"
}

// cell makes a text fit into a table of Markdown.
func cell(s string) string { return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s) }
