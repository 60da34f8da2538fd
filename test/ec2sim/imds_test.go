package ec2sim_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"

	"peerhub/test/ec2sim"
)

// imdsFor serves IMDS to one instance.
func (l *lab) imdsFor(instance string) (*imds.Client, string) {
	l.t.Helper()
	srv := httptest.NewServer(l.IMDSHandler(func(*http.Request) string { return instance }))
	l.t.Cleanup(srv.Close)
	return imds.New(imds.Options{Endpoint: srv.URL, EnableFallback: aws.FalseTernary}), srv.URL
}

func metadata(t *testing.T, c *imds.Client, path string) string {
	t.Helper()
	out, err := c.GetMetadata(context.Background(), &imds.GetMetadataInput{Path: path})
	if err != nil {
		return "error: " + err.Error()
	}
	defer func() { _ = out.Content.Close() }()
	b, err := io.ReadAll(out.Content)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestIMDSTellsAnInstanceWhatItIs(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	accepted(t, l.associate(hubAccount, hubVPC, "10.101.0.0/16"))
	l.clock.Add(time.Second)
	c, _ := l.imdsFor(hubInstance)
	mac := metadata(t, c, "mac")
	base := "network/interfaces/macs/" + mac + "/"
	got := map[string]string{}
	for _, path := range []string{"instance-id", "placement/region", "placement/availability-zone", "services/partition", "services/domain",
		"network/interfaces/macs/", base + "vpc-id", base + "vpc-ipv4-cidr-block", base + "vpc-ipv4-cidr-blocks", base + "subnet-id",
		base + "subnet-ipv4-cidr-block", base + "interface-id", base + "device-number", base + "owner-id", base + "local-ipv4s",
		"public-ipv4", "iam/security-credentials/"} {
		got[strings.ReplaceAll(path, mac, "MAC")] = metadata(t, c, path)
	}
	want := map[string]string{
		"instance-id": hubInstance, "placement/region": tokyo, "placement/availability-zone": tokyo + "a",
		"services/partition": "aws", "services/domain": "amazonaws.com", "network/interfaces/macs/": mac + "/",
		"network/interfaces/macs/MAC/vpc-id": hubVPC, "network/interfaces/macs/MAC/vpc-ipv4-cidr-block": "10.100.0.0/16",
		"network/interfaces/macs/MAC/vpc-ipv4-cidr-blocks":   "10.100.0.0/16\n10.101.0.0/16",
		"network/interfaces/macs/MAC/subnet-id":              hubSubnet,
		"network/interfaces/macs/MAC/subnet-ipv4-cidr-block": "10.100.0.0/24",
		"network/interfaces/macs/MAC/interface-id":           hubENI, "network/interfaces/macs/MAC/device-number": "0",
		"network/interfaces/macs/MAC/owner-id": hubAccount, "network/interfaces/macs/MAC/local-ipv4s": "10.100.0.10",
		"public-ipv4": "203.0.113.10", "iam/security-credentials/": "hub",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if got := metadata(t, c, base+"vpc-ipv6-cidr-blocks"); !strings.Contains(got, "404") {
		t.Errorf("an absent item is %q, want 404", got)
	}
	doc, err := c.GetInstanceIdentityDocument(ctx, &imds.GetInstanceIdentityDocumentInput{})
	if err != nil || doc.AccountID != hubAccount || doc.Region != tokyo || doc.InstanceID != hubInstance {
		t.Errorf("identity document %v, %v", doc, err)
	}
}

func TestIMDSWantsAToken(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	_, url := l.imdsFor(hubInstance)
	do := func(method, path string, headers ...string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(method, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	const tokenHeader, ttl = "X-aws-ec2-metadata-token", "X-aws-ec2-metadata-token-ttl-seconds"
	if code, _ := do("GET", "/latest/meta-data/instance-id"); code != 401 {
		t.Errorf("without a token %d, want 401", code)
	}
	if code, _ := do("PUT", "/latest/api/token"); code != 400 {
		t.Errorf("a token without a lifetime: %d, want 400", code)
	}
	if code, _ := do("PUT", "/latest/api/token", ttl, "60", "X-Forwarded-For", "10.0.0.1"); code != 403 {
		t.Errorf("a token through a proxy: %d, want 403", code)
	}
	_, token := do("PUT", "/latest/api/token", ttl, "60")
	if code, id := do("GET", "/latest/meta-data/instance-id", tokenHeader, token); code != 200 || id != hubInstance {
		t.Errorf("with a token %d %q", code, id)
	}
	l.clock.Add(61 * time.Second)
	if code, _ := do("GET", "/latest/meta-data/instance-id", tokenHeader, token); code != 401 {
		t.Errorf("with an old token %d, want 401", code)
	}
	_, nobody := l.imdsFor("")
	url = nobody
	if code, _ := do("PUT", "/latest/api/token", ttl, "60"); code != 404 {
		t.Errorf("nobody's request: %d, want 404", code)
	}
}

func TestIMDSServesTheRolesCredentials(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	c, _ := l.imdsFor(hubInstance)
	cfg := l.config(hubAccount, tokyo)
	cfg.Credentials = ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = c })
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "arn:aws:sts::" + hubAccount + ":assumed-role/hub/" + hubInstance; *out.Arn != want {
		t.Errorf("identity %s, want %s", *out.Arn, want)
	}
	first := metadata(t, c, "iam/security-credentials/hub")
	l.clock.Add(4 * time.Hour)
	if again := metadata(t, c, "iam/security-credentials/hub"); again != first {
		t.Error("credentials change while they are fresh")
	}
	l.clock.Add(90 * time.Minute)
	if again := metadata(t, c, "iam/security-credentials/hub"); again == first {
		t.Error("credentials near their end are not renewed")
	}
	c2, _ := l.imdsFor(svcInstance) // no role
	if got := metadata(t, c2, "iam/security-credentials/"); !strings.Contains(got, "404") {
		t.Errorf("an instance without a role has %q", got)
	}
}
