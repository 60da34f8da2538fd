package main

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func printed(colour bool, t table) string {
	var b bytes.Buffer
	a := &app{out: bufio.NewWriter(&b), colour: colour}
	a.print(t)
	a.out.Flush()
	return b.String()
}

func TestTableKeepsWithinItsWidth(t *testing.T) {
	wide := table{header: []string{"NAME", "WHAT"}}
	wide.add("billing", strings.Repeat("ü", 200))
	for line := range strings.Lines(printed(false, wide)) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if text := printed(false, wide); !strings.Contains(text, "ü…\n") {
		t.Errorf("what was cut does not show: %s", text)
	}
}

func TestColourOnlyWhereWanted(t *testing.T) {
	bad := table{header: []string{"NAME", "ROUTES"}}
	bad.add("legacy", "0/2 !")
	bad.add("billing", "ok 3/3")
	text := printed(true, bad)
	if !strings.Contains(text, red+"0/2 !"+plain) || strings.Contains(text, red+"ok") {
		t.Errorf("%q", text)
	}
	if text := printed(false, bad); strings.Contains(text, "\x1b") {
		t.Errorf("%q", text)
	}
}

func TestNumbersForPeople(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1.0k", 12345: "12k", 1200000: "1.2M", 8000000: "8.0M", 1 << 62: "4612P"} {
		if got := short(n); got != want {
			t.Errorf("short(%d) = %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "0 s", 12 * time.Second: "12 s", 5 * time.Minute: "5 min", 30 * time.Hour: "30 h", 41 * 24 * time.Hour: "41 d"} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestWrap(t *testing.T) {
	var b bytes.Buffer
	wrap(&b, "  first  ", "         ", strings.Repeat("word ", 40))
	for line := range strings.Lines(b.String()) {
		if len(line) > width+1 || !strings.HasPrefix(line, "  ") {
			t.Errorf("%q", line)
		}
	}
	if n := strings.Count(b.String(), "word"); n != 40 {
		t.Errorf("%d words of 40", n)
	}
}
