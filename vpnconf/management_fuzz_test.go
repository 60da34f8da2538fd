package vpnconf

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzManagement has any bytes come out of the management socket: asking ends, with clients
// or with an error, and only a whole status gives clients.
func FuzzManagement(f *testing.F) {
	for _, s := range []string{status3, ">INFO:hello\r\n" + status3, "ERROR: no\r\n", "ENTER PASSWORD:", ">BYTECOUNT_CLI:1,2,3\nEND\n",
		"SUCCESS: pid=1\n", strings.Repeat("x", 70000) + "\nEND\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		path := filepath.Join(t.TempDir(), "m")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = c.Write(answer)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		clients, err := ReadStatus(ctx, path)
		if ctx.Err() != nil {
			t.Fatal("asking did not end")
		}
		if err == nil && !strings.Contains(string(answer), "END") {
			t.Errorf("%d clients of an answer without an END", len(clients))
		}
	})
}
