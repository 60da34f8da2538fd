package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"peerhub/hub/config"
	"peerhub/hub/control"
	"peerhub/hub/daemon"
)

func TestNotesOutliveTheProcess(t *testing.T) {
	dir := t.TempDir()
	for _, step := range []struct{ key, value string }{{"pause", "x"}, {"adopt", "done"}, {"pause", ""}} {
		if err := notesIn(dir).SetNote(step.key, step.value); err != nil {
			t.Fatal(err)
		}
		if got, err := notesIn(dir).Note(step.key); got != step.value || err != nil {
			t.Errorf("%s is %q, want %q: %v", step.key, got, step.value, err)
		}
	}
	if got, err := notesIn(dir).Note("adopt"); got != "done" || err != nil {
		t.Errorf("adopt is %q: %v", got, err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("temporary files were left: %v %v", files, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.json"), []byte("{bro"), 0o640); err != nil {
		t.Fatal(err)
	}
	if got, err := notesIn(dir).Note("adopt"); got != "" || !errors.Is(err, daemon.ErrNotesBroken) {
		t.Errorf("a broken file gave %q, %v", got, err)
	}
	if err := notesIn(dir).SetNote("adopt", ""); err != nil {
		t.Errorf("a broken file is not replaced: %v", err)
	}
	if got, err := notesIn(dir).Note("adopt"); got != "" || err != nil {
		t.Errorf("after that: %q, %v", got, err)
	}
	if err := (&notes{path: filepath.Join(dir, "none", "notes.json")}).SetNote("a", "b"); err == nil {
		t.Error("a note in a folder that is not there was taken")
	}
}

func TestTunDriver(t *testing.T) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	modules := filepath.Join("lib/modules", unix.ByteSliceToString(name.Release[:]))
	tests := []struct {
		name    string
		files   map[string]string
		missing bool
	}{
		{"loaded", map[string]string{"proc/misc": "200 tun\n"}, false},
		{"to be loaded", map[string]string{"proc/misc": "1 fuse\n", modules + "/modules.dep": "kernel/drivers/net/tun.ko.xz:\n", modules + "/modules.builtin": ""}, false},
		{"no list of modules", map[string]string{"proc/misc": "1 fuse\n"}, false},
		{"nowhere", map[string]string{"proc/misc": "1 fuse\n", modules + "/modules.dep": "kernel/fs/fuse.ko:\n", modules + "/modules.builtin": "x\n"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range tt.files {
				path := filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got := tunDriver(root); (got != "") != tt.missing {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestErrorsComeWithTheirFix(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{control.ErrRunning, "systemctl stop hubd ends it"},
		{&net.OpError{Op: "dial", Err: errors.New("no route to host")}, "check the route to the internet"},
		{&net.DNSError{Err: "no such host", Name: "ec2.amazonaws.com"}, "check the route to the internet"},
		{errors.New("something else"), "something else"},
	} {
		got := explain(tt.err).Error()
		if !strings.HasSuffix(got, tt.want) && !strings.Contains(got, tt.want) {
			t.Errorf("%q lacks %q", got, tt.want)
		}
		if again := explain(explain(tt.err)).Error(); again != got {
			t.Errorf("explained twice: %q", again)
		}
	}
}

func TestKeysThatTakeARestart(t *testing.T) {
	parse := func(text string) config.Config {
		t.Helper()
		c, err := config.Parse(config.Source{Name: "hubd.yaml", Data: []byte("version: 1\n" + text)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := parse("poll: 30s\nmode: add\n")
	if got := restartKeys(old, parse("poll: 10s\nmode: sync\nprotect: [10.9.0.0/16]\n")); len(got) != 0 {
		t.Errorf("what a reload takes asks for a restart: %v", got)
	}
	got := strings.Join(restartKeys(old, parse("state: /x\nmetrics: {listen: \"\"}\naws: {external_id: abc}\n")), " ")
	if got != "aws.external_id metrics.listen state" {
		t.Errorf("got %q", got)
	}
}
