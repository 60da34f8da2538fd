package awsapi_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"peerhub/hub"
	"peerhub/hub/awsapi"
)

const (
	vpcsXML = `<?xml version="1.0" encoding="UTF-8"?>
<DescribeVpcsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>
<vpcSet><item><vpcId>vpc-1</vpcId></item></vpcSet></DescribeVpcsResponse>`
	assumeXML = `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIAX</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>
</Credentials><AssumedRoleUser><AssumedRoleId>A:x</AssumedRoleId><Arn>arn:aws:sts::%s:assumed-role/spoke/x</Arn></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>`
)

func errorXML(code string) string {
	return "<Response><Errors><Error><Code>" + code + "</Code><Message>m</Message></Error></Errors><RequestID>r</RequestID></Response>"
}

// service is an HTTP server that answers by action and remembers what it was asked.
type service struct {
	*httptest.Server
	mu    sync.Mutex
	asked []url.Values
}

func serve(t *testing.T, answer func(http.ResponseWriter, *http.Request, url.Values)) *service {
	t.Helper()
	s := &service{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return
		}
		s.mu.Lock()
		s.asked = append(s.asked, form)
		s.mu.Unlock()
		answer(w, r, form)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *service) requests() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]url.Values(nil), s.asked...)
}

var home = hub.Scope{Account: "111111111111", Region: "ap-northeast-1"}

// unhurried bounds a call whose end is to be another one, however busy the machine is.
const unhurried = 5 * time.Minute

func open(t *testing.T, endpoint string, l awsapi.Limits) *awsapi.Sessions {
	t.Helper()
	s, err := awsapi.New(t.Context(), awsapi.Options{
		Endpoint: endpoint, AllowInsecure: true, Limits: l,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAHUB", "secret", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func describe(ctx context.Context, s *awsapi.Sessions, role awsapi.Role, scope hub.Scope) (int, error) {
	c, err := s.EC2(ctx, scope, role)
	if err != nil {
		return 0, err
	}
	out, err := c.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{})
	if err != nil {
		return 0, err
	}
	return len(out.Vpcs), nil
}

func TestOnlyRealAnswersPass(t *testing.T) {
	t.Parallel()
	plain := func(id bool, body string) func(http.ResponseWriter, *http.Request, url.Values) {
		return func(w http.ResponseWriter, _ *http.Request, _ url.Values) {
			if id {
				w.Header().Set("x-amzn-RequestId", "r")
			}
			fmt.Fprint(w, body)
		}
	}
	for _, tc := range []struct {
		name   string
		answer func(http.ResponseWriter, *http.Request, url.Values)
		want   error // nil: one VPC
		any    bool  // some error, whichever
	}{
		{name: "control: a real answer", answer: plain(true, vpcsXML)},
		{name: "a real document without request id", answer: plain(false, vpcsXML), want: awsapi.ErrNoRequestID},
		{name: "empty 200", answer: plain(false, ""), want: awsapi.ErrNoRequestID},
		{name: "empty 200 with request id", answer: plain(true, ""), want: awsapi.ErrForeignBody},
		{name: "a proxy's page", answer: plain(true, "<!DOCTYPE html><html><body>login</body></html>"), want: awsapi.ErrForeignBody},
		{name: "text", answer: plain(true, "ok"), want: awsapi.ErrForeignBody},
		{name: "another action's document", answer: plain(true, strings.ReplaceAll(vpcsXML, "DescribeVpcs", "DescribeSubnets")), want: awsapi.ErrForeignBody},
		{name: "a document cut short", answer: plain(true, vpcsXML[:len(vpcsXML)-60]), any: true},
		{name: "a body without end", answer: func(w http.ResponseWriter, r *http.Request, _ url.Values) {
			w.Header().Set("x-amzn-RequestId", "r")
			fmt.Fprint(w, strings.TrimSuffix(vpcsXML, "</vpcSet></DescribeVpcsResponse>"))
			for r.Context().Err() == nil {
				if _, err := fmt.Fprint(w, strings.Repeat("<item><vpcId>vpc-2</vpcId></item>", 1000)); err != nil {
					return
				}
			}
		}, want: awsapi.ErrBodyTooLarge},
		{name: "a redirect", answer: func(w http.ResponseWriter, r *http.Request, f url.Values) {
			if r.URL.Path == "/else" {
				plain(true, vpcsXML)(w, r, f)
				return
			}
			w.Header().Set("Location", "/else")
			w.WriteHeader(http.StatusFound)
		}, any: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, tc.answer)
			n, err := describe(t.Context(), open(t, srv.URL, awsapi.Limits{Body: 1 << 20, MaxAttempts: 1, Attempt: unhurried, Call: unhurried}), awsapi.Role{}, home)
			switch {
			case tc.any && err == nil, tc.want != nil && !errors.Is(err, tc.want):
				t.Fatalf("got %d VPCs and error %v, want error %v", n, err, tc.want)
			case !tc.any && tc.want == nil && (err != nil || n != 1):
				t.Fatalf("got %d VPCs and error %v, want one", n, err)
			}
			if len(srv.requests()) != 1 {
				t.Fatalf("%d requests, want 1", len(srv.requests()))
			}
		})
	}
}

