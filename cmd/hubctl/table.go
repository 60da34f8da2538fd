package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// width is how wide tables may be.
const width = 100

// Colours of a terminal.
const (
	red    = "\x1b[31m"
	yellow = "\x1b[33m"
	bold   = "\x1b[1m"
	plain  = "\x1b[0m"
)

// paint colours text on a terminal.
func (a *app) paint(colour, text string) string {
	if !a.colour || text == "" {
		return text
	}
	return colour + text + plain
}

// table is rows of cells under a header.
type table struct {
	header []string
	rows   [][]string
	gives  int // the column that gives way first; 0: the widest
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// narrow is how far a column that gives way first does so.
const narrow = 20

// print aligns the columns and keeps within width: the widest column gives way, its cells end
// in an ellipsis then. Cells that end in an exclamation mark are shown in red.
func (a *app) print(t table) {
	widths := make([]int, len(t.header))
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for total(widths) > width {
		if g := t.gives; g > 0 && widths[g] > narrow {
			widths[g]--
			continue
		}
		widest := 0
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= 8 {
			break // more columns than fit: better wide than unreadable
		}
		widths[widest]--
	}
	a.row(t.header, widths, bold)
	for _, row := range t.rows {
		a.row(row, widths, "")
	}
}

func total(widths []int) int {
	sum := 2 * (len(widths) - 1)
	for _, w := range widths {
		sum += w
	}
	return sum
}

func (a *app) row(cells []string, widths []int, colour string) {
	var b strings.Builder
	for i, cell := range cells {
		cell = cut(cell, widths[i])
		gap := ""
		if i < len(cells)-1 {
			gap = strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2)
		}
		switch {
		case colour != "":
			cell = a.paint(colour, cell)
		case strings.HasSuffix(cell, "!"):
			cell = a.paint(red, cell)
		}
		b.WriteString(cell + gap)
	}
	fmt.Fprintln(a.out, strings.TrimRight(b.String(), " "))
}

func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// wrap writes text in lines of at most width, the first after first, the others after rest.
func wrap(w io.Writer, first, rest, text string) {
	line := first
	empty := true
	for word := range strings.FieldsSeq(text) {
		if !empty && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			fmt.Fprintln(w, strings.TrimRight(line, " "))
			line, empty = rest, true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	fmt.Fprintln(w, strings.TrimRight(line, " "))
}

// short writes a number with a unit: 12, 3.4k, 1.2M.
func short(n uint64) string {
	v := float64(n)
	for _, unit := range []string{"", "k", "M", "G", "T"} {
		switch {
		case v < 1000 && unit == "":
			return fmt.Sprintf("%d", n)
		case v < 10:
			return fmt.Sprintf("%.1f%s", v, unit)
		case v < 1000:
			return fmt.Sprintf("%.0f%s", v, unit)
		}
		v /= 1000
	}
	return fmt.Sprintf("%.0fP", v)
}

// span writes a length of time in its largest unit: 12 s, 41 d.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

// when writes a time of the last day as a clock shows it, others with their date.
func when(t time.Time) string {
	if time.Since(t) < 20*time.Hour {
		return t.Local().Format("15:04")
	}
	return t.Local().Format("2006-01-02 15:04")
}

func plural(n int, one string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", one)
	}
	return fmt.Sprintf("%d %ss", n, one)
}
