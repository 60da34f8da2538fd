package ec2sim

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// credential is what a SigV4 Authorization header says.
type credential struct {
	key, date, region, service string
	signed                     []string // names of the signed headers
	signature                  string
}

// parseCredential reads "AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request,
// SignedHeaders=a;b, Signature=hex".
func parseCredential(r *http.Request) (credential, error) {
	var c credential
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return c, fmt.Errorf("no SigV4 authorization")
	}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			scope := strings.Split(value, "/")
			if len(scope) != 5 {
				return c, fmt.Errorf("credential scope %q", value)
			}
			c.key, c.date, c.region, c.service = scope[0], scope[1], scope[2], scope[3]
		case "SignedHeaders":
			c.signed = strings.Split(value, ";")
		case "Signature":
			c.signature = value
		}
	}
	return c, nil
}

// authenticate finds who signed a request and checks the signature. EC2 and STS
// refuse in different words.
func (s *Sim) authenticate(r *http.Request, body []byte, c credential, err error, service string, now time.Time) (principal, error) {
	ec2 := service == "ec2"
	if err != nil || c.key == "" {
		if ec2 {
			return principal{}, refuseStatus(http.StatusUnauthorized, "AuthFailure", "AWS was not able to validate the provided access credentials")
		}
		return principal{}, refuseStatus(http.StatusForbidden, "MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	who, ok := s.iam.keys[c.key]
	if !ok || subtle.ConstantTimeCompare([]byte(who.token), []byte(r.Header.Get("X-Amz-Security-Token"))) != 1 {
		if ec2 {
			return principal{}, refuseStatus(http.StatusUnauthorized, "AuthFailure", "AWS was not able to validate the provided access credentials")
		}
		return principal{}, refuseStatus(http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	if !who.expires.IsZero() && !now.Before(who.expires) {
		if ec2 {
			return principal{}, refuse("RequestExpired", "Request has expired.")
		}
		return principal{}, refuseStatus(http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired")
	}
	if sign(r, body, c, who.secret) != c.signature {
		if ec2 {
			return principal{}, refuseStatus(http.StatusUnauthorized, "AuthFailure", "AWS was not able to validate the provided access credentials")
		}
		return principal{}, refuseStatus(http.StatusForbidden, "SignatureDoesNotMatch",
			"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.")
	}
	return who, nil
}

// sign computes the SigV4 signature of a request.
func sign(r *http.Request, body []byte, c credential, secret string) string {
	var headers strings.Builder
	for _, name := range c.signed {
		value := strings.Join(r.Header.Values(name), ",")
		switch {
		case name == "host":
			value = r.Host
		case name == "content-length" && value == "":
			value = strconv.FormatInt(r.ContentLength, 10)
		}
		headers.WriteString(name + ":" + strings.Join(strings.Fields(value), " ") + "\n")
	}
	payload := r.Header.Get("X-Amz-Content-Sha256")
	if payload == "" {
		payload = hash(string(body))
	}
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	canonical := strings.Join([]string{
		r.Method, path, canonicalQuery(r.URL.Query()), headers.String(), strings.Join(c.signed, ";"), payload,
	}, "\n")
	scope := strings.Join([]string{c.date, c.region, c.service, "aws4_request"}, "/")
	text := strings.Join([]string{"AWS4-HMAC-SHA256", r.Header.Get("X-Amz-Date"), scope, hash(canonical)}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{c.date, c.region, c.service, "aws4_request"} {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, text))
}

func canonicalQuery(q url.Values) string {
	var out []string
	for name, values := range q {
		for _, v := range values {
			pair := url.QueryEscape(name) + "=" + url.QueryEscape(v)
			out = append(out, strings.ReplaceAll(pair, "+", "%20"))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "&")
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, s string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(s))
	return m.Sum(nil)
}

// faultNames tells whether a fault that lists names has this one.
func (s *Sim) faultNames(fault, name string) bool {
	return name != "" && slices.Contains(strings.Split(s.fault(fault), ","), name)
}

// authorized checks the policy of the caller's role and the deny fault.
func (c *call) authorized(name string) error {
	denied := c.s.faultNames(FaultDeny, c.action) || c.s.faultNames(FaultDeny, c.action+"@"+c.account) ||
		c.s.faultNames(FaultDeny, c.action+"@"+accountOf(c.p.get("RoleArn")))
	if name == "sts:GetCallerIdentity" || c.s.iam.allowed(c.who, name) && !denied {
		return nil
	}
	if strings.HasPrefix(name, "sts:") {
		return refuseStatus(http.StatusForbidden, "AccessDenied", "User: %s is not authorized to perform: %s on resource: %s",
			c.who.arn, name, c.p.get("RoleArn"))
	}
	return refuseStatus(http.StatusForbidden, "UnauthorizedOperation",
		"You are not authorized to perform this operation. User: %s is not authorized to perform: %s because no identity-based policy allows the %s action. Encoded authorization failure message: %s",
		c.who.arn, name, name, derive(80, c.who.arn, name))
}

// accountOf is the account of an ARN, "" if it is none.
func accountOf(arn string) string {
	if parts := strings.Split(arn, ":"); len(parts) > 4 {
		return parts[4]
	}
	return ""
}
