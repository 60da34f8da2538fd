package lab

import (
	"os"
	"slices"
	"strings"
)

// Environ is this program's environment for one inside the lab: without what would lead it
// out of it, AWS settings of the person at the keyboard and proxies, and with more, which
// wins. No name is in it twice: exec and Python differ in which of two they take.
func Environ(more ...string) []string {
	var out []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !leadsOut(name) {
			out = append(out, v)
		}
	}
	for _, v := range more {
		name, _, _ := strings.Cut(v, "=")
		out = slices.DeleteFunc(out, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		out = append(out, v)
	}
	return out
}

// leadsOut tells whether a variable says where AWS is and who asks, or that a proxy is to be
// asked. How the aws program prints is a matter of taste, and stays.
func leadsOut(name string) bool {
	switch upper := strings.ToUpper(name); {
	case name == "AWS_PAGER", name == "AWS_DEFAULT_OUTPUT":
		return false
	case strings.HasPrefix(name, "AWS_"), strings.HasSuffix(upper, "_PROXY"):
		return true
	}
	return false
}
