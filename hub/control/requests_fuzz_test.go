package control

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
)

// FuzzRequests sends any request to the socket's verbs: each gets an answer, and nobody but
// an admin is heard by a verb that changes something.
func FuzzRequests(f *testing.F) {
	for _, s := range []string{
		"GET /v1/status HTTP/1.1\r\nHost: hubd\r\n\r\n",
		"GET /v1/history?limit=3&since=1h HTTP/1.1\r\nHost: hubd\r\n\r\n",
		"POST /v1/sync HTTP/1.1\r\nHost: hubd\r\nContent-Length: 23\r\n\r\n{\"allow_removals\":true}",
		"POST /v1/pause HTTP/1.1\r\nHost: hubd\r\nContent-Length: 15\r\n\r\n{\"seconds\":1e9}",
		"POST /v1/resume HTTP/1.1\r\nHost: hubd\r\nContent-Length: 2\r\n\r\n[]",
		"POST /v1/../v1/sync HTTP/1.1\r\nHost: hubd\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, raw []byte, isAdmin bool) {
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		d := &daemon{}
		w := httptest.NewRecorder()
		handler(d, d, func(Peer) bool { return isAdmin }).ServeHTTP(w, req)
		if w.Code < 200 || w.Code > 599 {
			t.Errorf("status %d", w.Code)
		}
		if !isAdmin && len(d.asked) > 0 {
			t.Errorf("a stranger was heard: %v", d.asked)
		}
	})
}
