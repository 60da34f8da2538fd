package ec2sim

import (
	"net/http"
	"regexp"
	"time"
)

var stsActions = map[string]action{
	"GetCallerIdentity": {do: (*call).getCallerIdentity, schema: stsSchema("")},
	"AssumeRole": {
		do:     (*call).assumeRole,
		schema: stsSchema("RoleArn! RoleSessionName! DurationSeconds:int ExternalId"),
	},
}

// stsSchema is a schema without DryRun, which only EC2 knows.
func stsSchema(text string) schema {
	s := parseSchema(text)
	delete(s.forms, "DryRun")
	return s
}

func (c *call) getCallerIdentity() ([]node, error) {
	return []node{el("GetCallerIdentityResult",
		txt("Arn", c.who.arn), txt("UserId", c.who.userID), txt("Account", c.who.account))}, nil
}

var sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

// assumeRole makes a session of a role for one who is trusted, at most as long as
// the role allows, and an hour when a role assumes a role.
func (c *call) assumeRole() ([]node, error) {
	arn, name := c.p.get("RoleArn"), c.p.get("RoleSessionName")
	if !sessionName.MatchString(name) {
		return nil, refuse("ValidationError", "1 validation error detected: Value '%s' at 'roleSessionName' failed to satisfy constraint: "+
			"Member must satisfy regular expression pattern: [\\w+=,.@-]*", name)
	}
	r, ok := c.s.iam.roles[arn]
	denied := refuseStatus(http.StatusForbidden, "AccessDenied", "User: %s is not authorized to perform: sts:AssumeRole on resource: %s", c.who.arn, arn)
	if !ok || r.trusts(c.who, c.p.get("ExternalId")) != nil {
		return nil, denied // AWS does not say which: that would tell strangers what exists
	}
	seconds := c.p.num("DurationSeconds", 3600)
	switch {
	case seconds < 900:
		return nil, refuse("ValidationError", "1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: "+
			"Member must have value greater than or equal to 900", seconds)
	case c.who.role != "" && seconds > 3600:
		return nil, refuse("ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
	case time.Duration(seconds)*time.Second > r.MaxSession:
		return nil, refuse("ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	key, p := c.s.iam.session(r, name, c.now.Add(time.Duration(seconds)*time.Second))
	return []node{el("AssumeRoleResult",
		el("AssumedRoleUser", txt("AssumedRoleId", p.userID), txt("Arn", p.arn)),
		el("Credentials",
			txt("AccessKeyId", key), txt("SecretAccessKey", p.secret), txt("SessionToken", p.token),
			stamp("Expiration", p.expires)))}, nil
}
