package kroute

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// script yields one answer after the other.
func script(answers ...any) func() (string, error) {
	return func() (string, error) {
		a := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		}
		if err, ok := a.(error); ok {
			return "partial", err
		}
		return a.(string), nil
	}
}

func TestADumpCountsOnceItIsWhole(t *testing.T) {
	refused := errors.New("refused")
	for _, c := range []struct {
		name string
		read func() (string, error)
		want string
		err  error
	}{
		{"at once", script("a"), "a", nil},
		{"interrupted twice", script(netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted, "a"), "a", nil},
		{"interrupted for ever", script(netlink.ErrDumpInterrupted), "", netlink.ErrDumpInterrupted},
		{"refused", script(refused, "a"), "", refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := retried(c.read); got != c.want || !errors.Is(err, c.err) {
				t.Errorf("got %q, %v; want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}

func TestAnUnmarkedDumpCountsOnceTwoAgree(t *testing.T) {
	refused := errors.New("refused")
	equal := func(a, b string) bool { return a == b }
	turn := 0
	for _, c := range []struct {
		name string
		read func() (string, error)
		want string
		err  error
	}{
		{"nobody writes", script("ab"), "ab", nil},
		{"one is missing once", script("ab", "a", "ab"), "ab", nil},
		{"one is missing, then twice there", script("a", "abb", "ab"), "ab", nil},
		{"no two agree", func() (string, error) { turn++; return fmt.Sprint(turn), nil }, "", errRestless},
		{"refused", script(refused), "", refused},
		{"refused the second time", script("ab", refused), "", refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := agreed(c.read, equal)
			if !errors.Is(err, c.err) || err == nil && got != c.want {
				t.Errorf("got %q, %v; want %q, %v", got, err, c.want, c.err)
			}
		})
	}
}

// Somebody else's rules come and go by the thousand, before ours: a dump of them takes
// several parts, and the kernel does not tell when one goes missing between two.
func TestOthersRulesThatChangeWhileWeReadHideNoneOfOurs(t *testing.T) {
	n := hubNS(t)
	p := n.plane()
	pass(t, p, twoWays())
	var add strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&add, "rule add pref %d from 192.0.2.7 lookup 77\n", i+1)
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	adds, dels := file("add", add.String()), file("del", strings.ReplaceAll(add.String(), "add", "del"))
	churned := make(chan error, 1)
	go func() {
		for range 10 {
			for _, batch := range []string{adds, dels} {
				if out, err := n.try("ip", "-batch", batch); err != nil {
					churned <- fmt.Errorf("%w: %s", err, out)
					return
				}
			}
		}
		churned <- nil
	}()
	for reads := 0; ; reads++ {
		v, err := p.Observe(t.Context())
		if errors.Is(err, errRestless) {
			continue // it says so and changes nothing
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := v.Plan(twoWays()); len(got) > 0 {
			t.Errorf("read %d: would change %v", reads, got)
		}
		select {
		case err := <-churned:
			if err != nil {
				t.Error(err)
			}
			t.Logf("%d reads", reads)
			return
		default:
		}
	}
}
