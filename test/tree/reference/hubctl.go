package reference

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

func textOf(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read what a page is made from: %w", err)
	}
	return string(b), nil
}

var index = regexp.MustCompile(`\[[0-9]+\]`)

// plain is a key without the numbers of its items: vpn[].pools.
func plain(key string) string { return index.ReplaceAllString(key, "[]") }

// commandsPage is the help of every command.
func commandsPage(hubctl string) (string, error) {
	var b strings.Builder
	b.WriteString("# hubctl\n" + from("hubctl --help"))
	b.WriteString(`
Answers go to standard output, talk to standard error. Commands that read take ` + "`-o json`" + `: one object with
` + "`schema`" + `, snake_case, times in RFC 3339 UTC, unknown as null. Tables fit 100 columns and drop colour in a pipe or with
NO_COLOR.

| exit code | meaning |
|---|---|
| 0 | it was done, or the answer is yes, or nothing is pending |
| 1 | it could not be done or answered |
| 2 | the answer is no: ` + "`plan`" + ` has changes, ` + "`status --check`" + ` fails, ` + "`sync`" + ` left something undone, ` + "`add-spoke`" + ` waits for somebody |
| 64 | wrong usage |
`)
	if err := command(&b, hubctl, nil); err != nil {
		return "", err
	}
	return b.String(), nil
}

// command writes a command's help and then that of those below it.
func command(b *strings.Builder, hubctl string, path []string) error {
	out, err := exec.Command(hubctl, append(path, "--help")...).Output()
	if err != nil {
		return fmt.Errorf("help of hubctl %s: %w", strings.Join(path, " "), err)
	}
	help := strings.TrimSpace(string(out))
	fmt.Fprintf(b, "\n## %s\n\n```\n%s\n```\n", strings.Join(append([]string{"hubctl"}, path...), " "), body(help, len(path) > 0))
	for _, name := range below(help) {
		if name == "help" || name == "completion" {
			continue // cobra's own, the same everywhere
		}
		if err := command(b, hubctl, append(path[:len(path):len(path)], name)); err != nil {
			return err
		}
	}
	return nil
}

// body is help without what every command repeats.
func body(help string, sub bool) string {
	if at := strings.Index(help, "\n\nGlobal Flags:"); sub && at >= 0 {
		help = help[:at]
	}
	if at := strings.Index(help, "\n\nUse \"hubctl"); at >= 0 {
		help = help[:at]
	}
	return help
}

// below lists the commands that a help text offers.
func below(help string) []string {
	_, list, ok := strings.Cut(help, "\nAvailable Commands:\n")
	if !ok {
		return nil
	}
	list, _, _ = strings.Cut(list, "\n\n")
	var out []string
	for line := range strings.Lines(list) {
		if f := strings.Fields(line); len(f) > 0 {
			out = append(out, f[0])
		}
	}
	return out
}