func TestNoAnswerIsNotRetriedButAnErrorIs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		status int
		body   string
		want   int
	}{
		{"html", 200, "<html/>", 1},
		{"denied", 403, errorXML("UnauthorizedOperation"), 1},
		{"throttled", 503, errorXML("RequestLimitExceeded"), 3},
		{"internal error", 500, errorXML("InternalError"), 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, func(w http.ResponseWriter, _ *http.Request, _ url.Values) {
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.body)
			})
			_, err := describe(t.Context(), open(t, srv.URL, awsapi.Limits{MaxAttempts: 3, MaxBackoff: time.Millisecond}), awsapi.Role{}, home)
			if err == nil || len(srv.requests()) != tc.want {
				t.Fatalf("error %v after %d requests, want an error after %d", err, len(srv.requests()), tc.want)
			}
		})
	}
}

func TestPlainHTTPIsRefusedHoweverItWasConfigured(t *testing.T) {
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request, _ url.Values) {
		w.Header().Set("x-amzn-RequestId", "r")
		fmt.Fprint(w, vpcsXML)
	})
	if _, err := awsapi.New(t.Context(), awsapi.Options{Endpoint: srv.URL}); !errors.Is(err, awsapi.ErrInsecure) {
		t.Fatalf("New with a plain endpoint: %v", err)
	}
	t.Setenv("AWS_ENDPOINT_URL", srv.URL)
	for _, allow := range []bool{false, true} {
		s, err := awsapi.New(t.Context(), awsapi.Options{AllowInsecure: allow, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
		if err != nil {
			t.Fatal(err)
		}
		_, err = describe(t.Context(), s, awsapi.Role{}, home)
		if allow != (err == nil) || !allow && !errors.Is(err, awsapi.ErrInsecure) {
			t.Fatalf("allowed %v: %v", allow, err)
		}
	}
	if n := len(srv.requests()); n != 1 {
		t.Fatalf("%d requests reached the server, want the allowed one", n)
	}
}

func TestARoleMustBeInTheAccountItWasAskedFor(t *testing.T) {
	t.Parallel()
	spoke := hub.Scope{Account: "222222222222", Region: "us-west-2"}
	role := awsapi.Role{ARN: "arn:aws:iam::222222222222:role/spoke", ExternalID: "x-1", Home: home.Region, Session: awsapi.Session("i-1")}
	for _, tc := range []struct {
		name    string
		role    awsapi.Role
		opened  string // the account that STS opens
		refused bool
		calls   int
	}{
		{"control: the right account", role, "222222222222", false, 2},
		{"STS opens another account", role, "333333333333", true, 1},
		{"the ARN names another account", awsapi.Role{ARN: "arn:aws:iam::333333333333:role/spoke", Home: home.Region}, "333333333333", true, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, func(w http.ResponseWriter, _ *http.Request, f url.Values) {
				w.Header().Set("x-amzn-RequestId", "r")
				if f.Get("Action") == "AssumeRole" {
					fmt.Fprintf(w, assumeXML, tc.opened)
					return
				}
				fmt.Fprint(w, vpcsXML)
			})
			_, err := describe(t.Context(), open(t, srv.URL, awsapi.Limits{}), tc.role, spoke)
			if tc.refused != errors.Is(err, awsapi.ErrWrongAccount) || tc.refused != awsapi.IsRoleRefused(err) || !tc.refused && err != nil {
				t.Fatalf("error %v, want refused %v", err, tc.refused)
			}
			reqs := srv.requests()
			if len(reqs) != tc.calls {
				t.Fatalf("%d requests, want %d", len(reqs), tc.calls)
			}
			if tc.calls > 0 && (reqs[0].Get("ExternalId") != "x-1" || reqs[0].Get("RoleSessionName") != "hubd-i-1") {
				t.Fatalf("AssumeRole asked with %v", reqs[0])
			}
		})
	}
}

