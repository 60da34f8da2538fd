package discovery_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"peerhub/hub"
)

// reads are the questions whose answers are spoiled, in the order that testdata numbers them.
var reads = []string{"DescribeVpcPeeringConnections", "DescribeVpcs", "DescribeSubnets", "DescribeRouteTables", "DescribeNetworkInterfaces",
	"GetCallerIdentity", "AssumeRole"}

// FuzzAnswers has AWS answer one question with any bytes, after a good survey. Surveying
// ends, deciding on what comes of it ends, and the guard lets nothing go that no answer said
// had ended.
func FuzzAnswers(f *testing.F) {
	for n := range reads {
		f.Add(uint8(n), []byte("<html><body>proxy</body></html>"))
		f.Add(uint8(n), []byte(""))
	}
	docs, err := filepath.Glob("testdata/answers/*.xml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range docs {
		doc, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		action, _, _ := strings.Cut(filepath.Base(path), ".")
		f.Add(uint8(slices.Index(reads, action)), doc)
	}
	f.Fuzz(func(t *testing.T, n uint8, doc []byte) {
		spoiled := reads[int(n)%len(reads)]
		c := newCloud(t)
		c.front.Store(nil)
		d := c.discover(nil)
		policy := hub.Policy{Mode: hub.ModeSync, HubTables: hub.TableChoice{Kind: hub.TablesAll}, SpokeTables: hub.TableChoice{Kind: hub.TablesAll},
			Safety: hub.Safety{RemovalsAfter: 3, MaxRemoved: 20}}
		good := survey(t, d, policy)
		want, _, mem := hub.Decide(policy, good, hub.Remembered{})
		verdict := hub.Guard(nil, want, good, policy, mem, false)
		stood := len(verdict.Desired.Reaches)
		if stood < 4 {
			t.Fatalf("the good survey gives %d prefixes", stood)
		}
		answer := func(action string) string {
			if action == spoiled {
				return string(doc)
			}
			return ""
		}
		c.front.Store(&answer)
		d.Force()
		topo, err := d.Survey(t.Context(), policy)
		if err != nil {
			return // no topology is no answer
		}
		want, _, mem = hub.Decide(policy, topo, verdict.Remembered)
		after := hub.Guard(&verdict.Desired, want, topo, policy, mem, false)
		if ended := mentions(string(doc), "deleted", "deleting", "failed", "rejected", "expired"); ended {
			return // an answer may say so
		}
		for _, r := range verdict.Desired.Reaches {
			if !slices.ContainsFunc(after.Desired.Reaches, func(o hub.Reach) bool { return o.Prefix == r.Prefix }) {
				t.Errorf("%s of %s went because %s answered %.200q", r.Prefix, r.Spoke, spoiled, doc)
			}
		}
	})
}

// client speaks to the cloud as the hub account's administrator.
func (c *cloud) client(wire http.RoundTripper) *ec2.Client {
	return ec2.New(ec2.Options{Region: tokyo, BaseEndpoint: &c.url, HTTPClient: &http.Client{Transport: wire},
		Credentials: credentials.NewStaticCredentialsProvider(c.key[0], c.key[1], "")})
}

func mentions(text string, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}

// TestAnswersAreOnFile holds the seeds of FuzzAnswers against what the simulated AWS
// answers now: UPDATE_ANSWERS=1 writes them.
func TestAnswersAreOnFile(t *testing.T) {
	c := newCloud(t)
	for action, ask := range map[string]func(context.Context, *ec2.Client) error{
		"DescribeVpcPeeringConnections": func(ctx context.Context, api *ec2.Client) error {
			_, err := api.DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{})
			return err
		},
		"DescribeVpcs": func(ctx context.Context, api *ec2.Client) error {
			_, err := api.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{})
			return err
		},
		"DescribeSubnets": func(ctx context.Context, api *ec2.Client) error {
			_, err := api.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
			return err
		},
		"DescribeRouteTables": func(ctx context.Context, api *ec2.Client) error {
			_, err := api.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{})
			return err
		},
		"DescribeNetworkInterfaces": func(ctx context.Context, api *ec2.Client) error {
			_, err := api.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{})
			return err
		},
	} {
		t.Run(action, func(t *testing.T) {
			var body []byte
			wire := roundTrip(func(r *http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				r.Host = r.URL.Host
				c.APIHandler().ServeHTTP(w, r)
				body = slices.Clone(w.Body.Bytes())
				return w.Result(), nil
			})
			if err := ask(t.Context(), c.client(wire)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "answers", action+".xml")
			if os.Getenv("UPDATE_ANSWERS") != "" {
				if err := os.WriteFile(path, body, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			kept, err := os.ReadFile(path)
			if err != nil || len(kept) < 100 || !strings.Contains(string(body), action+"Response") {
				t.Errorf("%s has %d bytes, %v; AWS answers %.80q", path, len(kept), err, body)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	if in.Body == nil {
		in.Body = io.NopCloser(strings.NewReader(""))
	}
	return f(in)
}
