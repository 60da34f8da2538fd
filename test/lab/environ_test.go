package lab

import (
	"slices"
	"strings"
	"testing"
)

// TestEnvironLeadsNowhereElse has a person's own keys and proxy in the environment: they do
// not get into the lab, the lab's own do, and taste does.
func TestEnvironLeadsNowhereElse(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_PROFILE": "prod", "AWS_SESSION_TOKEN": "theirs", "AWS_ACCESS_KEY_ID": "theirs", "HTTPS_PROXY": "http://192.0.2.1", "no_proxy": "x",
		"AWS_PAGER": "less", "LANG": "C.UTF-8",
	} {
		t.Setenv(name, value)
	}
	got := Environ("AWS_ACCESS_KEY_ID=ours", "AWS_REGION=r", "AWS_REGION=s")
	for _, want := range []string{"AWS_ACCESS_KEY_ID=ours", "AWS_REGION=s", "AWS_PAGER=less", "LANG=C.UTF-8"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is not in it", want)
		}
	}
	names := map[string]int{}
	for _, v := range got {
		name, _, _ := strings.Cut(v, "=")
		names[name]++
		if names[name] > 1 {
			t.Errorf("%s is in it twice", name)
		}
	}
	for _, name := range []string{"AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTPS_PROXY", "no_proxy"} {
		if names[name] > 0 {
			t.Errorf("%s got in", name)
		}
	}
}