func TestOneRoleOpensAllRegionsWithOneAssumption(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request, f url.Values) {
		w.Header().Set("x-amzn-RequestId", "r")
		if f.Get("Action") == "AssumeRole" {
			fmt.Fprintf(w, assumeXML, "222222222222")
			return
		}
		fmt.Fprint(w, vpcsXML)
	})
	s := open(t, srv.URL, awsapi.Limits{})
	role := awsapi.Role{ARN: "arn:aws:iam::222222222222:role/spoke", Home: home.Region}
	for _, region := range []hub.Region{"us-west-2", "eu-west-1", "us-west-2"} {
		if _, err := describe(t.Context(), s, role, hub.Scope{Account: "222222222222", Region: region}); err != nil {
			t.Fatal(err)
		}
	}
	assumed := 0
	for _, f := range srv.requests() {
		if f.Get("Action") == "AssumeRole" {
			assumed++
		}
	}
	if assumed != 1 {
		t.Fatalf("%d assumptions, want 1", assumed)
	}
}

// The bucket of route writes holds 48: the 49th call has to wait, a call that has no
// time to wait is not sent, and other classes and accounts are not affected.
func TestCallsArePacedPerAccountRegionAndClass(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request, f url.Values) {
		w.Header().Set("x-amzn-RequestId", "r")
		fmt.Fprintf(w, "<%sResponse/>", f.Get("Action"))
	})
	s := open(t, srv.URL, awsapi.Limits{})
	c, err := s.EC2(t.Context(), home, awsapi.Role{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.EC2(t.Context(), hub.Scope{Account: home.Account, Region: "us-west-2"}, awsapi.Role{})
	if err != nil {
		t.Fatal(err)
	}
	route := &ec2.DeleteRouteInput{RouteTableId: aws.String("rtb-1"), DestinationCidrBlock: aws.String("10.0.0.0/16")}
	// All of these share three seconds, which add 15 tokens to the 48.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	const calls = 48 + 15 + 20
	errs := make(chan error, calls)
	for range calls {
		go func() { _, err := c.DeleteRoute(ctx, route); errs <- err }()
	}
	sent := 0
	for range calls {
		switch err := <-errs; {
		case err == nil:
			sent++
		case !errors.Is(err, awsapi.ErrPaced) || !awsapi.IsTransient(err):
			t.Errorf("a call failed: %v", err)
		}
	}
	if sent < 48 || sent == calls {
		t.Errorf("%d of %d calls were sent", sent, calls)
	}
	if n := len(srv.requests()); n != sent {
		t.Errorf("%d requests for %d calls", n, sent)
	}
	if _, err := c.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{}); err != nil {
		t.Errorf("a read of the same account: %v", err)
	}
	if _, err := other.DeleteRoute(t.Context(), route); err != nil {
		t.Errorf("a write of another region: %v", err)
	}
}

func TestCodes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		code string
		is   func(error) bool
		not  func(error) bool
	}{
		{"RequestLimitExceeded", awsapi.IsThrottled, awsapi.IsDenied},
		{"UnauthorizedOperation", awsapi.IsDenied, awsapi.IsTransient},
		{"RouteAlreadyExists", awsapi.IsRouteExists, awsapi.IsRouteNotFound},
		{"InvalidRoute.NotFound", awsapi.IsRouteNotFound, awsapi.IsTableNotFound},
		{"InvalidRouteTableId.NotFound", awsapi.IsTableNotFound, awsapi.IsRouteNotFound},
		{"InvalidVpcPeeringConnectionId.NotFound", awsapi.IsPeeringNotFound, awsapi.IsDenied},
		{"RouteLimitExceeded", awsapi.IsRouteLimit, awsapi.IsThrottled},
		{"InvalidStateTransition", awsapi.IsInvalidState, awsapi.IsTransient},
	} {
		t.Run(tc.code, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, func(w http.ResponseWriter, _ *http.Request, _ url.Values) {
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, errorXML(tc.code))
			})
			_, err := describe(t.Context(), open(t, srv.URL, awsapi.Limits{MaxAttempts: 1}), awsapi.Role{}, home)
			if awsapi.Code(err) != tc.code || !tc.is(err) || tc.not(err) {
				t.Fatalf("code %q of %v", awsapi.Code(err), err)
			}
		})
	}
}
