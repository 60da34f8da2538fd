package vpnconf

import "strings"

// words splits a line of an OpenVPN config file the way OpenVPN does: quotes only where a
// word begins, backslashes outside single quotes, comments where a word would begin. A
// line OpenVPN refuses (a quote left open) has no words.
func words(line string) []string {
	var out []string
	for rest := line; ; {
		rest = strings.TrimLeft(rest, " \t\r\n\v\f")
		if rest == "" || rest[0] == '#' || rest[0] == ';' {
			return out
		}
		word, after, ok := nextWord(rest)
		if !ok {
			return nil
		}
		out, rest = append(out, word), after
	}
}

// nextWord takes the first word off a line that begins with one.
func nextWord(s string) (word, rest string, ok bool) {
	end, escapes := byte(' '), true
	switch s[0] {
	case '\'':
		end, escapes, s = '\'', false, s[1:]
	case '"':
		end, s = '"', s[1:]
	}
	var w strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && escapes:
			if i++; i == len(s) {
				return "", "", false
			}
			w.WriteByte(s[i])
		case c == end && end != ' ', end == ' ' && strings.IndexByte(" \t\r\n\v\f", c) >= 0:
			return w.String(), s[i+1:], true
		default:
			w.WriteByte(c)
		}
	}
	return w.String(), "", end == ' '
}

// quoted is a word as it must stand in a config file to be read back as s.
func quoted(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+@") == "" {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
