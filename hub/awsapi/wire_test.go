package awsapi_test

import (
	"compress/gzip"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"peerhub/hub/awsapi"
)

// A small packed body that unpacks to more than the limit is as large as it unpacks.
func TestAPackedBodyCountsUnpacked(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		padding int
		refused bool
	}{
		{"control: within the limit", 1 << 10, false},
		{"beyond it", 8 << 20, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, func(w http.ResponseWriter, r *http.Request, _ url.Values) {
				w.Header().Set("x-amzn-RequestId", "r")
				w.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				if _, err := io.WriteString(z, vpcsXML[:len(vpcsXML)-len("</DescribeVpcsResponse>")]+strings.Repeat(" ", tc.padding)+"</DescribeVpcsResponse>"); err != nil {
					return
				}
				if err := z.Close(); err != nil {
					return
				}
			})
			_, err := describe(t.Context(), open(t, srv.URL, awsapi.Limits{Body: 1 << 20, MaxAttempts: 1, Attempt: unhurried, Call: unhurried}), awsapi.Role{}, home)
			if tc.refused != errors.Is(err, awsapi.ErrBodyTooLarge) || !tc.refused && err != nil {
				t.Fatalf("%v, want refused %v", err, tc.refused)
			}
		})
	}
}

// A body that drips does not hold a call for longer than an attempt may take.
func TestABodyThatDripsEndsWithItsAttempt(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	srv := serve(t, func(w http.ResponseWriter, r *http.Request, _ url.Values) {
		w.Header().Set("x-amzn-RequestId", "r")
		fmt.Fprint(w, vpcsXML[:100])
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-over:
		}
	})
	t.Cleanup(func() { close(over) })
	if _, err := describe(t.Context(), open(t, srv.URL, awsapi.Limits{Attempt: 100 * time.Millisecond, MaxAttempts: 1}), awsapi.Role{}, home); err == nil {
		t.Fatal("half a document passed")
	}
}

// A server whose certificate nobody vouches for is not AWS. The control names its CA.
func TestAnUnknownCertificateIsRefused(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-amzn-RequestId", "r")
		fmt.Fprint(w, vpcsXML)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshake
	srv.StartTLS()
	t.Cleanup(srv.Close)
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, trusted := range []bool{false, true} {
		if trusted {
			t.Setenv("AWS_CA_BUNDLE", bundle)
		}
		s, err := awsapi.New(t.Context(), awsapi.Options{Endpoint: srv.URL, Limits: awsapi.Limits{MaxAttempts: 1},
			Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := describe(t.Context(), s, awsapi.Role{}, home); trusted != (err == nil) {
			t.Errorf("trusted %v: %v", trusted, err)
		}
	}
}

// The instance's role is asked for with a token, or not at all.
func TestIMDSVersion1IsNotUsed(t *testing.T) {
	for _, version := range []int{1, 2} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token := r.Header.Get("X-Aws-Ec2-Metadata-Token") == "token"
			switch {
			case r.Method == http.MethodPut && version == 2:
				w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
				fmt.Fprint(w, "token")
			case r.Method == http.MethodPut:
				http.Error(w, "", http.StatusForbidden)
			case version == 2 && !token:
				http.Error(w, "", http.StatusUnauthorized)
			case strings.HasSuffix(r.URL.Path, "/security-credentials/"):
				fmt.Fprint(w, "hub")
			default:
				fmt.Fprint(w, `{"Code":"Success","AccessKeyId":"ASIA","SecretAccessKey":"s","Token":"t","Expiration":"2999-01-01T00:00:00Z"}`)
			}
		}))
		t.Cleanup(srv.Close)
		for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"} {
			t.Setenv(name, "")
		}
		t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
		t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", srv.URL)
		s, err := awsapi.New(t.Context(), awsapi.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.EC2(t.Context(), home, awsapi.Role{}); (version == 2) != (err == nil) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}
