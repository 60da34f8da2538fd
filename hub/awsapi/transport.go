package awsapi

import (
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
		Transport:     rt,
		Timeout:       l.Attempt,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// imdsTransport never goes through a proxy: 169.254.169.254 is on the link.
func imdsTransport() aws.HTTPClient {
	return &http.Client{
		Transport:     &http.Transport{DialContext: (&net.Dialer{Timeout: time.Second}).DialContext, ResponseHeaderTimeout: 2 * time.Second},
		Timeout:       3 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
