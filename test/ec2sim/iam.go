package ec2sim

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// iam is who may do what. It has no replicas and no lag.
type iam struct {
	accounts map[string]account
	roles    map[string]role      // by ARN
	keys     map[string]principal // by access key id
	seq      uint64

	imdsTokens   map[string]time.Time // end, by instance and token
	instanceKeys map[string]string    // access key, by instance and role
}

type account struct{ id, name, key, secret string }

type role struct {
	RoleSpec
	arn, id string
}

// principal is whoever signed a request.
type principal struct {
	account, arn, userID string
	role                 string // ARN of the role of a session; "" for the account's own key
	secret, token        string
	expires              time.Time // zero: never
}

func newIAM() iam {
	return iam{accounts: map[string]account{}, roles: map[string]role{}, keys: map[string]principal{},
		imdsTokens: map[string]time.Time{}, instanceKeys: map[string]string{}}
}

// derive makes a credential that looks like AWS's and is the same in every run.
func derive(length int, parts ...any) string {
	sum := sha256.Sum256([]byte(fmt.Sprint(parts...)))
	more := sha256.Sum256(sum[:])
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(append(sum[:], more[:]...))
	return text[:length]
}

// arnPartition is the partition of a region, as ARNs carry it.
func arnPartition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

func roleARN(account, name string) string {
	return "arn:aws:iam::" + account + ":role/" + name
}

// session makes temporary credentials for a role.
func (m *iam) session(r role, name string, expires time.Time) (key string, p principal) {
	m.seq++
	key = "ASIA" + derive(16, "session", m.seq, r.arn)
	p = principal{
		account: r.Account, role: r.arn, userID: r.id + ":" + name,
		arn:    "arn:aws:sts::" + r.Account + ":assumed-role/" + r.Name + "/" + name,
		secret: derive(40, "secret", key), token: "FwoG" + derive(96, "token", key),
		expires: expires,
	}
	m.keys[key] = p
	return key, p
}

// renewInstances ends the credentials that instances have: they are refused from now on
// (expire), or replaced by lasting ones when next asked for.
func (m *iam) renewInstances(now time.Time, expire bool) {
	for _, key := range m.instanceKeys {
		if p := m.keys[key]; expire {
			p.expires = now
			m.keys[key] = p
		}
	}
	clear(m.instanceKeys)
}

// trusts tells whether a role lets a principal assume it, and if not why.
func (r role) trusts(p principal, externalID string) error {
	ok := slices.ContainsFunc(r.TrustedBy, func(who string) bool {
		return who == "*" || who == p.account || who == "arn:aws:iam::"+p.account+":root" ||
			who == p.arn || (p.role != "" && who == p.role)
	})
	if !ok {
		return fmt.Errorf("trust policy names %v", r.TrustedBy)
	}
	if r.ExternalID != "" && r.ExternalID != externalID {
		return fmt.Errorf("sts:ExternalId does not match")
	}
	return nil
}

// allowed tells whether a principal's policy lets it do an action such as
// ec2:CreateRoute. An account's own key may do everything; a role what Allow
// matches and Deny does not.
func (m *iam) allowed(p principal, action string) bool {
	if p.role == "" {
		return true
	}
	r, ok := m.roles[p.role]
	if !ok {
		return false
	}
	matches := func(pattern string) bool {
		ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(action))
		return err == nil && ok
	}
	return slices.ContainsFunc(r.Allow, matches) && !slices.ContainsFunc(r.Deny, matches)
}

// requestID looks like EC2's: a UUID.
func requestID(seq uint64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "request %d", seq))
	h := hex.EncodeToString(sum[:16])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
