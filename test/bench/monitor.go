package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"peerhub/test/fabric"
)

// monitor is a program of the system that prints a line for each write to the kernel.
type monitor struct {
	argv []string
	mark func(n int) string // a shell line that makes one event, with a word to find it by
	word func(n int) string

	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

// countWrites counts the lines that `nft monitor` and `ip monitor` print in a namespace
// while f runs. A mark of our own before and after shows that they listen.
func countWrites(ctx context.Context, ns string, f func() error) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	monitors := []*monitor{
		{argv: []string{"nft", "monitor"}, word: func(n int) string { return fmt.Sprintf("benchmark%d", n) },
			mark: func(n int) string { return fmt.Sprintf("nft add table ip benchmark%d", n) }},
		{argv: []string{"ip", "monitor", "route", "rule", "address"}, word: func(n int) string { return fmt.Sprintf("192.0.2.%d", n) },
			mark: func(n int) string { return fmt.Sprintf("ip route add 192.0.2.%d dev lo", n) }},
	}
	for _, m := range monitors {
		if err := m.start(ctx, ns); err != nil {
			return 0, err
		}
		if err := m.put(ctx, ns, 1); err != nil {
			return 0, err
		}
	}
	if err := f(); err != nil {
		return 0, err
	}
	n := 0
	for _, m := range monitors {
		if err := m.put(ctx, ns, 100); err != nil {
			return 0, err
		}
		n += m.between(m.word(100))
	}
	return n, nil
}

func (m *monitor) start(ctx context.Context, ns string) error {
	cmd := fabric.Command(ctx, ns, m.argv...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("read %s: %w", m.argv[0], err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", strings.Join(m.argv, " "), err)
	}
	m.more = make(chan struct{}, 1)
	go func() {
		for sc := bufio.NewScanner(out); sc.Scan(); {
			m.mu.Lock()
			m.lines = append(m.lines, sc.Text())
			m.mu.Unlock()
			select {
			case m.more <- struct{}{}:
			default:
			}
		}
		_ = cmd.Wait() // ended by the context
	}()
	return nil
}

// put makes an event of number n, again until the monitor has printed it.
func (m *monitor) put(ctx context.Context, ns string, n int) error {
	for ; ; n++ {
		if _, err := fabric.Exec(ctx, ns, "sh", "-c", m.mark(n)); err != nil {
			return err
		}
		if m.seen(ctx, m.word(n)) {
			return nil
		}
		if n%50 == 49 || ctx.Err() != nil {
			return fmt.Errorf("%s does not print what happens", strings.Join(m.argv, " "))
		}
	}
}

// seen waits up to a second for a line with the word.
func (m *monitor) seen(ctx context.Context, word string) bool {
	limit := time.NewTimer(time.Second)
	defer limit.Stop()
	for {
		m.mu.Lock()
		found := strings.Contains(strings.Join(m.lines, "\n"), word)
		m.mu.Unlock()
		if found {
			return true
		}
		select {
		case <-m.more:
		case <-limit.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// between counts the lines between the latest mark before the last one, and the last one,
// without the lines that only end a generation.
func (m *monitor) between(last string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	begin, end := 0, len(m.lines)
	for i, l := range m.lines {
		if strings.Contains(l, "benchmark") || strings.Contains(l, "192.0.2.") {
			if strings.Contains(l, last) {
				end = i
				break
			}
			begin = i + 1
		}
	}
	n := 0
	for _, l := range m.lines[min(begin, end):end] {
		if !strings.HasPrefix(strings.TrimSpace(l), "# new generation") {
			n++
		}
	}
	return n
}
