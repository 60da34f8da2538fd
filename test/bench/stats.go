package main

import (
	"math"
	"slices"
)

// rounds is how many interleaved rounds a ratio takes at least.
const rounds = 9

// quantile returns the q-th quantile of values by linear interpolation; 0 for none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	at := q * float64(len(s)-1)
	lo, hi := int(math.Floor(at)), int(math.Ceil(at))
	return s[lo] + (s[hi]-s[lo])*(at-float64(lo))
}

func median(values []float64) float64 { return quantile(values, 0.5) }

// spread is half the distance between the quartiles: how far the median may be off on
// another day of this machine.
func spread(values []float64) float64 {
	return (quantile(values, 0.75) - quantile(values, 0.25)) / 2
}

// ratios divides round by round.
func ratios(measured, baseline []float64) []float64 {
	out := make([]float64, 0, len(measured))
	for i := range measured {
		if baseline[i] > 0 {
			out = append(out, measured[i]/baseline[i])
		}
	}
	return out
}
