package main

import (
	"context"
	"fmt"
	"io"
	"math"
)

// Result is one line of bench.json.
type Result struct {
	Name     string  `json:"name"`
	Bar      string  `json:"bar"`  // the limit, in words
	Unit     string  `json:"unit"` // of measured, spread and baseline
	Measured float64 `json:"measured"`
	Spread   float64 `json:"spread"`
	Baseline float64 `json:"baseline"` // what it is compared with, 0 if nothing
	Ratio    float64 `json:"ratio"`    // measured / baseline, 0 if there is none
	Samples  int     `json:"samples"`
	OK       bool    `json:"ok"`
	Note     string  `json:"note,omitempty"` // "not resolved", or what was seen beside
}

// bar is one measurement. With sabotage its defence or optimisation is taken away,
// and the result must not be ok.
type bar struct {
	name string
	run  func(ctx context.Context, sabotage bool) ([]Result, error)
}

// below judges a figure that must not exceed limit.
func below(r Result, value, limit float64) Result {
	r.OK = value <= limit
	return r.resolved(value, limit)
}

// atLeast judges a figure that must reach limit.
func atLeast(r Result, value, limit float64) Result {
	r.OK = value >= limit
	return r.resolved(value, limit)
}

// resolved says so when the figure is nearer to its limit than it may be off.
func (r Result) resolved(value, limit float64) Result {
	if r.Spread > 0 && math.Abs(value-limit) < r.Spread {
		r.Note = join(r.Note, "not resolved: the spread exceeds the margin")
	}
	return r
}

// unlessBusy says of a time that is too long that others may be to blame: the processor
// time in it is within the limit.
func (r Result) unlessBusy(used, limit float64) Result {
	if !r.OK && used <= limit {
		r.Note = join(r.Note, "not resolved: the processor time in it is within the bar, the rest is waiting")
	}
	return r
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// print writes one result as a line a person can read.
func (r Result) print(w io.Writer) {
	verdict := "MISSED"
	if r.OK {
		verdict = "ok"
	}
	ratio := ""
	if r.Ratio > 0 {
		ratio = fmt.Sprintf("  ratio %.3f", r.Ratio)
	}
	fmt.Fprintf(w, "%-6s %-44s %10.4g %-8s ±%-9.3g base %-9.4g%s  n=%d\n       bar: %s\n",
		verdict, r.Name, r.Measured, r.Unit, r.Spread, r.Baseline, ratio, r.Samples, r.Bar)
	if r.Note != "" {
		fmt.Fprintf(w, "       %s\n", r.Note)
	}
}
