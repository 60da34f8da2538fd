package awsapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// transport is the SDK's own client with our timeouts. It is given to the SDK's
// configuration first, so that a CA bundle named there finds its way in.
func transport(l Limits) *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = min(5*time.Second, l.Attempt) }).
		WithTransportOptions(func(t *http.Transport) {
			t.TLSHandshakeTimeout = min(5*time.Second, l.Attempt)
			t.ResponseHeaderTimeout = l.Attempt
			t.MaxIdleConns, t.MaxIdleConnsPerHost = 64, 8
			t.MaxResponseHeaderBytes = 64 << 10
		})
}

// straight is the one HTTP client of all sessions: no redirect is followed (the SDK's
// own follows 307 and 308), and an attempt ends with its body, however slowly it drips.
func straight(from aws.HTTPClient, l Limits) aws.HTTPClient {
	rt := http.DefaultTransport
	if b, ok := from.(*awshttp.BuildableClient); ok {
		rt = b.GetTransport()
	}
	return &http.Client{
		Transport:     wholeBody{rt},
		Timeout:       l.Attempt,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// wholeBody hands net/http a request body that is in memory. The SDK's own body reports
// io.EOF from WriteTo once it is closed (smithy-go 1.28.8), so an answer that comes before
// net/http has seen the body's end costs the connection and a retry.
type wholeBody struct{ next http.RoundTripper }

func (w wholeBody) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return w.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err = errors.Join(err, r.Body.Close()); err != nil {
		return nil, fmt.Errorf("read the request of %s: %w", r.URL.Host, err)
	}
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return w.next.RoundTrip(r)
}

// imdsTransport never goes through a proxy: 169.254.169.254 is on the link.
func imdsTransport() aws.HTTPClient {
	return &http.Client{
		Transport:     &http.Transport{DialContext: (&net.Dialer{Timeout: time.Second}).DialContext, ResponseHeaderTimeout: 2 * time.Second},
		Timeout:       3 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
