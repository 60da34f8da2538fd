package ec2sim_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"

	"peerhub/test/ec2sim"
)

// post sends a form as it stands, signed if sign is true, and returns status,
// request id of the header, and body.
func (l *lab) post(form string, sign bool) (int, string, string) {
	l.t.Helper()
	req, err := http.NewRequest(http.MethodPost, l.url, strings.NewReader(form))
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if sign {
		k := l.keys[hubAccount]
		hash := fmt.Sprintf("%x", sha256.Sum256([]byte(form)))
		err := v4.NewSigner().SignHTTP(ctx, aws.Credentials{AccessKeyID: k[0], SecretAccessKey: k[1]}, req, hash, "ec2", tokyo, time.Now())
		if err != nil {
			l.t.Fatal(err)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("x-amzn-RequestId"), string(body)
}

func TestErrorsHaveAWSsForm(t *testing.T) {
	tests := []struct {
		name, form string
		signed     bool
		status     int
		body       string
	}{
		{"EC2", "Action=Nonsense&Version=2016-11-15", true, 400,
			"<Response><Errors><Error><Code>InvalidAction</Code><Message>The action Nonsense is not valid for this web service.</Message></Error></Errors><RequestID>ID</RequestID></Response>"},
		{"EC2 of another version", "Action=DescribeVpcs&Version=2010-01-01", true, 400,
			"<Response><Errors><Error><Code>NoSuchVersion</Code><Message>The requested version (2010-01-01) of service AmazonEC2 does not exist</Message></Error></Errors><RequestID>ID</RequestID></Response>"},
		{"EC2 without a signature", "Action=DescribeVpcs&Version=2016-11-15", false, 401,
			"<Response><Errors><Error><Code>AuthFailure</Code><Message>AWS was not able to validate the provided access credentials</Message></Error></Errors><RequestID>ID</RequestID></Response>"},
		{"a missing parameter", "Action=CreateRouteTable&Version=2016-11-15", true, 400,
			"<Response><Errors><Error><Code>MissingParameter</Code><Message>The request must contain the parameter VpcId</Message></Error></Errors><RequestID>ID</RequestID></Response>"},
		{"STS without a signature", "Action=GetCallerIdentity&Version=2011-06-15", false, 403,
			`<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>MissingAuthenticationToken</Code><Message>Request is missing Authentication Token</Message></Error><RequestId>ID</RequestId></ErrorResponse>`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, ec2sim.Options{})
			status, id, body := l.post(tt.form, tt.signed)
			body = strings.TrimPrefix(body, `<?xml version="1.0" encoding="UTF-8"?>`+"\n")
			if id == "" || status != tt.status {
				t.Errorf("HTTP %d (want %d), request id %q", status, tt.status, id)
			}
			if diff := cmp.Diff(strings.Replace(tt.body, "ID<", id+"<", 1), body); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	l := newLab(t, ec2sim.Options{})
	if status, id, body := l.post("Action=DescribeVpcs&Version=2016-11-15", true); status != 200 || id == "" ||
		!strings.Contains(body, `<DescribeVpcsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>`+id+"</requestId><vpcSet><item><vpcId>"+hubVPC) {
		t.Errorf("a success: HTTP %d, %s", status, body)
	}
}

func TestSeedingObeysTheRules(t *testing.T) {
	l := newLab(t, ec2sim.Options{})
	p := netip.MustParsePrefix
	for name, seed := range map[string]func() (string, error){
		"an id of another form": func() (string, error) {
			return l.AddSubnet(ec2sim.SubnetSpec{ID: "subnet-1", VPC: hubVPC, CIDR: p("10.100.9.0/24")})
		},
		"an id that is taken": func() (string, error) {
			return l.AddSubnet(ec2sim.SubnetSpec{ID: hubSubnet, VPC: hubVPC, CIDR: p("10.100.9.0/24")})
		},
		"an unknown VPC": func() (string, error) {
			return l.AddSubnet(ec2sim.SubnetSpec{VPC: "vpc-0a0000000000000ff", CIDR: p("10.100.9.0/24")})
		},
		"an unknown account": func() (string, error) {
			return l.AddVPC(ec2sim.VPCSpec{Account: "999999999999", Region: tokyo, CIDRs: prefixes("10.9.0.0/16")})
		},
		"an address in use": func() (string, error) {
			return l.AddInstance(ec2sim.InstanceSpec{Subnet: hubSubnet, Address: netip.MustParseAddr("10.100.0.10")})
		},
		"a public address in use": func() (string, error) {
			return l.AddInstance(ec2sim.InstanceSpec{Subnet: hubSubnet, Public: netip.MustParseAddr("203.0.113.10")})
		},
		"an unknown role": func() (string, error) {
			return l.AddInstance(ec2sim.InstanceSpec{Subnet: hubSubnet, Role: "nobody"})
		},
		"overlapping peers": func() (string, error) {
			v := must(t)(l.AddVPC(ec2sim.VPCSpec{Account: svcAccount, Region: tokyo, CIDRs: prefixes("10.100.0.0/24")}))
			return l.AddPeering(ec2sim.PeeringSpec{Requester: hubVPC, Accepter: v})
		},
		"a route to nothing": func() (string, error) { return "", l.AddRoute(hubTable, p("10.9.0.0/16"), standingPeering) },
	} {
		before := l.Network().Generation
		if _, err := seed(); err == nil {
			t.Errorf("%s was taken", name)
		} else if after := l.Network(); after.Generation != before && name != "overlapping peers" {
			t.Errorf("%s was refused but left something", name)
		}
	}
}

func TestManyClientsAtOnce(t *testing.T) {
	l := newLab(t, ec2sim.Options{Delays: ec2sim.Delays{ReadLag: time.Millisecond}})
	l.peer()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 10 {
				dest := fmt.Sprintf("10.%d.%d.0/24", 200+i, n)
				if err := l.addRoute(hubAccount, hubTable, dest, standingPeering); err != nil {
					t.Errorf("route %s: %v", dest, err)
				}
				_ = l.Network()
				l.clock.Add(time.Millisecond)
				if _, err := l.ec2(svcAccount).DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{}); err != nil {
					t.Errorf("describe: %v", err)
				}
			}
		})
	}
	wg.Wait()
	l.clock.Add(time.Second)
	if got := len(l.routes(hubAccount, hubTable)); got != 81 {
		t.Errorf("%d routes, want 81", got)
	}
}
